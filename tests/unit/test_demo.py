import hashlib
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageStat, UnidentifiedImageError

from spark_job.demo import draw
from spark_job.demo.backgrounds import BACKGROUNDS
from spark_job.demo.fruits import FRUITS
from spark_job.demo.scene import Array, Patch, Scene, ink, mix, step

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


def test_every_label_has_its_photos(photos: Path) -> None:
    whole = sorted(names(photos) - BROKEN - MISTAKES)
    counts = {label: len(list(group)) for label, group in groupby(whole, key=lambda name: name.split("/")[0])}
    assert len(counts) >= 12
    assert set(counts.values()) == {2}
    assert {"Apple Red", "Banana", "Pineapple"} <= counts.keys()


def test_equal_seeds_give_equal_bytes_and_other_seeds_do_not(photos: Path, tmp_path: Path) -> None:
    draw(tmp_path / "again", photos_per_label=1)
    draw(tmp_path / "other", photos_per_label=1, seed=8)
    again, other, first = digests(tmp_path / "again"), digests(tmp_path / "other"), digests(photos)
    assert again.items() <= first.items()
    drawn = other.keys() - {"Lemon/shopping-list.jpg"}
    assert all(other[name] != first[name] for name in drawn)


def test_all_photos_differ(photos: Path) -> None:
    found = {name: digest for name, digest in digests(photos).items() if name != "Grape/copy.jpg"}
    assert len(set(found.values())) == len(found)


def test_existing_photos_are_not_changed(photos: Path) -> None:
    def times() -> dict[str, int]:
        return {name: (photos / name).stat().st_mtime_ns for name in names(photos)}

    before = times()
    assert draw(photos, photos_per_label=2) == 0
    assert times() == before


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


def test_photos_are_not_blank(photos: Path) -> None:
    for name, image in readable(photos):
        assert image.mode == "RGB"
        spread = ImageStat.Stat(image).stddev
        assert max(spread) > 10, name


def test_one_file_is_cut_short_and_one_is_not_a_photo(photos: Path) -> None:
    with Image.open(photos / "Banana/cut-short.jpg") as image, pytest.raises(OSError, match="truncated"):
        image.load()
    with pytest.raises(UnidentifiedImageError):
        Image.open(photos / "Lemon/shopping-list.jpg")


@pytest.mark.parametrize("label", FRUITS)
def test_a_fruit_fills_its_photo_and_stays_within_it(label: str) -> None:
    for seed in range(4):
        scene = Scene((120, 160), np.random.default_rng(seed), FRUITS[label][0])
        FRUITS[label][1](scene)
        cover = scene.cover
        assert cover.min() >= 0
        assert cover.max() <= 1 + 1e-6
        assert 0.07 < cover.mean() < 0.6
        border = np.concatenate([cover[0], cover[-1], cover[:, 0], cover[:, -1]])
        assert border.mean() < 0.25
        assert np.isfinite(scene.colour).all()
        assert not scene.colour[:, cover == 0].any()


@pytest.mark.parametrize("background", BACKGROUNDS)
def test_a_background_has_the_requested_size_and_enough_light(background: Callable[..., Array]) -> None:
    light = background(np.random.default_rng(1), (90, 120))
    assert light.shape == (3, 90, 120)
    assert light.min() >= 0
    assert 0.02 < light.mean() < 1.1


@given(st.lists(st.floats(0.8, 1.2), min_size=2, max_size=9))
@settings(max_examples=25)
def test_an_outline_passes_through_its_radii(radii: list[float]) -> None:
    angles, nowhere = np.linspace(0, np.pi, len(radii)), slice(0)
    x, y = np.sin(angles) * radii, -np.cos(angles) * radii
    scene = Scene((8, 8), np.random.default_rng(0))
    for side in (-1, 1):
        assert Patch(scene, nowhere, nowhere, side * x, y).outline(radii) == pytest.approx(1, abs=5e-3)


def test_mix_and_step_are_constant_beyond_their_ends() -> None:
    red, green = ink("#ff0000"), ink("#00ff00")
    assert red.ravel().tolist() == [1, 0, 0]
    assert mix(red, green, -1).tolist() == red.tolist()
    assert mix(red, green, 2).tolist() == green.tolist()
    assert step(np.array([0.0, 1, 2, 3, 4]), 1, 3).tolist() == [0, 0, 0.5, 1, 1]
    assert step(np.array([1.0, 3]), 3, 1).tolist() == [1, 0]
