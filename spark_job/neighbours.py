"""Nearest neighbours among feature vectors."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def one_nn_accuracy(vectors: NDArray[Any], labels: Sequence[str | None]) -> float | None:
    """Return the 1-NN accuracy of labels: the share of rows whose nearest other row has the same label.

    Parameters
    ----------
    vectors
        Shape (n, d). The distances are Euclidean, and all n x n of them are in memory at once.
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
    centred = vectors - vectors.mean(axis=0, dtype=np.float64)
    squares = np.einsum("ij,ij->i", centred, centred)
    distances = squares - 2.0 * (centred @ centred.T)  # without the row's own square, which changes no order
    np.fill_diagonal(distances, np.inf)
    return float((named[distances.argmin(axis=1)] == named).mean())


def nearest(query: NDArray[Any], vectors: NDArray[Any], k: int) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return the rows that are nearest to a query, the nearest first.

    Parameters
    ----------
    query
        Shape (d,).
    vectors
        Shape (n, d).
    k
        The number of rows to return; all n if there are fewer.

    Returns
    -------
    tuple of ndarray
        Indices and Euclidean distances, each of shape (min(k, n),). Equal distances keep the order of the rows.
    """
    distances = np.linalg.norm(vectors - query, axis=1).astype(np.float64)
    rows = np.argsort(distances, kind="stable")[:k]
    return rows, distances[rows]
