"""PCA of a features table on Spark, and its standard form: a ``PipelineModel`` that pyspark can load by itself."""

from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark import SparkContext
from pyspark.broadcast import Broadcast
from pyspark.ml import PipelineModel
from pyspark.ml.common import _py2java
from pyspark.ml.feature import PCAModel, StandardScalerModel
from pyspark.ml.linalg import DenseMatrix, DenseVector
from pyspark.sql import SparkSession

from spark_job import moments, tables
from spark_job.moments import FittedPca, Moments
from spark_job.runs import MODEL_STAGES
from spark_job.tables import Table, matrix


def fit(context: SparkContext, features: Table, n_components: int | float, standardize: bool = False) -> FittedPca:
    """Fit PCA to a features table in one pass; parameters and errors are those of :func:`spark_job.moments.fit`.

    Each task sums the moments of its files. The executors merge them in a tree, and the driver decomposes one (d, d)
    matrix.
    """
    empty: Moments | None = None
    total = features.spread(context).map(partial(_moments, features)).treeAggregate(empty, _merge, _merge)
    return moments.fit(total or Moments(0, np.zeros(0), np.zeros((0, 0))), n_components, standardize)


def project(context: SparkContext, features: Table, fitted: FittedPca, projection: Table) -> None:
    """Write the values of all features on the components (PCA_SCHEMA): one file for each file of the features."""
    task = partial(_project, features, context.broadcast(fitted), projection)
    features.spread(context).foreach(task)


def _moments(features: Table, name: str) -> Moments | None:
    total: Moments | None = None
    for batch in features.read(name, ["features"]):
        total = _merge(total, Moments.of(matrix(batch.column(0))))
    return total


def _merge(left: Moments | None, right: Moments | None) -> Moments | None:
    if left is None or right is None:
        return left or right
    return left.merge(right)


def _project(features: Table, fitted: "Broadcast[FittedPca]", projection: Table, name: str) -> None:
    read = features.read(name, ["path", "label", "features"])
    projection.write(name, (_projected(batch, fitted.value) for batch in read), tables.PCA_SCHEMA)


def _projected(batch: pa.RecordBatch, fitted: FittedPca) -> pa.RecordBatch:
    rows = fitted.project(matrix(batch.column("features")))
    offsets = np.arange(0, rows.size + 1, rows.shape[1], dtype=np.int32)
    lists = pa.ListArray.from_arrays(offsets, pa.array(rows.ravel(), pa.float32()))
    return pa.record_batch([batch.column("path"), batch.column("label"), lists], schema=tables.PCA_SCHEMA)


def pipeline(spark: SparkSession, fitted: FittedPca) -> PipelineModel:
    """Return a fitted PCA as Spark's own models: a scaler, then a rotation.

    The pipeline reads the vector column ``features`` (see ``pyspark.ml.functions.array_to_vector``) and adds ``pca``.
    Spark's ``PCAModel`` does not subtract the mean, so a ``StandardScalerModel`` comes first.
    """
    centre, rotate = MODEL_STAGES
    feature = spark._jvm.org.apache.spark.ml.feature  # type: ignore[union-attr]  # there is a JVM
    vector = partial(_py2java, spark.sparkContext)
    scaler = feature.StandardScalerModel(centre, vector(DenseVector(fitted.scale)), vector(DenseVector(fitted.mean)))
    scaler.set(scaler.withMean(), True)
    scaler.set(scaler.withStd(), bool((fitted.scale != 1).any()))
    width, k = fitted.components.shape
    loadings = DenseMatrix(width, k, fitted.components.ravel(order="F"))
    explained = DenseVector(fitted.explained_variance_ratio[: fitted.k])
    rotation = feature.PCAModel(rotate, vector(loadings), vector(explained))
    rotation.set(rotation.k(), fitted.k)
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
