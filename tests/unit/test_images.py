import contextlib
import io
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from spark_job.network.images import check_size, decode, thumbnail
from spark_job.network.limits import MAX_BYTES
from spark_job.rejection import Reason, RejectedPhotoError

TO_STORED = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
"""The Image.Transpose from an upright photo to a stored one, by EXIF's orientation."""

RED = (220, 20, 10)


def _file(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("size", [(1, 1), (100, 100), (640, 480), (30, 900)])
def test_every_format_and_size_gives_the_input_shape_of_the_network(kind: str, size: tuple[int, int]) -> None:
    pixels = decode(_file(Image.new("RGB", size, RED), kind), 224)
    assert pixels.shape == (224, 224, 3)
    assert pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - RED).max() <= 12  # JPEG and WebP are lossy


@pytest.mark.parametrize(("kind", "options"), [("JPEG", {"quality": 95, "subsampling": 0}), ("PNG", {})])
@pytest.mark.parametrize("size", [(897, 1345), (1793, 1801), (1795, 2250), (3585, 3588), (7300, 1000)])
def test_the_edges_of_a_large_photo_count_for_their_area(
    kind: str, options: dict[str, int], size: tuple[int, int]
) -> None:
    """Whatever the factor that the photo is reduced by at first; its last pixels may be a part of a reduced pixel."""
    framed = ImageOps.expand(Image.new("RGB", (size[0] - 8, size[1] - 8), "white"), 4, "black")
    exact = np.asarray(framed.resize((224, 224), Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(decode(_file(framed, kind, **options), 224).astype(int) - exact).max() <= 20


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_turned_copy_of_a_large_photo_gives_the_same_pixels(kind: str, orientation: int) -> None:
    coarse = Image.fromarray(np.random.default_rng(3).integers(0, 256, (90, 120, 3), np.uint8))
    photo = coarse.resize((1801, 1347) if kind == "JPEG" else (1201, 901), Image.Resampling.BICUBIC)
    stored = photo.transpose(Image.Transpose(TO_STORED[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    difference = np.abs(decode(_file(photo, kind), 224).astype(int) - decode(_file(stored, kind, exif=exif), 224))
    assert difference.max() <= (0 if kind == "PNG" else 40)  # blocks of a JPEG begin at another place
    assert difference.mean() <= (0 if kind == "PNG" else 2)


@pytest.mark.parametrize(
    ("name", "body"),
    [
        (b"zTXt", b"x\0\0" + zlib.compress(bytes(2**23))),  # Pillow refuses long texts
        (b"iCCP", b"x\0\0" + zlib.compress(bytes(2**23))),
        (b"iCCP", b"x\0\1"),  # an unknown compression
        (b"pHYs", b"\0"),
        (b"fcTL", bytes(26)),
    ],
)
def test_metadata_of_a_png_is_no_reason_to_reject_it(name: bytes, body: bytes) -> None:
    image = np.random.default_rng(1).integers(0, 256, (40, 50, 3), np.uint8)
    plain = _file(Image.fromarray(image))
    chunk = len(body).to_bytes(4, "big") + name + body + zlib.crc32(name + body).to_bytes(4, "big")
    first = plain.index(b"IDAT") - 4
    assert (decode(plain[:first] + chunk + plain[first:], 32) == decode(plain, 32)).all()
    wrong_sum = chunk[:-1] + bytes([chunk[-1] ^ 1])
    assert (decode(plain[:first] + wrong_sum + plain[first:], 32) == decode(plain, 32)).all()


def test_sizes_are_checked_without_reading_the_bytes() -> None:
    check_size(1)
    check_size(MAX_BYTES)
    for size, reason in ((0, Reason.EMPTY), (MAX_BYTES + 1, Reason.TOO_LARGE)):
        with pytest.raises(RejectedPhotoError) as caught:
            check_size(size)
        assert caught.value.reason == reason


HEADS = [b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"RIFF\x10\0\0\0WEBPVP8 "]


@given(st.binary(max_size=300), st.sampled_from(HEADS))
def test_any_bytes_give_pixels_or_a_reason(tail: bytes, head: bytes) -> None:
    with contextlib.suppress(RejectedPhotoError):
        assert decode(head + tail, 224).shape == (224, 224, 3)


def test_a_thumbnail_is_small_and_keeps_no_metadata() -> None:
    exif = Image.Exif()
    exif[0x010E] = "taken at home"
    exif.get_ifd(0x8825)[1] = "N"
    photo = _file(Image.new("RGB", (900, 600), RED), "JPEG", exif=exif, comment=b"at home")
    assert b"at home" in photo
    small = thumbnail(photo)
    assert b"home" not in small
    with Image.open(io.BytesIO(small)) as image:
        assert image.size == (64, 43)
        assert not image.getexif()
