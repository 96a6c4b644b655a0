"""Finds photos that are copies of each other, from their miniatures."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from spark_job.network.quality import MINIATURE_SIDE

_CROP = 0.92
_OFFSETS = (0.125, 0.375, 0.625, 0.875)
_WORTH_CROPPING = 0.75
_PHOTOS_AT_ONCE = 128

Likeness = NDArray[np.float32]


def likeness(miniatures: NDArray[np.uint8], others: NDArray[np.uint8], places: NDArray[np.intp]) -> Likeness:
    """Return how alike photos and others are: the correlation of their miniatures.

    It is the largest one of three: between both as they are, between the photo in a mirror and the other, and between
    parts of the photo, with 92 % of its width and height, and the other.

    Parameters
    ----------
    miniatures, others
        Shapes (n, 588) and (m, 588).
    places
        The others to compare each photo with, shape (n, k), as numbers of their rows.

    Returns
    -------
    ndarray of float32, shape (n, k)
        From -1 to 1; 0 if one of both has only one colour.
    """
    alike = np.zeros(places.shape, np.float32)
    for start in range(0, len(places), _PHOTOS_AT_ONCE):
        part = slice(start, start + _PHOTOS_AT_ONCE)
        alike[part] = _likeness(miniatures[part], _normed(others[places[part]]))
    return alike


def _likeness(miniatures: NDArray[np.uint8], others: Likeness) -> Likeness:
    photos = miniatures.reshape(-1, MINIATURE_SIDE, MINIATURE_SIDE, 3)
    best = _best(_normed(np.stack([photos, photos[:, :, ::-1]], axis=1)), others)
    close = np.flatnonzero((best > _WORTH_CROPPING).any(axis=1))
    if len(close):
        best[close] = np.maximum(best[close], _best(_normed(_crops(photos[close])), others[close]))
    return best


def _best(views: Likeness, others: Likeness) -> Likeness:
    """Return the correlation of each other photo with the view of the photo that is most like it."""
    best: Likeness = (others @ views.transpose(0, 2, 1)).max(axis=2)
    return best


def _crops(photos: NDArray[np.uint8]) -> Likeness:
    """Return parts of photos, shape (n, side, side, 3), enlarged to their size: shape (n, 16, side, side, 3)."""
    maps = np.stack([_enlarge(MINIATURE_SIDE, offset) for offset in _OFFSETS])
    down = np.tensordot(photos.astype(np.float32), maps, axes=(1, 2))  # n, column, colour, offset, row
    both = np.tensordot(down, maps, axes=(1, 2))  # n, colour, offset, row, offset, column
    moved = both.transpose(0, 2, 4, 3, 5, 1)
    return moved.reshape(len(photos), len(_OFFSETS) ** 2, *photos.shape[1:])


def _enlarge(side: int, offset: float) -> Likeness:
    """Return the matrix that enlarges a part of ``side`` values by linear interpolation."""
    places = np.clip((np.arange(side) + 0.5) * _CROP + offset * (1 - _CROP) * side - 0.5, 0, side - 1)
    low = np.minimum(places.astype(int), side - 2)
    matrix = np.zeros((side, side), np.float32)
    matrix[np.arange(side), low] = 1 - (places - low)
    matrix[np.arange(side), low + 1] = places - low
    return matrix


def _normed(miniatures: NDArray[np.generic]) -> Likeness:
    """Return vectors of mean 0 and length 1; 0 for miniatures of one colour. All axes but the first two are one."""
    vectors = miniatures.reshape(*miniatures.shape[:2], -1).astype(np.float32)
    vectors -= vectors.mean(axis=2, keepdims=True)
    lengths = np.linalg.norm(vectors, axis=2, keepdims=True)
    return np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 1e-3)


def groups(pairs: Iterable[tuple[str, str]]) -> list[list[str]]:
    """Return the connected groups of paths, sorted, from pairs of paths that belong together."""
    parents: dict[str, str] = {}

    def root(path: str) -> str:
        while (parent := parents.setdefault(path, path)) != path:
            parents[path] = parents[parent]  # halve the way for those who come later
            path = parent
        return path

    for one, other in pairs:
        first, second = sorted((root(one), root(other)))
        parents[second] = first
    members: dict[str, list[str]] = {}
    for path in sorted(parents):
        members.setdefault(root(path), []).append(path)
    return sorted(members.values())
