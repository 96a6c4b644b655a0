"""Exact PCA from partial sums: moments that merge, and the eigenvectors of their covariance. Pure numpy, float64."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from spark_job.errors import UserError

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Moments:
    """Count, mean and scatter of some rows.

    ``mean`` has shape (d,); ``scatter``, shape (d, d), is the sum of the outer products of the centred rows.
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
        """Return the moments of both sets of rows.

        Pairwise update of Chan, Golub and LeVeque (1983), "Algorithms for computing the sample variance": it adds
        scatters around their own means, so that a mean far from zero costs no digits.
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
class Components:
    """Fitted principal components.

    ``mean`` and ``scale``, shape (d,), centre and divide a row; ``axes``, shape (d, k), has one unit component a
    column; ``ratio``, shape (d,), is the share of the variance of every component, kept or not, descending.
    """

    mean: Array
    scale: Array
    axes: Array
    ratio: Array

    @property
    def k(self) -> int:
        """How many components are kept."""
        return self.axes.shape[1]

    @cached_property
    def variance_kept(self) -> float:
        """The share of the variance that the kept components explain."""
        return float(self.ratio[: self.k].sum())

    def project(self, rows: NDArray[Any]) -> NDArray[np.float32]:
        """Return rows of shape (n, d) on the components, shape (n, k)."""
        return (((rows - self.mean) / self.scale) @ self.axes).astype(np.float32)


def principal_components(moments: Moments, components: int | float, standardize: bool = False) -> Components:
    """Return the components of the rows that the moments summarise.

    Parameters
    ----------
    moments
        Of n >= 2 rows of d features.
    components
        How many to keep, at most min(n, d), or, below 1, the share of the variance to keep.
    standardize
        Whether to divide each feature by its (n - 1) standard deviation first. Constant features count nothing.

    Raises
    ------
    UserError
        If there are fewer than two rows, or more components than rows or features.

    Notes
    -----
    Signs are fixed as in scikit-learn's ``svd_flip``: the largest loading of each component is positive.
    """
    if moments.count < 2:
        raise UserError(f"PCA needs at least 2 images with features, and there are {moments.count}.")
    check_count(components, moments.count, len(moments.mean))
    covariance = moments.scatter / (moments.count - 1)
    scale = np.ones(len(covariance))
    if standardize:
        deviation = np.sqrt(np.diag(covariance))
        varies = deviation > np.finfo(np.float64).eps * np.abs(moments.mean)
        scale[varies] = deviation[varies]
        covariance = np.where(np.outer(varies, varies), covariance / np.outer(scale, scale), 0.0)
    variance, axes = np.linalg.eigh(covariance)
    variance, axes = np.clip(variance[::-1], 0, None), axes[:, ::-1]
    total = variance.sum()
    ratio = variance / total if total > 0 else np.zeros_like(variance)
    k = _kept(ratio, components, limit=min(moments.count, len(ratio)))
    return Components(moments.mean, scale, _fix_signs(axes[:, :k]), ratio)


def check_count(components: int | float, images: int, features: int) -> None:
    """Refuse more components than there can be: UserError if ``components`` is above min(images, features)."""
    if components > min(images, features):
        raise UserError(
            f"{components} components are more than {images:,} images of {features:,} features can have; "
            f"give at most {min(images, features):,}, or a share of the variance such as 0.95."
        )


def _kept(ratio: Array, components: int | float, limit: int) -> int:
    if components >= 1:
        return int(components)
    enough = np.cumsum(ratio) >= components - 1e-12
    return min(int(np.argmax(enough)) + 1, limit) if enough.any() else 1


def _fix_signs(axes: Array) -> Array:
    largest = axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])]
    return np.ascontiguousarray(axes * np.where(largest < 0, -1.0, 1.0))
