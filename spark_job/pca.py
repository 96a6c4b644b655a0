"""PCA of a column of features, and its standard form: a ``PipelineModel`` that plain pyspark loads."""

from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark import SparkContext
from pyspark.broadcast import Broadcast
from pyspark.ml import PipelineModel
from pyspark.ml.common import _py2java
from pyspark.ml.feature import PCAModel, StandardScalerModel
from pyspark.ml.linalg import DenseMatrix, DenseVector
from pyspark.sql import SparkSession

from spark_job import parts
from spark_job.moments import Components, Moments, principal_components
from spark_job.parts import Parts


def fit(context: SparkContext, features: Parts, components: int | float, standardize: bool = False) -> Components:
    """Fit PCA on the column ``features`` in one pass.

    Each task sums the moments of its parts; they are merged on the executors in a tree, and the driver decomposes one
    (d, d) matrix. Raises as :func:`~spark_job.moments.principal_components` does.
    """
    empty: Moments | None = None
    moments = features.spread(context).map(partial(_moments, features)).treeAggregate(empty, _merge, _merge)
    return principal_components(moments or Moments(0, np.zeros(0), np.zeros((0, 0))), components, standardize)


def project(context: SparkContext, features: Parts, components: Components, projection: Parts) -> None:
    """Write ``path``, ``label`` and ``pca``, the features on the components: a part for each part of the features."""
    task = partial(_project, features, context.broadcast(components), projection)
    features.spread(context).foreach(task)


def matrix(column: pa.Array) -> NDArray[np.float32]:
    """Return a column of lists of equal length as an array of shape (rows, length), without a copy."""
    rows: NDArray[np.float32] = column.flatten().to_numpy().reshape(len(column), -1)
    return rows


def _moments(features: Parts, name: str) -> Moments | None:
    total: Moments | None = None
    for batch in features.read(name, ["features"]):
        total = _merge(total, Moments.of(matrix(batch.column(0))))
    return total


def _merge(left: Moments | None, right: Moments | None) -> Moments | None:
    if left is None or right is None:
        return left or right
    return left.merge(right)


def _project(features: Parts, components: "Broadcast[Components]", projection: Parts, name: str) -> None:
    read = features.read(name, ["path", "label", "features"])
    projection.write(name, (_projected(batch, components.value) for batch in read), parts.PROJECTION)


def _projected(batch: pa.RecordBatch, components: Components) -> pa.RecordBatch:
    rows = components.project(matrix(batch.column("features")))
    offsets = np.arange(0, rows.size + 1, rows.shape[1], dtype=np.int32)
    lists = pa.ListArray.from_arrays(offsets, pa.array(rows.ravel(), pa.float32()))
    return pa.record_batch([batch.column("path"), batch.column("label"), lists], schema=parts.PROJECTION)


def pipeline(spark: SparkSession, components: Components) -> PipelineModel:
    """Return the components as Spark's own models: centre (and scale), then rotate.

    It reads the vector column ``features`` (see ``pyspark.ml.functions.array_to_vector``) and adds ``pca``. Spark's
    ``PCAModel`` does not subtract the mean, so that a ``StandardScalerModel`` does it first.
    """
    feature = spark._jvm.org.apache.spark.ml.feature  # type: ignore[union-attr]  # there is a JVM
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
