"""A fitted PCA in Spark's standard form: a ``PipelineModel``, which pyspark can load by itself.

Only the driver imports this module. ``pyspark.ml`` would take 13 MB of each Python worker.
"""

from functools import partial
from typing import Any

from pyspark.ml import PipelineModel
from pyspark.ml.common import _py2java
from pyspark.ml.feature import PCAModel, StandardScalerModel
from pyspark.ml.linalg import DenseMatrix, DenseVector
from pyspark.sql import SparkSession

from spark_job.moments import FittedPca
from spark_job.runs import MODEL_STAGES


def from_pca(spark: SparkSession, fitted: FittedPca) -> PipelineModel:
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
