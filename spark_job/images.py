"""From the bytes of a photo to the pixels that the network wants, or to the reason why there are none."""

import io
import warnings
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from spark_job.bombs import BombError, check_chunks, in_one_scan

SIDE = 224
"""The network's input, in pixels a side."""

PREPROCESSING = f"2: upright, white behind transparency, RGB, bicubic to {SIDE}x{SIDE}, x / 127.5 - 1"
"""What is done to an image before the network; a change here makes old features stale, so count it up."""

MAX_BYTES = 64 * 2**20
MAX_PIXELS = {"JPEG": 2**28, "JPEG in several scans": 2**26, "PNG": 3 * 2**24, "WEBP": 2**25}
"""What is decoded at most, so that no photo takes more than half a GiB: the first kind is decoded at a fraction of its
size, the others whole, with 8, 8 and 16 bytes a pixel at worst."""

Image.MAX_IMAGE_PIXELS = max(MAX_PIXELS.values()) // 2  # Pillow's own guard refuses twice this

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
"""What undoes each value of EXIF's orientation."""


class Reason(StrEnum):
    """Why an image is rejected; the closed list of ``rejected.reason``."""

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
    """An image that has no features."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


def check_size(size: int) -> None:
    """Reject an image by its size in bytes, so that nobody fetches what nobody will decode."""
    if size == 0:
        raise RejectedImageError(Reason.EMPTY, "the file has no bytes")
    if size > MAX_BYTES:
        raise RejectedImageError(Reason.TOO_LARGE, f"{size:,} bytes; at most {MAX_BYTES:,} are read")


def decode(data: bytes) -> NDArray[np.uint8]:
    """Return the pixels of a photo.

    Parameters
    ----------
    data
        A JPEG, PNG or WebP file.

    Returns
    -------
    ndarray of uint8, shape (224, 224, 3)
        The photo upright, RGB, squeezed to a square as the usual notebook does.

    Raises
    ------
    RejectedImageError
        Whatever is wrong with the bytes; no other exception is raised for any input.
    """
    return np.asarray(_rgb(data, SIDE).resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def thumbnail(data: bytes, side: int = _THUMBNAIL_SIDE) -> bytes:
    """Return a JPEG of a photo, at most ``side`` wide and high, without its metadata; raises as :func:`decode` does."""
    image = _rgb(data, side)
    image.thumbnail((side, side))
    clean = Image.fromarray(np.asarray(image))
    out = io.BytesIO()
    clean.save(out, "JPEG", quality=80)
    return out.getvalue()


def _rgb(data: bytes, side: int) -> Image.Image:
    """Return a photo upright and in RGB, at any size not below ``side``."""
    check_size(len(data))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of sizes, which are checked here, and of odd metadata
            return _upright_rgb(data, side)
    except RejectedImageError:
        raise
    except UnidentifiedImageError as error:
        raise RejectedImageError(Reason.UNSUPPORTED, "not a JPEG, PNG or WebP file") from error
    except (Image.DecompressionBombError, BombError, MemoryError) as error:
        raise RejectedImageError(Reason.TOO_LARGE, str(error)) from error
    except Exception as error:
        # Pillow's decoders raise whatever their format's code does: OSError, SyntaxError, ValueError, struct.error, ...
        raise RejectedImageError(_reason(str(error).lower(), data), str(error) or type(error).__name__) from error


def _reason(said: str, data: bytes) -> Reason:
    """Return what is wrong with a file, by what its decoder said; WebP's says the same of everything."""
    promised = int.from_bytes(data[4:8], "little") + 8 if data.startswith(b"RIFF") else 0
    if "truncated" in said or len(data) < promised:
        return Reason.TRUNCATED
    return Reason.TOO_LARGE if "too large" in said else Reason.UNREADABLE


def _upright_rgb(data: bytes, side: int) -> Image.Image:
    kind = _kind(data)
    image: Image.Image = Image.open(io.BytesIO(data), formats=_FORMATS)
    width, height = image.size
    if width * height > MAX_PIXELS[kind]:
        most = f"at most {MAX_PIXELS[kind]:,} of a {kind} are decoded"
        raise RejectedImageError(Reason.TOO_LARGE, f"{width}x{height} pixels; {most}")
    if isinstance(image, ImageFile.ImageFile):
        image.draft("RGB", (2 * side, 2 * side))  # JPEG only: decodes at 1/2, 1/4 or 1/8, a fraction of the work
    image.load()
    upright = _UPRIGHT.get(_orientation(image))
    image = _rgb_or_rgba(image)
    if (factor := min(image.size) // (2 * side)) > 1:
        image = image.reduce(factor)  # what follows makes copies
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.transpose(upright) if upright is not None else image


def _kind(data: bytes) -> str:
    """Return the key of MAX_PIXELS; a file that has none goes by the strictest, until Pillow says what is wrong."""
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG" if in_one_scan(data) else "JPEG in several scans"
    if data.startswith(b"\x89PNG"):
        check_chunks(data)
        return "PNG"
    return "WEBP"


def _orientation(image: Image.Image) -> int:
    """Return EXIF's orientation; damaged metadata is no reason to refuse a photo."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # whatever Pillow's parser raises
        return 1


def _rgb_or_rgba(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    mode = "RGBA" if image.has_transparency_data else "RGB"
    return image if image.mode == mode else image.convert(mode)
