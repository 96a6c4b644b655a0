"""A sample of a run's images that fits in the driver's memory. The report is made from it."""

import hashlib
import heapq
import itertools
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark import SparkContext
from pyspark.broadcast import Broadcast

from spark_job import tables
from spark_job.moments import FittedPca
from spark_job.neighbours import one_nn_accuracy
from spark_job.network.images import RejectedImageError, thumbnail
from spark_job.report.map import Point
from spark_job.storage.base import Store
from spark_job.tables import Table, matrix

_ROWS = 2_000
_THUMBNAILS = 60


@dataclass(frozen=True)
class Sample:
    """The sampled images: ``features`` has shape (n, feature_count), ``projected`` has shape (n, k)."""

    paths: list[str]
    labels: list[str | None]
    features: NDArray[np.float32]
    projected: NDArray[np.float32]

    @property
    def one_nn_accuracy_features(self) -> float | None:
        """The 1-NN accuracy of labels before PCA, see :func:`spark_job.neighbours.one_nn_accuracy`."""
        return one_nn_accuracy(self.features, self.labels)

    @property
    def one_nn_accuracy_components(self) -> float | None:
        """The 1-NN accuracy of labels after PCA."""
        return one_nn_accuracy(self.projected, self.labels)

    def points(self, source: Store) -> list[Point]:
        """Return the sample on the first two components. Up to 60 points have thumbnails, spread over the labels."""
        chosen = self._one_per_label_first()[:_THUMBNAILS]
        pictures = {index: _thumbnail(source, self.paths[index]) for index in chosen}
        plane = np.pad(self.projected, ((0, 0), (0, 1)))[:, :2]
        return [
            Point(path, label, float(x), float(y), pictures.get(index))
            for index, (path, label, (x, y)) in enumerate(zip(self.paths, self.labels, plane, strict=True))
        ]

    def _one_per_label_first(self) -> list[int]:
        """Return all indices: the first image of each label, then the second of each, and so on."""
        seen: dict[str | None, int] = {}
        turns = []
        for index, label in enumerate(self.labels):
            seen[label] = seen.get(label, 0) + 1
            turns.append((seen[label], index))
        return [index for _, index in sorted(turns)]


def draw(context: SparkContext, features: Table, fitted: FittedPca) -> Sample:
    """Return the 2,000 images whose paths have the lowest hashes, so that equal inputs give equal samples."""
    paths = features.spread(context).map(partial(_lowest_paths, features)).treeReduce(_lowest)
    chosen = context.broadcast(frozenset(paths))
    rows = pa.concat_tables(features.spread(context).map(partial(_rows, features, chosen)).collect())
    place = {path: row for row, path in enumerate(rows.column("path").to_pylist())}
    rows = rows.take(pa.array([place[path] for path in paths], pa.int64()))
    vectors = matrix(rows.column("features").combine_chunks())
    return Sample(paths, rows.column("label").to_pylist(), vectors, fitted.project(vectors))


def _lowest_paths(features: Table, name: str) -> list[str]:
    return _lowest(*(batch.column("path").to_pylist() for batch in features.read(name, ["path"])))


def _lowest(*paths: list[str]) -> list[str]:
    return heapq.nsmallest(_ROWS, itertools.chain(*paths), key=lambda path: (_hash(path), path))


def _hash(path: str) -> bytes:
    return hashlib.blake2b(path.encode(), digest_size=8).digest()


def _rows(features: Table, chosen: "Broadcast[frozenset[str]]", name: str) -> pa.Table:
    columns = ["path", "label", "features"]
    schema = pa.schema([tables.FEATURES_SCHEMA.field(column) for column in columns])
    batches = (batch.cast(schema) for batch in features.read(name, columns))
    return pa.Table.from_batches(
        (batch.filter(_is_in(batch.column("path"), chosen.value)) for batch in batches), schema
    )


def _is_in(paths: pa.Array, chosen: frozenset[str]) -> pa.Array:
    return pa.array([path in chosen for path in paths.to_pylist()], pa.bool_())


def _thumbnail(source: Store, path: str) -> bytes | None:
    try:
        return thumbnail(source.read(path).data)
    except (OSError, RejectedImageError):  # the photo is gone; the report works without its thumbnail
        return None
