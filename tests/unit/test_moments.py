import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from spark_job import moments
from spark_job.errors import UserError
from spark_job.moments import Moments

Rows = NDArray[np.float64]


def _rows(count: int = 60, width: int = 12, seed: int = 0) -> Rows:
    rng = np.random.default_rng(seed)
    rows: Rows = rng.normal(size=(count, width)) @ rng.normal(size=(width, width)) + rng.normal(size=width)
    return rows


def _merged(rows: Rows, cuts: list[int]) -> Moments:
    first, *others = [Moments.of(block) for block in np.split(rows, sorted(cuts)) if len(block)]
    for other in others:
        first = first.merge(other)
    return first


@given(st.lists(st.integers(0, 60), max_size=8), st.integers(0, 5))
def test_moments_do_not_depend_on_how_rows_are_split(cuts: list[int], seed: int) -> None:
    rows = _rows(seed=seed)
    merged = _merged(rows, cuts)
    assert merged.count == 60
    np.testing.assert_allclose(merged.mean, rows.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(merged.scatter, np.cov(rows.T) * 59, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param(_rows(), id="random"),
        pytest.param(_rows(200, 3) @ np.random.default_rng(3).normal(size=(3, 12)), id="rank 3 of 12"),
        pytest.param(_rows(8, 12), id="fewer rows than features"),
        pytest.param(np.hstack([_rows(), np.full((60, 2), 7.0)]), id="constant columns"),
        pytest.param(_rows() + 1e6, id="mean far from zero"),
    ],
)
@pytest.mark.parametrize("standardize", [False, True])
def test_components_match_scikit_learn(rows: Rows, standardize: bool) -> None:
    k = 3
    ours = moments.fit(_merged(rows, [5, 6]), k, standardize)
    scaled = StandardScaler().fit_transform(rows) if standardize else rows
    theirs = PCA(k, svd_solver="full").fit(scaled)
    np.testing.assert_allclose(ours.explained_variance_ratio[:k], theirs.explained_variance_ratio_, atol=1e-9)
    signs = np.sign((ours.components.T * theirs.components_).sum(axis=1))
    np.testing.assert_allclose(ours.components.T * signs[:, None], theirs.components_, atol=1e-6)
    expected = theirs.transform(scaled) * signs
    if standardize:  # scikit-learn uses the deviation of the population; Spark and the job use that of the sample
        expected *= np.sqrt((len(rows) - 1) / len(rows))
    np.testing.assert_allclose(ours.project(rows), expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@given(st.floats(0.01, 0.999))
@settings(max_examples=40)
def test_a_share_keeps_the_fewest_components_that_reach_it(share: float) -> None:
    rows = _rows(seed=4)
    ours = moments.fit(Moments.of(rows), share)
    assert ours.k == PCA(share, svd_solver="full").fit(rows).n_components_
    assert ours.variance_kept >= share
    assert ours.explained_variance_ratio[: ours.k - 1].sum() < share


def test_signs_make_the_largest_loading_positive() -> None:
    components = moments.fit(Moments.of(_rows()), 12).components
    assert (components[np.abs(components).argmax(axis=0), range(12)] > 0).all()


def test_equal_rows_have_one_component_without_variance() -> None:
    ours = moments.fit(Moments.of(np.ones((5, 4))), 0.95)
    assert (ours.k, ours.variance_kept) == (1, 0.0)
    assert np.isfinite(ours.project(np.ones((2, 4)))).all()


def test_too_many_components_or_too_few_rows_are_refused() -> None:
    with pytest.raises(UserError, match="13 components are more than 60 photos of 12 features"):
        moments.fit(Moments.of(_rows()), 13)
    with pytest.raises(UserError, match="6 components are more than 5 photos"):
        moments.fit(Moments.of(_rows(5)), 6)
    with pytest.raises(UserError, match="at least 2 photos"):
        moments.fit(Moments.of(_rows(1)), 0.9)
