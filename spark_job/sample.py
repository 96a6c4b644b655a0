"""Counts the photos of a run, and draws a sample that fits in the driver's memory. The report is made from both."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from operator import add
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark import SparkContext
from pyspark.broadcast import Broadcast

from spark_job import reuse, tables
from spark_job.archives import Photos
from spark_job.moments import FittedPca
from spark_job.neighbours import one_nn_accuracy
from spark_job.network.images import thumbnail_if_possible
from spark_job.report.map import Point
from spark_job.tables import Table, matrix, text_hashes

_ROWS = 2_000
_THUMBNAILS = 60
_LABELLED_SCHEMA = pa.schema([tables.FEATURES_SCHEMA.field(name) for name in ("path", "label")])
_VECTORS_SCHEMA = pa.schema([*_LABELLED_SCHEMA, tables.FEATURES_SCHEMA.field("features")])


@dataclass(frozen=True)
class Sample:
    """The sampled photos: ``features`` has shape (n, feature_count), ``projected`` has shape (n, k)."""

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

    def points(self, source: Photos) -> list[Point]:
        """Return the sample on the first two components. Up to 60 points have thumbnails, spread over the labels."""
        chosen = self._one_per_label_first()[:_THUMBNAILS]

        def small(index: int) -> bytes | None:
            return thumbnail_if_possible(lambda: source.read(self.paths[index]).data)

        pictures = {index: small(index) for index in sorted(chosen, key=self.paths.__getitem__)}
        plane = np.pad(self.projected, ((0, 0), (0, 1)))[:, :2]
        return [
            Point(path, label, float(x), float(y), pictures.get(index))
            for index, (path, label, (x, y)) in enumerate(zip(self.paths, self.labels, plane, strict=True))
        ]

    def _one_per_label_first(self) -> list[int]:
        """Return all indices: the first photo of each label, then the second of each, and so on."""
        seen: dict[str | None, int] = {}
        turns = []
        for index, label in enumerate(self.labels):
            seen[label] = seen.get(label, 0) + 1
            turns.append((seen[label], index))
        return [index for _, index in sorted(turns)]


@dataclass(frozen=True)
class Census:
    """The photos of a features table, or of a part of it.

    Attributes
    ----------
    labels
        Their number by label.
    reused
        How many of them come from earlier runs.
    repeated
        How many rows are for a photo that has a row already.
    lowest
        The lowest 2,000 hashes of their paths, sorted.
    """

    labels: Counter[str] = field(default_factory=Counter)
    reused: int = 0
    repeated: int = 0
    lowest: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(0, np.uint64))

    def __add__(self, other: "Census") -> "Census":
        lowest = np.sort(np.concatenate([self.lowest, other.lowest]))[:_ROWS]
        return Census(self.labels + other.labels, self.reused + other.reused, self.repeated + other.repeated, lowest)

    @property
    def photos(self) -> int:
        """How many photos there are."""
        return self.labels.total()

    @property
    def computed(self) -> int:
        """How many photos this run has computed."""
        return self.photos - self.reused


class _Part(NamedTuple):
    """Photos of one file."""

    labels: Counter[str]
    reused: int
    hashes: NDArray[np.uint64]


def count(context: SparkContext, features: Table) -> Census:
    """Count the photos of a features table.

    Tasks exchange the hashes of paths, so that each can tell which of its own are repeated, and the driver gets few.
    """
    groups = context.defaultParallelism
    parts = features.spread(context).flatMap(partial(_parts, features, groups)).groupByKey(groups)
    return parts.mapValues(_census).values().fold(Census(), add)


def _parts(features: Table, groups: int, name: str) -> Iterator[tuple[int, _Part]]:
    """Yield the photos of a file in groups, each with its number. A path is always in the same group."""
    rows = pa.Table.from_batches(features.read(name, ["path", "label"]), _LABELLED_SCHEMA)
    labels = np.array([label or "" for label in rows.column("label").to_pylist()], object)
    hashes = text_hashes(rows.column("path").to_pylist())
    group_of = hashes % np.uint64(groups)
    for group in np.unique(group_of):
        mine = group_of == group
        reused = int(mine.sum()) if name.startswith(reuse.FILE_PREFIX) else 0
        yield int(group), _Part(Counter(labels[mine].tolist()), reused, hashes[mine])


def _census(parts: Iterable[_Part]) -> Census:
    labels, reused, hashes = zip(*parts, strict=True)
    every = np.concatenate(hashes)
    distinct = np.unique(every)
    return Census(sum(labels, Counter()), sum(reused), len(every) - len(distinct), distinct[:_ROWS])


def draw(context: SparkContext, features: Table, census: Census, fitted: FittedPca) -> Sample:
    """Return the 2,000 photos whose paths have the lowest hashes, so that equal inputs give equal samples."""
    chosen = context.broadcast(census.lowest)
    rows = pa.concat_tables(features.spread(context).map(partial(_rows, features, chosen)).collect())
    rows = rows.take(np.argsort(text_hashes(rows.column("path").to_pylist())))
    vectors = matrix(rows.column("features").combine_chunks())
    return Sample(rows.column("path").to_pylist(), rows.column("label").to_pylist(), vectors, fitted.project(vectors))


def _rows(features: Table, chosen: "Broadcast[NDArray[np.uint64]]", name: str) -> pa.Table:
    batches = (batch.cast(_VECTORS_SCHEMA) for batch in features.read(name, _VECTORS_SCHEMA.names))
    hashed = ((batch, text_hashes(batch.column("path").to_pylist())) for batch in batches)
    return pa.Table.from_batches(
        (batch.filter(pa.array(np.isin(hashes, chosen.value))) for batch, hashes in hashed),
        _VECTORS_SCHEMA,
    )
