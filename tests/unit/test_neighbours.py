import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

from spark_job.neighbours import nearest, one_nn_accuracy


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
