"""Counts the photos of a run, and draws a sample that fits in the driver's memory. The report is made from both."""

import hashlib
from collections import Counter
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark import SparkContext
from pyspark.broadcast import Broadcast

from spark_job import reuse, tables
from spark_job.archives import Photos
from spark_job.moments import FittedPca
from spark_job.neighbours import one_nn_accuracy
from spark_job.network.images import thumbnail
from spark_job.rejection import RejectedPhotoError
from spark_job.report.map import Point
from spark_job.tables import Table, matrix

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
        pictures = {
            index: _thumbnail(source, self.paths[index]) for index in sorted(chosen, key=self.paths.__getitem__)
        }
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
    """The photos of a features table.

    Attributes
    ----------
    labels
        Their number by label, sorted.
    reused
        How many of them come from earlier runs.
    hashes
        A hash of each path, sorted.
    """

    labels: dict[str, int]
    reused: int
    hashes: NDArray[np.uint64]

    @property
    def computed(self) -> int:
        """How many photos this run has computed."""
        return len(self.hashes) - self.reused

    @property
    def repeated(self) -> int:
        """How many rows are for a photo that has a row already."""
        return len(self.hashes) - len(np.unique(self.hashes))


def count(context: SparkContext, features: Table) -> Census:
    """Count the photos of a features table."""
    files = features.spread(context).map(partial(_count_file, features)).collect()
    labels = sum((labels for _, labels, _ in files), Counter[str]())
    reused = sum(len(hashes) for name, _, hashes in files if name.startswith(reuse.FILE_PREFIX))
    hashes = np.sort(np.concatenate([hashes for _, _, hashes in files]))
    return Census(dict(sorted(labels.items())), reused, hashes)


def _count_file(features: Table, name: str) -> tuple[str, Counter[str], NDArray[np.uint64]]:
    rows = pa.Table.from_batches(features.read(name, ["path", "label"]), _LABELLED_SCHEMA)
    labels = Counter(label or "" for label in rows.column("label").to_pylist())
    return name, labels, _hashes(rows.column("path"))


def draw(context: SparkContext, features: Table, census: Census, fitted: FittedPca) -> Sample:
    """Return the 2,000 photos whose paths have the lowest hashes, so that equal inputs give equal samples."""
    chosen = context.broadcast(census.hashes[:_ROWS])
    rows = pa.concat_tables(features.spread(context).map(partial(_rows, features, chosen)).collect())
    rows = rows.take(np.argsort(_hashes(rows.column("path"))))
    vectors = matrix(rows.column("features").combine_chunks())
    return Sample(rows.column("path").to_pylist(), rows.column("label").to_pylist(), vectors, fitted.project(vectors))


def _rows(features: Table, chosen: "Broadcast[NDArray[np.uint64]]", name: str) -> pa.Table:
    batches = (batch.cast(_VECTORS_SCHEMA) for batch in features.read(name, _VECTORS_SCHEMA.names))
    return pa.Table.from_batches(
        (batch.filter(pa.array(np.isin(_hashes(batch.column("path")), chosen.value))) for batch in batches),
        _VECTORS_SCHEMA,
    )


def _hashes(paths: pa.Array) -> NDArray[np.uint64]:
    """Return a hash of 64 bits for each path."""
    return np.array(
        [int.from_bytes(hashlib.blake2b(path.encode(), digest_size=8).digest()) for path in paths.to_pylist()],
        np.uint64,
    )


def _thumbnail(source: Photos, path: str) -> bytes | None:
    try:
        return thumbnail(source.read(path).data)
    except (OSError, RejectedPhotoError):  # the photo is gone; the report works without its thumbnail
        return None
