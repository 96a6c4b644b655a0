"""Turns the bytes of a photo into the pixels that a network expects, or into the reason why it is rejected."""

import io
import warnings
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from spark_job.network.limits import MAX_BYTES, MAX_PIXELS, LimitError, check_chunks, in_one_scan

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
"""The endings of file names, in lower case, that make an object an image of the input."""

DECODING = "2: upright, white behind transparency, RGB, bicubic"
"""How photos are decoded. Increment the version whenever decoding changes, so that features are computed again."""

Image.MAX_IMAGE_PIXELS = max(MAX_PIXELS.values()) // 2  # Pillow itself refuses images of twice this size

_FORMATS = ("JPEG", "PNG", "WEBP")
_THUMBNAIL_SIDE = 64
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The transposition that undoes each value of EXIF's orientation."""


class Reason(StrEnum):
    """Why an image is rejected: the values of the column ``reason``."""

    EMPTY = "empty"
    TOO_LARGE = "too large"
    UNSUPPORTED = "unsupported"
    TRUNCATED = "truncated"
    UNREADABLE = "unreadable"
    BAD_NAME = "bad name"
    MISSING = "missing"
    DENIED = "denied"
    UNAVAILABLE = "unavailable"


class RejectedImageError(Exception):
    """An image cannot be used: the reason, and a sentence with the details."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


def check_size(size: int) -> None:
    """Reject an image by its size in bytes, before it is fetched."""
    if size == 0:
        raise RejectedImageError(Reason.EMPTY, "the file has no bytes")
    if size > MAX_BYTES:
        raise RejectedImageError(Reason.TOO_LARGE, f"{size:,} bytes; the limit is {MAX_BYTES:,}")


def decode(data: bytes, side: int) -> NDArray[np.uint8]:
    """Return the pixels of a photo.

    Parameters
    ----------
    data
        The content of a JPEG, PNG or WebP file.
    side
        Width and height of the result, in pixels.

    Returns
    -------
    ndarray of uint8, shape (side, side, 3)
        The photo, upright and in RGB. A photo that is not square is squeezed, not cropped.

    Raises
    ------
    RejectedImageError
        If the bytes cannot be decoded. No input raises another exception.
    """
    return np.asarray(_rgb(data, side).resize((side, side), Image.Resampling.BICUBIC))


def thumbnail(data: bytes, side: int = _THUMBNAIL_SIDE) -> bytes:
    """Return a JPEG of at most ``side`` pixels each way, without metadata. Errors are those of :func:`decode`."""
    image = _rgb(data, side)
    image.thumbnail((side, side))
    clean = Image.fromarray(np.asarray(image))
    out = io.BytesIO()
    clean.save(out, "JPEG", quality=80)
    return out.getvalue()


def _rgb(data: bytes, side: int) -> Image.Image:
    """Return a photo upright and in RGB. Large photos are reduced, but to no less than ``side`` pixels."""
    check_size(len(data))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns about sizes, which are checked here, and about metadata
            return _upright_rgb(data, side)
    except RejectedImageError:
        raise
    except UnidentifiedImageError as error:
        raise RejectedImageError(Reason.UNSUPPORTED, "not a JPEG, PNG or WebP file") from error
    except (Image.DecompressionBombError, LimitError, MemoryError) as error:
        raise RejectedImageError(Reason.TOO_LARGE, str(error)) from error
    except Exception as error:
        # Pillow's decoders raise many types: OSError, SyntaxError, ValueError, struct.error, ...
        raise RejectedImageError(_reason(str(error).lower(), data), str(error) or type(error).__name__) from error


def _reason(said: str, data: bytes) -> Reason:
    """Return the reason that matches a decoder's message. WebP's message is always the same, so its length decides."""
    promised = int.from_bytes(data[4:8], "little") + 8 if data.startswith(b"RIFF") else 0
    if "truncated" in said or len(data) < promised:
        return Reason.TRUNCATED
    return Reason.TOO_LARGE if "too large" in said else Reason.UNREADABLE


def _upright_rgb(data: bytes, side: int) -> Image.Image:
    kind = _kind(data)
    image: Image.Image = Image.open(io.BytesIO(data), formats=_FORMATS)
    width, height = image.size
    if width * height > MAX_PIXELS[kind]:
        limit = f"the limit for {kind} is {MAX_PIXELS[kind]:,} pixels"
        raise RejectedImageError(Reason.TOO_LARGE, f"{width}x{height} pixels; {limit}")
    if isinstance(image, ImageFile.ImageFile):
        image.draft("RGB", (2 * side, 2 * side))  # JPEG only: decoding at 1/2, 1/4 or 1/8 takes a fraction of the time
    image.load()
    upright = _UPRIGHT.get(_orientation(image))
    image = _rgb_or_rgba(image)
    if (factor := min(image.size) // (2 * side)) > 1:
        image = image.reduce(factor)  # before the steps below make copies
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.transpose(upright) if upright is not None else image


def _kind(data: bytes) -> str:
    """Return a file's key in MAX_PIXELS. An unknown format gets the strictest limit, and Pillow then rejects it."""
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG" if in_one_scan(data) else "JPEG in several scans"
    if data.startswith(b"\x89PNG"):
        check_chunks(data)
        return "PNG"
    return "WEBP"


def _orientation(image: Image.Image) -> int:
    """Return EXIF's orientation, or 1 (upright) if the metadata is damaged: the photo itself may be fine."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # Pillow's parser raises many types
        return 1


def _rgb_or_rgba(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    mode = "RGBA" if image.has_transparency_data else "RGB"
    return image if image.mode == mode else image.convert(mode)
