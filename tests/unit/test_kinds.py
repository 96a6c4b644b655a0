from typing import Any

import pytest

from spark_job.findings import Kind
from spark_job.findings.kinds import Copy, copies, mixed_labels, most_certain, of_group, outlier, wrong_label

SIZES = {"Apple": 50, "Pear": 50, "Fig": 3}


def photo(label: str | None, others: list[str | None], distance: float = 1.0) -> dict[str, Any]:
    """A photo and its neighbours, which have these labels."""
    neighbours = [
        {"path": f"{number}.jpg", "label": other, "distance": distance, "likeness": 0.5, "same": None}
        for number, other in enumerate(others)
    ]
    return {"path": "a.jpg", "label": label, "neighbours": neighbours}


def test_ten_neighbours_with_another_label_are_certain() -> None:
    found = wrong_label(photo("Pear", ["Apple"] * 10), SIZES)
    assert found is not None
    assert (found.kind, found.score, found.suggested_label) == (Kind.WRONG_LABEL, 1.0, "Apple")
    assert found.compare == ("0.jpg", "1.jpg", "2.jpg")


@pytest.mark.parametrize(
    ("label", "others"),
    [
        ("Pear", ["Pear"] * 5 + ["Apple"] * 5),
        ("Fig", ["Fig", "Fig"] + ["Apple"] * 8),  # a label of three photos cannot have more
        ("Fig", ["Apple"] * 10),  # two votes are too few
        (None, ["Apple"] * 10),
        ("Pear", [None] * 10),
        ("Pear", []),
    ],
)
def test_no_label_is_called_wrong_without_a_clear_vote(label: str | None, others: list[str | None]) -> None:
    assert wrong_label(photo(label, others), SIZES) is None


@pytest.mark.parametrize(
    ("label", "others", "distance", "typical", "sizes", "found"),
    [
        ("Pear", ["Apple"] * 10, 2.0, 1.0, SIZES, True),
        ("Pear", ["Pear"] * 10, 2.0, 1.0, SIZES, False),
        ("Pear", ["Apple"] * 10, 1.1, 1.0, SIZES, False),
        ("Pear", ["Pear"] * 10, 2.0, 1.0, {"Pear": 99}, True),
        (None, [None] * 10, 2.0, 1.0, {}, True),
        ("Pear", [], 1.0, 1.0, SIZES, False),
        ("Pear", ["Apple"] * 10, 0.0, 0.0, SIZES, False),  # all photos are equal
    ],
)
def test_outliers_are_far_from_photos_of_their_label(  # noqa: PLR0917 - what decides, and the decision
    label: str | None, others: list[str | None], distance: float, typical: float, sizes: dict[str, int], found: bool
) -> None:
    assert (outlier(photo(label, others, distance), typical, sizes) is not None) == found


def test_copies_come_from_equal_digests_or_alike_pixels() -> None:
    row = photo("Pear", ["Pear"] * 4)
    row["neighbours"][1] |= {"same": "bytes"}
    row["neighbours"][2] |= {"likeness": 0.99}
    assert [(copy.other_path, copy.same, copy.likeness) for copy in copies(row)] == [
        ("1.jpg", "bytes", 1.0),
        ("2.jpg", None, 0.99),
    ]


def test_copies_become_groups_and_leaks() -> None:
    pairs = [
        Copy("Training/Pear/a.jpg", "Pear", "Test/Pear/b.jpg", "Pear", 1.0, "bytes"),
        Copy("Test/Pear/b.jpg", "Pear", "Test/Apple/c.jpg", "Apple", 0.99, None),
        Copy("Training/Fig/x.jpg", "Fig", "Training/Fig/y.jpg", "Fig", 0.985, None),
    ]
    found = of_group(0, pairs[:2]) + of_group(1, pairs[2:])
    by_kind = {kind: [(one.path, one.group) for one in found if one.kind == kind] for kind in Kind}
    assert by_kind[Kind.DUPLICATE] == [("Test/Pear/b.jpg", 0), ("Training/Pear/a.jpg", 0)]
    assert by_kind[Kind.NEAR_DUPLICATE] == [
        ("Test/Apple/c.jpg", 0),
        ("Training/Fig/x.jpg", 1),
        ("Training/Fig/y.jpg", 1),
    ]
    assert [path for path, _ in by_kind[Kind.LEAK]] == ["Test/Apple/c.jpg", "Test/Pear/b.jpg", "Training/Pear/a.jpg"]
    assert "the other's label is Pear" in next(one.detail for one in found if one.path == "Test/Apple/c.jpg")


def test_copies_in_two_shards_are_no_leak() -> None:
    first, second = "photos-00000.zip/Training/Pear/a.jpg", "photos-00001.zip/Training/Pear/b.jpg"
    assert {one.kind for one in of_group(0, [Copy(first, "Pear", second, "Pear", 1.0, "bytes")])} == {Kind.DUPLICATE}
    leak = second.replace("Training", "Test")
    assert Kind.LEAK in {one.kind for one in of_group(0, [Copy(first, "Pear", leak, "Pear", 1.0, "bytes")])}


def test_labels_that_are_nearest_to_each_other_are_mixed() -> None:
    votes = {("Apple", "Apple"): 60, ("Apple", "Pear"): 20, ("Pear", "Apple"): 10, ("Pear", "Pear"): 10}
    assert mixed_labels(votes | {("Fig", "Fig"): 9}) == {"Apple / Pear": 0.3}


def test_one_case_per_group_is_shown() -> None:
    pairs = [Copy(f"{number}", None, "0", None, 1.0, "bytes") for number in range(1, 500)]
    found = of_group(7, pairs)
    assert len(found) == 500
    (case,) = most_certain(found, 12)
    assert (case.path, case.compare) == ("0", ("1", "10", "100"))
