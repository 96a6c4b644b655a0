"""PCA of a features table on Spark."""

from functools import partial

import numpy as np
import pyarrow as pa
from pyspark import SparkContext
from pyspark.broadcast import Broadcast

from spark_job import moments, tables
from spark_job.moments import FittedPca, Moments
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
