"""Nearest neighbours among vectors, with faiss. It needs no Spark."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]

# The defaults of faiss 1.15 are for many threads. With one, they double the time of blocks with less than 1,000 queries
# (https://github.com/facebookresearch/faiss/pull/5109), and distances do not fit in the core's cache.
faiss.cvar.distance_compute_blas_threshold = 800
faiss.cvar.distance_compute_blas_query_bs = 512
faiss.cvar.distance_compute_blas_database_bs = 512


class Nearest:
    """The nearest rows of a base that arrives block by block, for many queries at once.

    Parameters
    ----------
    queries
        Shape (n, d).
    k
        How many rows to keep for each query.
    """

    def __init__(self, queries: Vectors, k: int) -> None:
        self._queries, self._k = queries, k
        self._found = faiss.ResultHeap(len(queries), k)

    def add(self, block: Vectors, first_row: int, wanted: NDArray[np.intp]) -> None:
        """Compare the wanted queries with a block of the base, whose rows have the numbers from ``first_row``."""
        if len(block) and len(wanted):
            squares, rows = faiss.knn(self._queries[wanted], block, min(self._k, len(block)))
            self._found.add_result_subset(wanted, squares, rows + first_row)

    def without(self, own: NDArray[np.int64]) -> tuple[NDArray[np.int64], Vectors]:
        """Return the k - 1 nearest rows other than each query's own row, and their Euclidean distances.

        Rows are -1 where there are fewer. Call this once, after the last block.
        """
        self._found.finalize()
        is_own = own[:, np.newaxis] == self._found.I
        is_own[:, -1] |= ~is_own.any(axis=1)  # more than k rows are equal to the query, so its own is not among them
        shape = len(own), self._k - 1
        rows, squares = self._found.I[~is_own].reshape(shape), self._found.D[~is_own].reshape(shape)
        return rows, np.sqrt(np.maximum(squares, 0))


@dataclass(frozen=True)
class Cells:
    """Divides vectors into cells, so that a search compares a query only with the cells that are nearest to it.

    This is faiss's inverted file (IVF), divided so that each cell can be a file of its own.

    Attributes
    ----------
    centres
        Shape (cells, d).
    probes
        How many cells a query is compared with.
    """

    centres: Vectors
    probes: int

    @classmethod
    def train(cls, vectors: Vectors, count: int, probes: int) -> "Cells":
        """Divide a sample of the vectors, shape (n, d), into cells by k-means. Equal samples give equal cells."""
        kmeans = faiss.Kmeans(vectors.shape[1], count, niter=10, seed=1, min_points_per_centroid=1)
        kmeans.train(np.ascontiguousarray(vectors))
        return cls(np.asarray(kmeans.centroids), min(probes, count))

    def own(self, vectors: Vectors) -> NDArray[np.intp]:
        """Return the cell of each vector."""
        return self._nearest(vectors, 1)[:, 0]

    def wanted(self, vectors: Vectors) -> Iterator[tuple[int, NDArray[np.intp]]]:
        """Yield each cell that a query must be compared with, and the numbers of these queries."""
        probed = self._nearest(vectors, self.probes)
        for cell in np.unique(probed):
            yield int(cell), np.flatnonzero((probed == cell).any(axis=1))

    def _nearest(self, vectors: Vectors, count: int) -> NDArray[np.intp]:
        cells: NDArray[np.intp] = faiss.knn(np.ascontiguousarray(vectors), self.centres, count)[1]
        return cells


def one_nn_accuracy(vectors: NDArray[Any], labels: Sequence[str | None]) -> float | None:
    """Return the 1-NN accuracy of labels: the share of rows whose nearest other row has the same label.

    Parameters
    ----------
    vectors
        Shape (n, d). The distances are Euclidean.
    labels
        One per row.

    Returns
    -------
    float or None
        From 0 to 1, or None if there are fewer than two labels or rows.
    """
    if len(set(labels)) < 2:
        return None
    named = np.array([label or "" for label in labels])
    # A mean far from zero would cost small distances their precision.
    centred = np.ascontiguousarray(vectors - vectors.mean(axis=0, dtype=np.float64), np.float32)
    own = np.arange(len(centred))
    search = Nearest(centred, 2)
    search.add(centred, 0, own)
    rows, _ = search.without(own)
    return float((named[rows[:, 0]] == named).mean())
