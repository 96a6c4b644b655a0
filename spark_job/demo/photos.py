"""The demo's files: labelled folders of photos as the public sends them, a few of them broken."""

import io
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from spark_job.demo.backgrounds import BACKGROUNDS
from spark_job.demo.fruits import FRUITS
from spark_job.demo.scene import Scene

SMALL = ((320, 320), (320, 320), (360, 270), (270, 360))
LARGE, LARGE_UPRIGHT = (1600, 1200), (1200, 1600)
SUFFIXES = {7: ".png", 17: ".JPG", 27: ".webp", 37: ".PNG"}
"""What a few of 40 photos are saved as; the others are ``.jpg``."""


def draw(folder: Path, images_per_label: int = 20, seed: int = 7) -> int:
    """Draw the photos that the folder lacks; leave those it has alone.

    ``<folder>/<label>/<nn>.jpg``, mostly about 320 pixels square. As in real uploads, one in ten is larger than a
    megapixel, a few are PNG or WebP or have an upper-case extension, a few lie on their side with an EXIF orientation,
    and two cannot be read: ``Banana/cut-short.jpg``, half a JPEG, and ``Lemon/shopping-list.jpg``, a text.

    Parameters
    ----------
    folder
        Where the labels' folders go; made if it is not there.
    images_per_label
        Photos of each kind of fruit, beside the two broken files.
    seed
        Equal seeds give equal bytes (with the same Pillow and NumPy). A photo depends on the seed, its label and its
        number only, so a smaller set is a part of a larger one.

    Returns
    -------
    int
        How many files were written: 0 if all were there.
    """
    written = 0
    for name, content in _files(images_per_label, seed):
        path = folder / name
        if path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".part")  # an interrupted demo must not leave half a photo for good
        part.write_bytes(content())
        part.replace(path)
        written += 1
    return written


def _files(images_per_label: int, seed: int) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Yield each file's path and what makes its bytes."""
    for place, label in enumerate(FRUITS):
        for number in range(images_per_label):
            turn = 73 * place + number  # spreads what is unusual evenly over the labels
            suffix = SUFFIXES.get(turn % 40, ".jpg")
            yield f"{label}/{number:02d}{suffix}", partial(_photo, label, turn, [seed, place, number], suffix)
    yield "Banana/cut-short.jpg", partial(_half_a_photo, seed)
    yield "Lemon/shopping-list.jpg", lambda: b"6 lemons\n1 pineapple\nno more bananas\n"


def _half_a_photo(seed: int) -> bytes:
    photo = _photo("Banana", 0, [seed], ".jpg")
    return photo[: len(photo) // 2]


def _photo(label: str, turn: int, seed: list[int], suffix: str) -> bytes:
    """Return the bytes of one photo; every tenth ``turn`` is large, every eightieth held on its side."""
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
