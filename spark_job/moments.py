"""Exact PCA from partial sums: moments that can be merged, and the eigenvectors of their covariance.

Pure numpy, in float64.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from spark_job.errors import UserError

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Moments:
    """Count, mean and scatter matrix of a set of rows.

    Attributes
    ----------
    count
        The number of rows.
    mean
        Shape (d,).
    scatter
        Shape (d, d): the sum of the outer products of the centred rows.
    """

    count: int
    mean: Array
    scatter: Array

    @classmethod
    def of(cls, rows: NDArray[Any]) -> Self:
        """Return the moments of rows of shape (n, d), n >= 1."""
        rows = rows.astype(np.float64)
        mean = rows.mean(axis=0)
        rows -= mean
        return cls(len(rows), mean, rows.T @ rows)

    def merge(self, other: "Moments") -> "Moments":
        """Return the moments of both sets of rows together.

        Pairwise update of Chan, Golub and LeVeque (1983), "Algorithms for computing the sample variance". Each
        scatter matrix is centred on its own mean, so a mean far from zero costs no precision.
        """
        count = self.count + other.count
        shift = other.mean - self.mean
        mean = self.mean + shift * (other.count / count)
        scatter = np.outer(shift, shift)
        scatter *= self.count * other.count / count
        scatter += self.scatter
        scatter += other.scatter
        return Moments(count, mean, scatter)


@dataclass(frozen=True)
class FittedPca:
    """A fitted PCA, which keeps k components of d features.

    Attributes
    ----------
    mean, scale
        Shape (d,): subtracted from a row, and then divided by.
    components
        Shape (d, k), one component of length 1 per column. (scikit-learn's ``components_`` is the transpose.)
    explained_variance_ratio
        Shape (d,): the share of the variance that each component explains, kept or not, in descending order.
    """

    mean: Array
    scale: Array
    components: Array
    explained_variance_ratio: Array

    @property
    def k(self) -> int:
        """The number of components that are kept."""
        return self.components.shape[1]

    @cached_property
    def variance_kept(self) -> float:
        """The share of the variance that the kept components explain."""
        return float(self.explained_variance_ratio[: self.k].sum())

    def project(self, rows: NDArray[Any]) -> NDArray[np.float32]:
        """Return the values of rows of shape (n, d) on the components, shape (n, k)."""
        return (((rows - self.mean) / self.scale) @ self.components).astype(np.float32)


def fit(moments: Moments, n_components: int | float, standardize: bool = False) -> FittedPca:
    """Fit PCA to the rows that the moments summarise. Time is O(d^3), whatever the number of rows.

    Parameters
    ----------
    moments
        Of n >= 2 rows of d features.
    n_components
        The number of components to keep, at most min(n, d). A value below 1 is the share of the variance to keep.
    standardize
        Whether to divide each feature by its standard deviation (n - 1 degrees of freedom) first. Constant features
        then have no weight.

    Raises
    ------
    UserError
        If there are fewer than two rows, or more components than rows or features.

    Notes
    -----
    The sign of each component makes its largest loading positive, as scikit-learn's ``svd_flip`` does.
    """
    if moments.count < 2:
        raise UserError(f"PCA needs at least 2 photos with features, but there are {moments.count}.")
    check_count(n_components, moments.count, len(moments.mean))
    covariance = moments.scatter / (moments.count - 1)
    scale = np.ones(len(covariance))
    if standardize:
        deviation = np.sqrt(np.diag(covariance))
        varies = deviation > np.finfo(np.float64).eps * np.abs(moments.mean)
        scale[varies] = deviation[varies]
        covariance = np.where(np.outer(varies, varies), covariance / np.outer(scale, scale), 0.0)
    variance, components = np.linalg.eigh(covariance)
    variance, components = np.clip(variance[::-1], 0, None), components[:, ::-1]
    total = variance.sum()
    ratio = variance / total if total > 0 else np.zeros_like(variance)
    k = _kept(ratio, n_components, limit=min(moments.count, len(ratio)))
    return FittedPca(moments.mean, scale, _fix_signs(components[:, :k]), ratio)


def check_count(n_components: int | float, photos: int, features: int) -> None:
    """Raise UserError if there are to be more than min(photos, features) components."""
    if n_components > min(photos, features):
        raise UserError(
            f"{n_components} components are more than {photos:,} photos of {features:,} features can have. "
            f"Give at most {min(photos, features):,}, or a share of the variance such as 0.95."
        )


def _kept(ratio: Array, n_components: int | float, limit: int) -> int:
    """Return the number of components to keep."""
    if n_components >= 1:
        return int(n_components)
    enough = np.cumsum(ratio) >= n_components - 1e-12
    return min(int(np.argmax(enough)) + 1, limit) if enough.any() else 1


def _fix_signs(components: Array) -> Array:
    largest = components[np.abs(components).argmax(axis=0), np.arange(components.shape[1])]
    return np.ascontiguousarray(components * np.where(largest < 0, -1.0, 1.0))
