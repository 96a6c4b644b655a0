from pathlib import Path

import numpy as np
from pyspark.sql import SparkSession

from spark_job import moments, sample, tables
from spark_job.moments import FittedPca, Moments
from spark_job.sample import Sample
from spark_job.tables import Table
from tests import feature_tables

ROWS = np.random.default_rng(3).normal(size=(2_500, 4)).astype(np.float32)


def _draw(spark: SparkSession, table: Table, components: FittedPca) -> Sample:
    census = sample.count(spark.sparkContext, table)
    return sample.draw(spark.sparkContext, table, census, components)


def test_photos_are_counted_by_label_and_by_origin(spark: SparkSession, tmp_path: Path) -> None:
    table = feature_tables.features(tmp_path, ROWS[:10], 2, ["Apple", None])
    whole = list(table.read("part-00001.parquet"))
    table.write("reused-00000-00000.parquet", whole, tables.FEATURES_SCHEMA)
    (tmp_path / "features" / "part-00001.parquet").unlink()
    census = sample.count(spark.sparkContext, table)
    assert (census.labels, census.computed, census.reused, census.repeated) == ({"": 5, "Apple": 5}, 5, 5, 0)

    table.write("part-00002.parquet", whole[:1], tables.FEATURES_SCHEMA)
    assert sample.count(spark.sparkContext, table).repeated == 5


def test_a_sample_does_not_depend_on_the_number_of_files(spark: SparkSession, tmp_path: Path) -> None:
    components = moments.fit(Moments.of(ROWS), 2)
    written = [feature_tables.features(tmp_path / str(count), ROWS, count, ["Apple", None]) for count in (1, 7)]
    one, many = (_draw(spark, table, components) for table in written)
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
    drawn = _draw(spark, feature_tables.features(tmp_path, ROWS, 3), components)
    rows = sorted(int(path.removesuffix(".jpg")) for path in drawn.paths)
    assert abs(np.mean(rows) - 1_250) < 50
    assert rows != list(range(2_000))


def test_the_sample_of_a_small_run_has_all_its_images(spark: SparkSession, tmp_path: Path) -> None:
    components = moments.fit(Moments.of(ROWS[:5]), 1)
    drawn = _draw(spark, feature_tables.features(tmp_path, ROWS[:5], 7), components)
    assert sorted(drawn.paths) == [f"{row}.jpg" for row in range(5)]
