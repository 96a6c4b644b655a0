import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps

from spark_job.findings.copies import Groups, likeness
from spark_job.findings.kinds import ALIKE
from spark_job.network.images import picture
from spark_job.network.quality import measure

Change = Callable[[Image.Image], Image.Image]


def miniature(photo: Image.Image) -> NDArray[np.uint8]:
    file = io.BytesIO()
    photo.save(file, "JPEG", quality=75)
    data = file.getvalue()
    return np.frombuffer(measure(data, picture(data, 224)).miniature, np.uint8)


@pytest.fixture(scope="module")
def photos(real_photos: Path) -> list[Image.Image]:
    """One photo of each of 33 varieties."""
    return [Image.open(sorted(folder.glob("*.jpg"))[7]) for folder in sorted((real_photos / "Training").iterdir())]


@pytest.mark.parametrize(
    ("change", "share"),
    [
        (lambda photo: photo, 1),
        (lambda photo: photo.resize((60, 60)), 1),
        (lambda photo: ImageEnhance.Brightness(photo).enhance(1.1), 0.9),
        (ImageOps.mirror, 1),
        (lambda photo: photo.crop((4, 2, 96, 94)), 0.6),
    ],
)
def test_copies_are_recognised(photos: list[Image.Image], change: Change, share: float) -> None:
    one = np.stack([miniature(photo) for photo in photos])
    other = np.stack([miniature(change(photo)) for photo in photos])
    alike = likeness(one, other, np.arange(len(one))[:, np.newaxis])
    assert (alike >= ALIKE).mean() >= share


def test_photos_of_different_fruit_are_not_copies(photos: list[Image.Image]) -> None:
    each = np.stack([miniature(photo) for photo in photos])
    alike = likeness(each, each, np.tile(np.arange(len(each)), (len(each), 1)))
    np.fill_diagonal(alike, 0)
    assert alike.max() < ALIKE


def test_photos_of_one_colour_are_like_nothing() -> None:
    plain = np.full((3, 588), 200, np.uint8)
    assert likeness(plain, plain, np.zeros((3, 2), np.intp)).tolist() == [[0, 0]] * 3


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=40))
def test_groups_are_connected_whatever_the_order_and_even_in_parts(pairs: list[tuple[int, int]]) -> None:
    edges = np.array(pairs, np.uint64).reshape(-1, 2)
    reach = np.eye(31, dtype=bool)
    reach[tuple(edges.T.astype(int))] = True
    for _ in range(5):  # paths of at most 2, 4, ... 32 pairs
        reach = (reach | reach.T).astype(int) @ (reach | reach.T) > 0
    parts = np.concatenate([Groups.of(part).forest for part in (edges[::2], edges[1::2])])
    for found in (Groups.of(edges), Groups.of(parts)):
        assert found.ids.tolist() == sorted(set(edges.ravel().tolist()))
        expected = reach[np.ix_(found.ids, found.ids)]
        assert (expected == (found.groups[:, np.newaxis] == found.groups)).all()
        assert [found.number(photo) for photo in found.ids] == found.groups.tolist()
