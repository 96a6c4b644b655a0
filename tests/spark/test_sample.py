from pathlib import Path

import numpy as np
from pyspark.sql import SparkSession

from spark_job import moments, sample
from spark_job.moments import Moments
from tests import feature_tables

ROWS = np.random.default_rng(3).normal(size=(2_500, 4)).astype(np.float32)


def test_a_sample_does_not_depend_on_the_number_of_files(spark: SparkSession, tmp_path: Path) -> None:
    components = moments.fit(Moments.of(ROWS), 2)
    one, many = (
        sample.draw(
            spark.sparkContext, feature_tables.features(tmp_path / str(count), ROWS, count, ["Apple", None]), components
        )
        for count in (1, 7)
    )
    assert len(one.paths) == len(set(one.paths)) == 2_000
    assert one.paths == many.paths
    assert one.labels == many.labels
    for index in (0, 1_000, 1_999):
        row = int(one.paths[index].removesuffix(".jpg"))
        np.testing.assert_array_equal(one.features[index], ROWS[row])
        np.testing.assert_array_equal(many.features[index], ROWS[row])
        assert one.labels[index] == ("Apple", None)[row % 2]
    np.testing.assert_allclose(many.projected, components.project(many.features), atol=1e-6)


def test_a_sample_is_drawn_from_all_images(spark: SparkSession, tmp_path: Path) -> None:
    components = moments.fit(Moments.of(ROWS), 2)
    drawn = sample.draw(spark.sparkContext, feature_tables.features(tmp_path, ROWS, 3), components)
    rows = sorted(int(path.removesuffix(".jpg")) for path in drawn.paths)
    assert abs(np.mean(rows) - 1_250) < 50
    assert rows != list(range(2_000))


def test_the_sample_of_a_small_run_has_all_its_images(spark: SparkSession, tmp_path: Path) -> None:
    components = moments.fit(Moments.of(ROWS[:5]), 1)
    drawn = sample.draw(spark.sparkContext, feature_tables.features(tmp_path, ROWS[:5], 7), components)
    assert sorted(drawn.paths) == [f"{row}.jpg" for row in range(5)]
