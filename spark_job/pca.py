"""PCA of a features table on Spark."""

from functools import partial

import numpy as np
import pyarrow as pa
from pyspark import SparkContext
from pyspark.broadcast import Broadcast

from spark_job import moments, tables
from spark_job.moments import FittedPca, Moments
from spark_job.tables import PartWriter, Table, lists, matrix

SEARCHED = 96
"""How many components the search uses. With more, wrong labels, outliers and copies are found no better."""


def fit(context: SparkContext, features: Table, n_components: int | float, standardize: bool = False) -> FittedPca:
    """Fit PCA to a features table in one pass; parameters and errors are those of :func:`spark_job.moments.fit`.

    Each task sums the moments of its files. The executors merge them in a tree, and the driver decomposes one (d, d)
    matrix.
    """
    empty: Moments | None = None
    total = features.spread(context).map(partial(_moments, features)).treeAggregate(empty, _merge, _merge)
    return moments.fit(total or Moments(0, np.zeros(0), np.zeros((0, 0))), n_components, standardize)


def project(context: SparkContext, features: Table, fitted: FittedPca, projection: Table, search: Table) -> None:
    """Write the values of all features on the components: one file for each file of the features, in two tables.

    ``projection`` is for people (PCA_SCHEMA). ``search`` has the first components only, and what else is known about
    the photos (SEARCH_SCHEMA).
    """
    task = partial(_project, features, context.broadcast(fitted), projection, search)
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


def _project(features: Table, fitted: "Broadcast[FittedPca]", projection: Table, search: Table, name: str) -> None:
    columns = ["path", "label", *tables.QUALITY_SCHEMA.names]
    with (
        PartWriter(projection, name, tables.PCA_SCHEMA) as projected,
        PartWriter(search, name, tables.SEARCH_SCHEMA) as searched,
    ):
        for batch in features.read(name, [*columns, "features"]):
            values = fitted.value.project(matrix(batch.column("features")))
            photos = batch.select(columns)
            projected.add(photos.append_column("pca", lists(values)))
            first = pa.array([row.tobytes() for row in values[:, :SEARCHED]])
            searched.add(photos.append_column("vector", first))
