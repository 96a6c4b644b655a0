from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pyspark.ml import PipelineModel
from pyspark.ml import feature as ml
from pyspark.ml.functions import array_to_vector
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from spark_job import pca
from spark_job.errors import UserError
from spark_job.moments import Moments, principal_components

Rows = NDArray[np.float32]


def _rows(count: int = 300, width: int = 24) -> Rows:
    rng = np.random.default_rng(5)
    scales = np.linspace(1, 4, width)  # distinct variances: components are defined up to sign
    rows: Rows = (rng.normal(size=(count, width)) * scales @ rng.normal(size=(width, width)) + 50).astype(np.float32)
    return rows


def _table(spark: SparkSession, rows: Rows, partitions: int) -> DataFrame:
    data = [(f"{number}.jpg", "Apple" if number % 2 else None, row.tolist()) for number, row in enumerate(rows)]
    return spark.createDataFrame(data, "path string, label string, features array<float>").repartition(partitions)


@pytest.mark.parametrize(("count", "partitions"), [(300, 1), (300, 5), (9, 40)])
def test_fit_does_not_depend_on_partitions(spark: SparkSession, count: int, partitions: int) -> None:
    rows = _rows(count)
    ours = pca.fit(_table(spark, rows, partitions), 6)
    alone = principal_components(Moments.of(rows), 6)
    np.testing.assert_allclose(ours.axes, alone.axes, atol=1e-9)
    np.testing.assert_allclose(ours.ratio, alone.ratio, atol=1e-12)


def test_fit_is_that_of_spark(spark: SparkSession) -> None:
    table = _table(spark, _rows(), 3)
    ours = pca.fit(table, 6)
    theirs = ml.PCA(k=6, inputCol="features", outputCol="pca").fit(
        table.withColumn("features", array_to_vector(F.col("features")))
    )
    np.testing.assert_allclose(ours.ratio[:6], theirs.explainedVariance.toArray(), atol=1e-9)
    np.testing.assert_allclose(np.abs(ours.axes), np.abs(theirs.pc.toArray()), atol=1e-7)


@pytest.mark.parametrize("standardize", [False, True])
def test_the_saved_pipeline_is_the_projection(spark: SparkSession, tmp_path: Path, standardize: bool) -> None:
    rows = np.hstack([_rows(), np.full((300, 1), 3, np.float32)])
    table = _table(spark, rows, 4)
    components = pca.fit(table, 0.9, standardize)
    projected = pca.project(table, spark.sparkContext.broadcast(components))
    assert projected.columns == ["path", "label", "pca"]
    pca.pipeline(spark, components).save(str(tmp_path / "model"))

    loaded = PipelineModel.load(str(tmp_path / "model"))
    theirs = loaded.transform(table.withColumn("features", array_to_vector(F.col("features"))))
    expected = {row.path: row.pca.toArray() for row in theirs.collect()}
    ours = {row.path: row.pca for row in projected.collect()}
    assert ours.keys() == expected.keys()
    assert {len(values) for values in ours.values()} == {components.k}
    for path, values in ours.items():
        np.testing.assert_allclose(values, expected[path], atol=1e-5 * max(1, np.abs(values).max()))
    rotation = loaded.stages[1]
    assert isinstance(rotation, ml.PCAModel)
    assert rotation.explainedVariance.toArray() == pytest.approx(components.ratio[: components.k])


def test_empty_features_are_refused(spark: SparkSession) -> None:
    with pytest.raises(UserError, match="at least 2 images"):
        pca.fit(_table(spark, _rows(), 3).limit(0), 2)
