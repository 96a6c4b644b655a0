import hashlib
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import pytest
from PIL import ExifTags, Image, UnidentifiedImageError

from spark_job.demo import draw

BROKEN = {"Banana/cut-short.jpg", "Lemon/shopping-list.jpg"}
MISTAKES = {"Grape/copy.jpg", "Pear/smaller.jpg", "Lemon/banana.jpg", "Orange/dark.jpg", "Lemon/blurred.jpg"}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "photos"
    assert draw(folder, photos_per_label=2) == len(names(folder))
    return folder


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def digests(folder: Path) -> dict[str, str]:
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names(folder)}


def readable(folder: Path) -> Iterator[tuple[str, Image.Image]]:
    for name in sorted(names(folder) - BROKEN - MISTAKES):
        with Image.open(folder / name) as image:
            image.load()
            yield name, image


def test_every_label_has_its_photos_and_all_differ(photos: Path) -> None:
    whole = sorted(names(photos) - BROKEN - MISTAKES)
    counts = {label: len(list(group)) for label, group in groupby(whole, key=lambda name: name.split("/")[0])}
    assert len(counts) >= 12
    assert set(counts.values()) == {2}
    found = digests(photos)
    assert len(set(found.values())) == len(found) - 1
    assert found["Grape/copy.jpg"] == found["Grape/00.jpg"]


def test_equal_seeds_give_equal_bytes_and_other_seeds_do_not(photos: Path, tmp_path: Path) -> None:
    draw(tmp_path / "again", photos_per_label=1)
    draw(tmp_path / "other", photos_per_label=1, seed=8)
    again, other, first = digests(tmp_path / "again"), digests(tmp_path / "other"), digests(photos)
    assert again.items() <= first.items()
    drawn = other.keys() - {"Lemon/shopping-list.jpg"}
    assert all(other[name] != first[name] for name in drawn)


def test_only_missing_photos_are_drawn_again(tmp_path: Path) -> None:
    draw(tmp_path, photos_per_label=1)
    before = digests(tmp_path)
    (tmp_path / "Kiwi/00.jpg").unlink()
    (tmp_path / "Kiwi/mine.jpg").write_bytes(b"mine")
    assert draw(tmp_path, photos_per_label=1) == 1
    (tmp_path / "Kiwi/mine.jpg").unlink()
    assert digests(tmp_path) == before


def test_sizes_formats_and_orientations_resemble_those_of_uploads(photos: Path) -> None:
    pixels, formats, orientations = [], set(), set()
    for _, image in readable(photos):
        pixels.append(image.width * image.height)
        formats.add(image.format)
        orientations.add(image.getexif().get(ExifTags.Base.Orientation, 1))
    large = [count for count in pixels if count > 1_000_000]
    assert 0 < len(large) < len(pixels) / 4
    assert sorted(pixels)[len(pixels) // 2] <= 320 * 320
    assert formats == {"JPEG", "PNG", "WEBP"}
    assert orientations == {1, 6}
    assert any(Path(name).suffix.isupper() for name in names(photos))


def test_one_file_is_cut_short_and_one_is_not_a_photo(photos: Path) -> None:
    with Image.open(photos / "Banana/cut-short.jpg") as image, pytest.raises(OSError, match="truncated"):
        image.load()
    with pytest.raises(UnidentifiedImageError):
        Image.open(photos / "Lemon/shopping-list.jpg")
