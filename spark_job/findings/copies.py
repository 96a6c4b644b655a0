"""Finds photos that are copies of each other, from their miniatures."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

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
    others = _colour_by_colour(others)
    sums = others.sum(axis=1, dtype=np.int64)
    squares = np.einsum("ij,ij->i", others, others, dtype=np.int64)
    spread = _root_or_infinity(squares - sums**2 / others.shape[1])
    alike = np.zeros(places.shape, np.float32)
    for start in range(0, len(places), _PHOTOS_AT_ONCE):
        part = slice(start, start + _PHOTOS_AT_ONCE)
        near = places[part]
        compared = _Others(others[near].astype(np.float32), sums[near], spread[near])
        alike[part] = _likeness(_colour_by_colour(miniatures[part]).astype(np.float32), compared)
    return alike


class _Others(NamedTuple):
    """The other miniatures of some photos, shape (n, k, 588), their sums and their distances from their means."""

    pixels: Likeness
    sums: NDArray[np.int64]
    spread: NDArray[np.float64]

    def correlation(self, views: Likeness) -> Likeness:
        """Return the largest correlation of each of the others with the views of its photo, shape (n, views, 588)."""
        means = views.mean(axis=2)
        spread = _root_or_infinity(np.einsum("nvp,nvp->nv", views, views) - means**2 * views.shape[2])
        products = self.pixels @ views.transpose(0, 2, 1) - self.sums[:, :, np.newaxis] * means[:, np.newaxis]
        best: Likeness = (products / spread[:, np.newaxis]).max(axis=2) / self.spread
        return best


def _likeness(miniatures: Likeness, others: _Others) -> Likeness:
    photos = miniatures.reshape(-1, 3, MINIATURE_SIDE, MINIATURE_SIDE)
    photos -= photos.mean(axis=(1, 2, 3), keepdims=True)  # float32 has few digits
    best = others.correlation(np.stack([photos, photos[..., ::-1]], axis=1).reshape(len(photos), 2, -1))
    close = np.flatnonzero((best > _WORTH_CROPPING).any(axis=1))
    if len(close):
        compared = _Others(others.pixels[close], others.sums[close], others.spread[close])
        for views in _crops(photos[close]):
            best[close] = np.maximum(best[close], compared.correlation(views))
    return best


def _crops(photos: Likeness) -> Iterator[Likeness]:
    """Yield parts of photos, shape (n, 3, side, side), enlarged to their size: four times shape (n, 4, 588)."""
    maps = np.stack([_enlarge(MINIATURE_SIDE, offset) for offset in _OFFSETS])
    rows = np.tensordot(photos, maps, axes=(2, 2))  # n, colour, column, offset, row
    rows = np.ascontiguousarray(rows.transpose(0, 3, 1, 4, 2))
    for enlarge in maps:
        yield (rows @ enlarge.T).reshape(len(photos), len(maps), -1)


def _enlarge(side: int, offset: float) -> Likeness:
    """Return the matrix that enlarges a part of ``side`` values by linear interpolation."""
    places = np.clip((np.arange(side) + 0.5) * _CROP + offset * (1 - _CROP) * side - 0.5, 0, side - 1)
    low = np.minimum(places.astype(int), side - 2)
    matrix = np.zeros((side, side), np.float32)
    matrix[np.arange(side), low] = 1 - (places - low)
    matrix[np.arange(side), low + 1] = places - low
    return matrix


def _colour_by_colour(miniatures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return miniatures with all values of red first, then green, then blue."""
    return miniatures.reshape(len(miniatures), -1, 3).transpose(0, 2, 1).reshape(len(miniatures), -1)


def _root_or_infinity(squares: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return square roots, or infinity for miniatures of one colour, so that their correlation is 0."""
    return np.where(squares > 1e-3, np.sqrt(np.maximum(squares, 0)), np.inf)


@dataclass(frozen=True)
class Groups:
    """Photos that are connected by pairs of copies.

    Attributes
    ----------
    ids
        The numbers of the photos, sorted.
    groups
        The group of each of them, from 0.
    """

    ids: NDArray[np.uint64]
    groups: NDArray[np.intp]

    @classmethod
    def of(cls, pairs: NDArray[np.uint64]) -> "Groups":
        """Connect pairs of photos, shape (n, 2). Each photo takes the lowest number within its reach."""
        ids, ends = np.unique(pairs, return_inverse=True)
        one, other = ends.reshape(-1, 2).T
        lowest = np.arange(len(ids))
        while True:
            lower = lowest.copy()
            np.minimum.at(lower, one, lowest[other])
            np.minimum.at(lower, other, lowest[one])
            lower = lower[lower]
            if (lower == lowest).all():
                return cls(ids, np.unique(lowest, return_inverse=True)[1])
            lowest = lower

    @property
    def forest(self) -> NDArray[np.uint64]:
        """As few pairs as connect the same photos: each photo with the first one of its group."""
        firsts = np.unique(self.groups, return_index=True)[1]
        return np.stack([self.ids, self.ids[firsts][self.groups]], axis=1)

    def number(self, photo: np.uint64) -> int:
        """Return the group of a photo, which must be in one."""
        return int(self.groups[np.searchsorted(self.ids, photo)])
