"""The same colours give the same pixels, whatever colour space a file stores them in."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageCms

from spark_job.network.images import decode
from spark_job.network.limits import MAX_PROFILE_BYTES
from tests.hostile import encoded, picture
from tests.profiles import ADOBE_RGB, DISPLAY_P3, SRGB, cmyk_profile, grey_profile, in_srgb, rgb_profile

P3 = rgb_profile(DISPLAY_P3, 2.2)
SIDE = 120
LEVELS = np.linspace(0, 1, SIDE)
COLOURS = np.stack([*np.meshgrid(LEVELS, LEVELS), np.full((SIDE, SIDE), 0.3)], axis=-1)


def _bytes(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    pixels: NDArray[np.uint8] = np.rint(values * 255).astype(np.uint8)
    return pixels


def _decoded(image: Image.Image, kind: str = "PNG", **options: object) -> NDArray[np.int_]:
    return decode(encoded(image, kind, **options), SIDE).astype(int)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize(
    ("primaries", "gamma"), [(DISPLAY_P3, 2.2), (ADOBE_RGB, 2.2), (SRGB[:, [1, 2, 0]], 2.2), (SRGB, 1.0)]
)
def test_colours_of_other_displays_become_srgb(kind: str, primaries: NDArray[np.float64], gamma: float) -> None:
    exact: dict[str, object] = {"quality": 100, "subsampling": 0, "lossless": True} if kind != "PNG" else {}
    pixels = _decoded(Image.fromarray(_bytes(COLOURS)), kind, icc_profile=rgb_profile(primaries, gamma), **exact)
    difference = np.abs(pixels - _bytes(in_srgb(_bytes(COLOURS) / 255, primaries, gamma)))
    assert np.quantile(difference, 0.99) <= (6 if kind == "JPEG" else 2)


def test_a_phone_photo_of_any_size_has_the_colours_of_its_copy_in_srgb() -> None:
    wide = Image.fromarray(np.random.default_rng(1).integers(40, 216, (9, 12, 3), np.uint8)).resize((3001, 2003))
    narrow = Image.fromarray(_bytes(in_srgb(np.asarray(wide) / 255, DISPLAY_P3, 2.2)))
    assert np.abs(_decoded(wide, "JPEG", icc_profile=P3) - _decoded(narrow, "JPEG")).mean() < 1.5
    assert np.abs(_decoded(wide, "JPEG") - _decoded(narrow, "JPEG")).mean() > 5


@pytest.mark.parametrize("mode", ["L", "LA"])
def test_greys_follow_their_profile(mode: str) -> None:
    levels = np.tile(np.arange(SIDE, dtype=np.uint8) * 2, (SIDE, 1))
    pixels = _decoded(Image.fromarray(levels).convert(mode), icc_profile=grey_profile(1.8))
    expected = _bytes(in_srgb(np.repeat(levels[..., np.newaxis], 3, axis=2) / 255, SRGB, 1.8))
    assert np.abs(pixels - expected).max() <= 2


def test_inks_follow_their_profile() -> None:
    only_black_prints = np.array([100.0, 0.0] * 8)  # the last of the four inks varies fastest
    inks = Image.merge("CMYK", [Image.new("L", (SIDE, SIDE), level) for level in (255, 255, 255, 0)])
    with_profile = _decoded(inks, "JPEG", icc_profile=cmyk_profile(only_black_prints))
    assert with_profile.min() >= 253
    assert _decoded(inks, "JPEG").max() <= 2  # without a profile, three full inks are black


@pytest.mark.parametrize(
    "profile",
    [
        b"",
        P3[:200],
        P3[:128] + bytes(len(P3) - 128),
        b"no profile" * 100,
        grey_profile(1.0),
        cmyk_profile(np.zeros(16)),
        P3 + bytes(MAX_PROFILE_BYTES),
    ],
    ids=["empty", "cut", "zeros", "text", "of greys", "of inks", "too large"],
)
def test_a_damaged_or_unfitting_profile_counts_as_srgb(profile: bytes) -> None:
    pixels = _decoded(Image.fromarray(_bytes(COLOURS)), "WEBP", lossless=True, icc_profile=profile)
    assert np.array_equal(pixels, _bytes(COLOURS))


def test_a_profile_of_srgb_changes_nothing() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert np.array_equal(_decoded(Image.fromarray(_bytes(COLOURS)), icc_profile=profile), _bytes(COLOURS))


@given(st.integers(0, 500), st.binary(min_size=1, max_size=8))
def test_any_profile_gives_pixels(at: int, other: bytes) -> None:
    profile = P3[:at] + other + P3[at + len(other) :]
    assert decode(encoded(picture(), "WEBP", icc_profile=profile), 32).shape == (32, 32, 3)
