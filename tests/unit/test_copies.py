import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps

from spark_job.findings.copies import groups, likeness
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


def test_500_copies_are_one_group() -> None:
    pairs = [(f"{number:03d}", f"{max(0, number - 10):03d}") for number in range(1, 500)]
    assert groups(pairs) == [[f"{number:03d}" for number in range(500)]]


def test_groups_do_not_depend_on_the_order_of_pairs() -> None:
    pairs = [("d", "e"), ("b", "a"), ("c", "b"), ("f", "e")]
    assert groups(pairs) == groups(reversed(pairs)) == [["a", "b", "c"], ["d", "e", "f"]]
