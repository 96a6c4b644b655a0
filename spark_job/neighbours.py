"""Nearest neighbours among feature vectors."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def agreement(vectors: NDArray[Any], labels: Sequence[str | None]) -> float | None:
    """Return how well labels hold together: the share of rows whose nearest other row has the same label.

    Parameters
    ----------
    vectors
        Shape (n, d); Euclidean distances, n x n of them at once.
    labels
        One a row.

    Returns
    -------
    float or None
        From 0 to 1; None where there are fewer than two labels or two rows, and so no question.
    """
    if len(set(labels)) < 2:
        return None
    named = np.array([label or "" for label in labels])
    centred = vectors - vectors.mean(axis=0, dtype=np.float64)  # a far mean would cost the small distances their digits
    squares = np.einsum("ij,ij->i", centred, centred)
    distances = squares - 2.0 * (centred @ centred.T)  # the row's own square changes no order
    np.fill_diagonal(distances, np.inf)
    return float((named[distances.argmin(axis=1)] == named).mean())


def nearest(query: NDArray[Any], vectors: NDArray[Any], k: int) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return the rows nearest to a query, the nearest first.

    Parameters
    ----------
    query
        Shape (d,).
    vectors
        Shape (n, d).
    k
        How many; all n where there are fewer.

    Returns
    -------
    tuple of ndarray
        Their indices and their Euclidean distances, shape (min(k, n),) each; of equal ones the first row comes first.
    """
    distances = np.linalg.norm(vectors - query, axis=1).astype(np.float64)
    rows = np.argsort(distances, kind="stable")[:k]
    return rows, distances[rows]
