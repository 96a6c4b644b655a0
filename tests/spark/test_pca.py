from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pyspark.ml import PipelineModel
from pyspark.ml import feature as ml
from pyspark.ml.functions import array_to_vector
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from spark_job import moments, pca, pipeline
from spark_job.errors import UserError
from spark_job.moments import Moments
from spark_job.storage import open_store
from spark_job.tables import Table
from tests import feature_tables

Rows = NDArray[np.float32]


def _rows(count: int = 300, width: int = 24) -> Rows:
    rng = np.random.default_rng(5)
    scales = np.linspace(1, 4, width)  # distinct variances make components unique up to their sign
    rows: Rows = (rng.normal(size=(count, width)) * scales @ rng.normal(size=(width, width)) + 50).astype(np.float32)
    return rows


@pytest.mark.parametrize(("count", "files"), [(300, 1), (300, 5), (9, 40)])
def test_fit_does_not_depend_on_the_number_of_files(
    spark: SparkSession, tmp_path: Path, count: int, files: int
) -> None:
    rows = _rows(count)
    ours = pca.fit(spark.sparkContext, feature_tables.features(tmp_path, rows, files), 6)
    alone = moments.fit(Moments.of(rows), 6)
    np.testing.assert_allclose(ours.components, alone.components, atol=1e-9)
    np.testing.assert_allclose(ours.explained_variance_ratio, alone.explained_variance_ratio, atol=1e-12)


def _read(spark: SparkSession, folder: Path) -> DataFrame:
    return spark.read.parquet(str(folder / "features")).withColumn("features", array_to_vector(F.col("features")))


def test_fit_matches_spark(spark: SparkSession, tmp_path: Path) -> None:
    ours = pca.fit(spark.sparkContext, feature_tables.features(tmp_path, _rows(), 3), 6)
    theirs = ml.PCA(k=6, inputCol="features", outputCol="pca").fit(_read(spark, tmp_path))
    np.testing.assert_allclose(ours.explained_variance_ratio[:6], theirs.explainedVariance.toArray(), atol=1e-9)
    np.testing.assert_allclose(np.abs(ours.components), np.abs(theirs.pc.toArray()), atol=1e-7)


@pytest.mark.parametrize("standardize", [False, True])
def test_the_saved_pipeline_matches_the_projection(spark: SparkSession, tmp_path: Path, standardize: bool) -> None:
    rows = np.hstack([_rows(), np.full((300, 1), 3, np.float32)])
    table, projection = feature_tables.features(tmp_path, rows, 4, [None, "Apple"]), Table(str(tmp_path), "pca")
    fitted = pca.fit(spark.sparkContext, table, 0.9, standardize)
    search = Table(str(tmp_path), "search")
    pca.project(spark.sparkContext, table, fitted, projection, search)
    assert search.names() == table.names()
    assert projection.names() == table.names()
    projected = spark.read.parquet(str(tmp_path / "pca"))
    assert dict(projected.dtypes) == {"path": "string", "label": "string", "pca": "array<float>"}
    assert {(row.path, row.label) for row in projected.collect()} >= {("0.jpg", None), ("1.jpg", "Apple")}
    pipeline.save(fitted, open_store(str(tmp_path)), "model")

    loaded = PipelineModel.load(str(tmp_path / "model"))
    expected = {row.path: row.pca.toArray() for row in loaded.transform(_read(spark, tmp_path)).collect()}
    ours = {row.path: row.pca for row in projected.collect()}
    assert ours.keys() == expected.keys()
    assert {len(values) for values in ours.values()} == {fitted.k}
    for path, values in ours.items():
        np.testing.assert_allclose(values, expected[path], atol=1e-5 * max(1, np.abs(values).max()))
    rotation = loaded.stages[1]
    assert isinstance(rotation, ml.PCAModel)
    assert rotation.explainedVariance.toArray() == pytest.approx(fitted.explained_variance_ratio[: fitted.k])


@pytest.mark.parametrize("files", [0, 2])
def test_empty_features_are_refused(spark: SparkSession, tmp_path: Path, files: int) -> None:
    table = feature_tables.features(tmp_path, _rows()[:0], files) if files else Table(str(tmp_path), "features")
    with pytest.raises(UserError, match="at least 2 photos"):
        pca.fit(spark.sparkContext, table, 2)
