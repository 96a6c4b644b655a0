"""The demo's files: one folder of photos per label, like uploads from the public, with a few mistakes to find."""

import io
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageFilter

from spark_job.demo.backgrounds import BACKGROUNDS
from spark_job.demo.fruits import FRUITS
from spark_job.demo.scene import Scene
from spark_job.storage import open_store

SMALL = ((320, 320), (320, 320), (360, 270), (270, 360))
LARGE, LARGE_UPRIGHT = (1600, 1200), (1200, 1600)
SUFFIXES = {7: ".png", 17: ".JPG", 27: ".webp", 37: ".PNG"}
"""The suffixes of a few of every 40 photos; the others are ``.jpg``."""
BROKEN = ("Banana/cut-short.jpg", "Lemon/shopping-list.jpg")
"""Half a JPEG, and a text."""


def draw(folder: Path, photos_per_label: int = 20, seed: int = 7) -> int:
    """Draw the photos that are missing from a folder, and leave the existing ones unchanged.

    The files are called ``<folder>/<label>/<nn>.jpg``. Most have about 320x320 pixels. As in real uploads, one in ten
    is larger than a megapixel, a few are PNG or WebP or have an upper-case extension, and a few are stored sideways
    with an EXIF orientation. Two files cannot be read: ``Banana/cut-short.jpg`` is half a JPEG, and
    ``Lemon/shopping-list.jpg`` is a text. Five show what a run finds: a copy, a copy in another size, a banana in the
    folder of lemons, a dark photo and a blurred one.

    Parameters
    ----------
    folder
        The folder for the folders of the labels; it is created if it does not exist.
    photos_per_label
        The number of photos per kind of fruit, without the mistakes.
    seed
        Equal seeds give equal bytes (with the same Pillow and NumPy). A photo depends only on the seed, its label and
        its number, so a smaller set is a subset of a larger one.

    Returns
    -------
    int
        The number of files that were written: 0 if all existed.
    """
    store = open_store(str(folder))  # writes whole files, so an interrupted demo leaves no half photo
    missing = [(name, content) for name, content in _files(photos_per_label, seed) if not (folder / name).exists()]
    for name, content in missing:
        store.write(name, content())
    return len(missing)


def _files(photos_per_label: int, seed: int) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Yield each file's path and the function that returns its bytes."""
    for place, label in enumerate(FRUITS):
        for number in range(photos_per_label):
            turn = 73 * place + number  # spreads the unusual photos evenly over the labels
            suffix = SUFFIXES.get(turn % 40, ".jpg")
            yield f"{label}/{number:02d}{suffix}", partial(_photo, label, turn, [seed, place, number], suffix)
    yield from _mistakes(seed)
    half, text = BROKEN
    yield half, partial(_half_a_photo, seed)
    yield text, lambda: b"6 lemons\n1 pineapple\nno more bananas\n"


def _mistakes(seed: int) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Yield photos for the findings of a run: their paths, and the functions that return their bytes."""
    blurred = ImageFilter.GaussianBlur(12)
    yield "Grape/copy.jpg", partial(_first_photo, "Grape", seed)
    yield "Pear/smaller.jpg", partial(_changed, "Pear", seed, lambda photo: photo.reduce(2))
    yield "Lemon/banana.jpg", partial(_photo, "Banana", 0, [seed, 1], ".jpg")
    yield "Orange/dark.jpg", partial(_changed, "Orange", seed, lambda photo: photo.point(lambda level: level // 10))
    yield "Lemon/blurred.jpg", partial(_changed, "Lemon", seed, lambda photo: photo.filter(blurred))


def _first_photo(label: str, seed: int) -> bytes:
    place = list(FRUITS).index(label)
    return _photo(label, 73 * place, [seed, place, 0], ".jpg")


def _changed(label: str, seed: int, change: Callable[[Image.Image], Image.Image]) -> bytes:
    photo = io.BytesIO()
    change(Image.open(io.BytesIO(_first_photo(label, seed)))).save(photo, "JPEG", quality=88)
    return photo.getvalue()


def _half_a_photo(seed: int) -> bytes:
    photo = _photo("Banana", 0, [seed], ".jpg")
    return photo[: len(photo) // 2]


def _photo(label: str, turn: int, seed: list[int], suffix: str) -> bytes:
    """Return the bytes of one photo; every tenth ``turn`` is large, and every eightieth is stored sideways."""
    rng = np.random.default_rng(seed)
    large, sideways = turn % 10 == 5, turn % 80 == 25
    if large:
        size = LARGE_UPRIGHT if sideways else LARGE
        canvas = size[0] // 2, size[1] // 2
    else:
        size = SMALL[rng.integers(len(SMALL))]
        canvas = size[0] * 7 // 5, size[1] * 7 // 5
    picture = _picture(label, rng, canvas).resize(size, Image.Resampling.LANCZOS)
    exif = Image.Exif()
    if sideways:
        picture = picture.transpose(Image.Transpose.ROTATE_90)
        exif[ExifTags.Base.Orientation] = 6
    photo = io.BytesIO()
    picture.save(photo, Image.registered_extensions()[suffix.lower()], quality=88, exif=exif)
    return photo.getvalue()


def _picture(label: str, rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    zoom, drawing = FRUITS[label]
    scene = Scene(size, rng, zoom)
    drawing(scene)
    background = BACKGROUNDS[rng.integers(len(BACKGROUNDS))]
    return scene.photograph(background(rng, size[::-1]))
