import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

from spark_job.neighbours import Cells, Nearest, one_nn_accuracy
from spark_job.similar import nearest


def test_one_nn_accuracy_is_leave_one_out_accuracy() -> None:
    rng = np.random.default_rng(0)
    vectors, labels = rng.normal(size=(80, 5)), [str(n) for n in rng.integers(0, 4, 80)]
    right = 0
    for row in range(80):
        rest = [other for other in range(80) if other != row]
        model = KNeighborsClassifier(1).fit(vectors[rest], np.array(labels)[rest])
        right += model.predict(vectors[[row]])[0] == labels[row]
    assert one_nn_accuracy(vectors, labels) == pytest.approx(right / 80)


def test_one_nn_accuracy_is_exact_for_clusters_far_from_zero() -> None:
    vectors = np.repeat(np.eye(3) * 10, 4, axis=0) + np.random.default_rng(1).normal(size=(12, 3)) + 1e4
    assert one_nn_accuracy(vectors.astype(np.float32), [label for label in "abc" for _ in range(4)]) == 1.0


@pytest.mark.parametrize("labels", [[], ["a"], ["a", "a", "a"], [None, None]])
def test_one_nn_accuracy_is_none_without_two_labels(labels: list[str | None]) -> None:
    assert one_nn_accuracy(np.zeros((len(labels), 3)), labels) is None


def test_images_without_a_label_count_as_one_label() -> None:
    assert one_nn_accuracy(np.array([[0.0], [0.1], [9.0], [9.1]]), [None, None, "a", "a"]) == 1.0


def test_nearest_matches_scikit_learn() -> None:
    rng = np.random.default_rng(2)
    vectors, query = rng.normal(size=(300, 7)), rng.normal(size=7)
    distances, rows = NearestNeighbors(n_neighbors=9).fit(vectors).kneighbors([query])
    found = nearest(query, vectors, 9)
    np.testing.assert_array_equal(found[0], rows[0])
    np.testing.assert_allclose(found[1], distances[0])


def test_nearest_handles_few_rows_and_equal_distances() -> None:
    rows, distances = nearest(np.zeros(2), np.array([[3.0, 4.0], [0.0, 0.0], [4.0, 3.0]]), 9)
    assert rows.tolist() == [1, 0, 2]
    assert distances.tolist() == [0.0, 5.0, 5.0]


@given(count=st.integers(0, 60), block=st.integers(1, 25), k=st.integers(1, 6), seed=st.integers(0, 9))
def test_a_search_block_by_block_is_a_search_of_everything(count: int, block: int, k: int, seed: int) -> None:
    vectors = np.random.default_rng(seed).normal(size=(count, 4)).astype(np.float32)
    own = np.arange(count)
    search = Nearest(vectors, k + 1)
    for start in range(0, count, block):
        search.add(vectors[start : start + block], start, own)
    rows, distances = search.without(own)
    exact = np.linalg.norm(vectors[:, None] - vectors[None], axis=2)
    np.fill_diagonal(exact, np.inf)
    expected = np.sort(exact, axis=1)[:, : min(k, max(0, count - 1))]
    np.testing.assert_allclose(distances[:, : expected.shape[1]], expected, atol=1e-3)
    assert (rows != own[:, None]).all()
    assert ((rows >= 0).sum(axis=1) == expected.shape[1]).all()


def test_equal_vectors_are_neighbours_of_each_other_but_never_of_themselves() -> None:
    own = np.arange(40)
    search = Nearest(np.ones((40, 3), np.float32), 11)
    search.add(np.ones((40, 3), np.float32), 0, own)
    rows, distances = search.without(own)
    assert (rows != own[:, None]).all()
    assert (rows >= 0).all()
    assert distances.max() < 1e-3


def test_cells_find_almost_all_neighbours() -> None:
    rng = np.random.default_rng(3)
    vectors = (rng.normal(size=(50, 1, 16)) * 3 + rng.normal(size=(50, 80, 16))).reshape(-1, 16).astype(np.float32)
    cells = Cells.train(vectors, 40, probes=8)
    vectors = vectors[np.argsort(cells.own(vectors), kind="stable")]
    starts = np.searchsorted(cells.own(vectors), np.arange(41))
    own = np.arange(len(vectors))
    exact, probed = Nearest(vectors, 10), Nearest(vectors, 10)
    exact.add(vectors, 0, own)
    for cell, queries in cells.wanted(vectors):
        probed.add(vectors[starts[cell] : starts[cell + 1]], int(starts[cell]), queries)
    pairs = zip(exact.without(own)[0], probed.without(own)[0], strict=True)
    assert np.mean([len(set(nearest) & set(found)) for nearest, found in pairs]) / 9 >= 0.95
