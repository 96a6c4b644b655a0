import hashlib
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import pytest
from PIL import ExifTags, Image, ImageStat, UnidentifiedImageError

from spark_job.demo import draw

BROKEN = {"Banana/cut-short.jpg", "Lemon/shopping-list.jpg"}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "photos"
    assert draw(folder, images_per_label=2) == len(names(folder))
    return folder


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def digests(folder: Path) -> dict[str, str]:
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names(folder)}


def readable(folder: Path) -> Iterator[tuple[str, Image.Image]]:
    for name in sorted(names(folder) - BROKEN):
        with Image.open(folder / name) as image:
            image.load()
            yield name, image


def test_every_label_has_its_photos(photos: Path) -> None:
    whole = sorted(names(photos) - BROKEN)
    counts = {label: len(list(group)) for label, group in groupby(whole, key=lambda name: name.split("/")[0])}
    assert len(counts) >= 12
    assert set(counts.values()) == {2}
    assert {"Apple Red", "Banana", "Pineapple"} <= counts.keys()


def test_equal_seeds_give_equal_bytes_and_others_do_not(photos: Path, tmp_path: Path) -> None:
    draw(tmp_path / "again", images_per_label=1)
    draw(tmp_path / "other", images_per_label=1, seed=8)
    again, other, first = digests(tmp_path / "again"), digests(tmp_path / "other"), digests(photos)
    assert again.items() <= first.items()
    drawn = other.keys() - {"Lemon/shopping-list.jpg"}
    assert all(other[name] != first[name] for name in drawn)


def test_no_two_photos_are_alike(photos: Path) -> None:
    found = digests(photos)
    assert len(set(found.values())) == len(found)


def test_what_is_there_is_left_alone(photos: Path) -> None:
    def times() -> dict[str, int]:
        return {name: (photos / name).stat().st_mtime_ns for name in names(photos)}

    before = times()
    assert draw(photos, images_per_label=2) == 0
    assert times() == before


def test_what_is_missing_is_drawn_again_and_nothing_else_is_touched(tmp_path: Path) -> None:
    draw(tmp_path, images_per_label=1)
    before = digests(tmp_path)
    (tmp_path / "Kiwi/00.jpg").unlink()
    (tmp_path / "Kiwi/mine.jpg").write_bytes(b"mine")
    assert draw(tmp_path, images_per_label=1) == 1
    (tmp_path / "Kiwi/mine.jpg").unlink()
    assert digests(tmp_path) == before


def test_sizes_formats_and_orientations_are_those_of_uploads(photos: Path) -> None:
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


def test_photos_show_something(photos: Path) -> None:
    for name, image in readable(photos):
        assert image.mode == "RGB"
        spread = ImageStat.Stat(image).stddev
        assert max(spread) > 10, name


def test_one_file_is_cut_short_and_one_is_no_photo(photos: Path) -> None:
    with Image.open(photos / "Banana/cut-short.jpg") as image, pytest.raises(OSError, match="truncated"):
        image.load()
    with pytest.raises(UnidentifiedImageError):
        Image.open(photos / "Lemon/shopping-list.jpg")
