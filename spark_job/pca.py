"""PCA of a column of features, and its standard form: a ``PipelineModel`` that plain pyspark loads."""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.broadcast import Broadcast
from pyspark.ml import PipelineModel
from pyspark.ml.common import _py2java
from pyspark.ml.feature import PCAModel, StandardScalerModel
from pyspark.ml.linalg import DenseMatrix, DenseVector
from pyspark.sql import DataFrame, SparkSession

from spark_job.moments import Components, Moments, principal_components

PROJECTION = "path string, label string, pca array<float>"


def fit(features: DataFrame, components: int | float, standardize: bool = False) -> Components:
    """Fit PCA on the column ``features`` (array of float) in one pass.

    Each partition sums its own moments; they are merged on the executors in a tree, and the driver decomposes one
    (d, d) matrix. Raises as :func:`~spark_job.moments.principal_components` does.
    """
    partials = features.select("features").mapInArrow(_partial_moments, "moments binary").rdd
    empty: Moments | None = None
    merged = partials.map(lambda row: Moments.from_bytes(row.moments)).treeAggregate(empty, _merge, _merge)
    return principal_components(merged or Moments(0, np.zeros(0), np.zeros((0, 0))), components, standardize)


def project(features: DataFrame, components: "Broadcast[Components]") -> DataFrame:
    """Return ``path``, ``label`` and ``pca``, the features on the components."""
    return features.select("path", "label", "features").mapInArrow(partial(_project, components), PROJECTION)


def matrix(column: pa.Array) -> NDArray[np.float32]:
    """Return a column of lists of equal length as an array of shape (rows, length), without a copy."""
    rows: NDArray[np.float32] = column.flatten().to_numpy().reshape(len(column), -1)
    return rows


def _partial_moments(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    total: Moments | None = None
    for batch in batches:
        if batch.num_rows:
            total = _merge(total, Moments.of(matrix(batch.column(0))))
    if total is not None:
        yield pa.record_batch([pa.array([total.to_bytes()], pa.binary())], names=["moments"])


def _merge(left: Moments | None, right: Moments | None) -> Moments | None:
    if left is None or right is None:
        return left or right
    return left.merge(right)


def _project(components: "Broadcast[Components]", batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        projected = components.value.project(matrix(batch.column(2))) if batch.num_rows else np.empty((0, 1))
        offsets = np.arange(0, projected.size + 1, projected.shape[1], dtype=np.int32)
        lists = pa.ListArray.from_arrays(offsets, pa.array(projected.ravel(), pa.float32()))
        yield pa.record_batch([batch.column(0), batch.column(1), lists], names=["path", "label", "pca"])


def pipeline(spark: SparkSession, components: Components) -> PipelineModel:
    """Return the components as Spark's own models: centre (and scale), then rotate.

    It reads the vector column ``features`` (see ``pyspark.ml.functions.array_to_vector``) and adds ``pca``. Spark's
    ``PCAModel`` does not subtract the mean, so that a ``StandardScalerModel`` does it first.
    """
    feature = spark._jvm.org.apache.spark.ml.feature  # type: ignore[union-attr]
    vector = partial(_py2java, spark.sparkContext)
    scaler = feature.StandardScalerModel(
        "centre", vector(DenseVector(components.scale)), vector(DenseVector(components.mean))
    )
    scaler.set(scaler.withMean(), True)
    scaler.set(scaler.withStd(), bool((components.scale != 1).any()))
    width, k = components.axes.shape
    axes = DenseMatrix(width, k, components.axes.ravel(order="F"))
    rotation = feature.PCAModel("pca", vector(axes), vector(DenseVector(components.ratio[: components.k])))
    rotation.set(rotation.k(), components.k)
    stages: list[Any] = [
        _python(StandardScalerModel, scaler, "features", "centred"),
        _python(PCAModel, rotation, "centred", "pca"),
    ]
    return PipelineModel(stages)


def _python(kind: type[Any], java: Any, input_column: str, output_column: str) -> Any:
    java.setInputCol(input_column)
    java.setOutputCol(output_column)
    model = kind(java)
    model._transfer_params_from_java()
    return model
