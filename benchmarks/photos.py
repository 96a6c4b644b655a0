"""Photos for the benchmarks: small ones like those of Fruits-360, and large ones like those of phones."""

import io
import os
import shutil
import tempfile
from itertools import cycle, islice
from pathlib import Path

import numpy as np
from PIL import Image

from spark_job.demo import draw

_REAL = Path(os.environ.get("FRUITS_TEST_DATA", Path(__file__).parents[2] / "shared" / "data")) / "fruits-360-sample"


def small(folder: Path, count: int) -> Path:
    """Fill a folder with JPEGs of 100x100 pixels: copies of real photos if they are present, else of drawn photos."""
    originals = [(file.parent.name, file.read_bytes()) for file in sorted(_REAL.rglob("*.jpg"))] or _drawn()
    for number, (label, data) in enumerate(islice(cycle(originals), count)):
        (folder / label).mkdir(parents=True, exist_ok=True)
        (folder / label / f"{number:06d}.jpg").write_bytes(data)
    return folder


def linked(folder: Path, originals: Path, count: int, labels: int | None = None) -> Path:
    """Fill a folder with hard links to the photos of another folder, in turn, so that many photos take no space.

    With ``labels``, the links are spread over this number of folders instead of the folders of the originals.
    """
    files = sorted(originals.rglob("*.jpg"))
    for number, file in enumerate(islice(cycle(files), count)):
        label = folder / (f"label-{number % labels:03d}" if labels else file.parent.name)
        if number < (labels or len(files)):
            label.mkdir(parents=True, exist_ok=True)
        (label / f"{number:07d}.jpg").hardlink_to(file)
    return folder


def zipped(folder: Path, originals: Path) -> Path:
    """Make a folder with one zip file of all photos of another folder, and return it."""
    shutil.make_archive(str(folder / "photos"), "zip", originals)
    return folder


def phone(folder: Path, count: int) -> Path:
    """Fill a folder with JPEGs of 12 megapixels (4000x3000). Each shows small photos side by side."""
    tiles = [Image.open(io.BytesIO(data)).resize((500, 500)) for _, data in _drawn()]
    rng = np.random.default_rng(1)
    (folder / "Phone").mkdir(parents=True, exist_ok=True)
    for number in range(count):
        photo = Image.new("RGB", (4000, 3000))
        for place, tile in enumerate(rng.integers(len(tiles), size=48)):
            photo.paste(tiles[tile], (place % 8 * 500, place // 8 * 500))
        photo.save(folder / "Phone" / f"{number}.jpg", quality=90)
    return folder


def _drawn() -> list[tuple[str, bytes]]:
    with tempfile.TemporaryDirectory() as place:
        draw(Path(place), photos_per_label=3)
        return [(file.parent.name, _shrunk(file)) for file in sorted(Path(place).rglob("[0-9]*"))]


def _shrunk(file: Path) -> bytes:
    out = io.BytesIO()
    with Image.open(file) as image:
        image.convert("RGB").resize((100, 100)).save(out, "JPEG", quality=90)
    return out.getvalue()
