"""Turns the bytes of a photo into the pixels that a network expects, or into the reason why it is rejected."""

import io
import warnings
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, PngImagePlugin, UnidentifiedImageError

from spark_job.network.colour import to_srgb
from spark_job.network.geometry import NewSize, resized, upright
from spark_job.network.limits import MAX_BYTES, MAX_PIXELS, MAX_PROFILE_BYTES, LimitError, check_chunks, in_one_scan
from spark_job.network.transparency import on_white
from spark_job.rejection import Reason, RejectedPhotoError

SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp")
"""The endings of file names, in lower case, that make an object an image of the input."""

OTHER_SUFFIXES = (
    *(".heic", ".heif", ".hif", ".avif", ".jxl", ".jp2", ".j2k", ".jif", ".jfi", ".pjpeg", ".pjp", ".apng"),
    *(".gif", ".bmp", ".tif", ".tiff", ".ico", ".svg", ".psd", ".tga"),
    *(".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf"),
)
"""The endings of images that the job does not read. A run says how many it left out."""

DECODING = "3: upright, sRGB, white behind transparency, bicubic"
"""How photos are decoded. Increment the version whenever decoding changes, so that features are computed again."""

Image.MAX_IMAGE_PIXELS = max(MAX_PIXELS.values()) // 2  # Pillow itself refuses images of twice this size

PngImagePlugin.MAX_TEXT_CHUNK = MAX_PROFILE_BYTES  # Pillow's limit for profiles too
_PNG = b"\x89PNG"
_FORMATS = ("JPEG", "PNG", "WEBP")
_THUMBNAIL_SIDE = 64

Result = TypeVar("Result")


class Picture(NamedTuple):
    """A decoded photo, and the width and the height that its file states, in pixels."""

    image: Image.Image
    width: int
    height: int


def check_size(size: int) -> None:
    """Reject an image by its size in bytes, before it is fetched."""
    if size == 0:
        raise RejectedPhotoError(Reason.EMPTY, "the file has no bytes")
    if size > MAX_BYTES:
        raise RejectedPhotoError(Reason.TOO_LARGE, f"{size:,} bytes; the limit is {MAX_BYTES:,}")


def decode(data: bytes, side: int) -> NDArray[np.uint8]:
    """Return the pixels of :func:`picture`, shape (side, side, 3)."""
    return np.asarray(picture(data, side).image)


def picture(data: bytes, side: int) -> Picture:
    """Decode a photo.

    Parameters
    ----------
    data
        The content of a JPEG, PNG or WebP file.
    side
        Width and height of the result, in pixels.

    Returns
    -------
    Picture
        The photo, upright, in sRGB (mode RGB) and white where it is transparent. A photo that is not square is
        squeezed, not cropped.

    Raises
    ------
    RejectedPhotoError
        If the bytes cannot be decoded. No input raises another exception.
    """
    return _resized(data, side, lambda _width, _height: (side, side))


def thumbnail(data: bytes, side: int = _THUMBNAIL_SIDE) -> bytes:
    """Return a JPEG of at most ``side`` pixels each way, without metadata. Errors are those of :func:`picture`."""

    def fitting(width: float, height: float) -> tuple[int, int]:
        scale = min(1.0, side / max(width, height))
        return max(1, round(width * scale)), max(1, round(height * scale))

    clean = Image.fromarray(np.asarray(_resized(data, side, fitting).image))
    out = io.BytesIO()
    clean.save(out, "JPEG", quality=80)
    return out.getvalue()


def thumbnail_if_possible(read: Callable[[], bytes], side: int = _THUMBNAIL_SIDE) -> bytes | None:
    """Return the thumbnail of what ``read`` returns, or None if the photo is gone or unusable."""
    try:
        return thumbnail(read(), side)
    except (OSError, RejectedPhotoError):
        return None


def _resized(data: bytes, side: int, new_size: NewSize) -> Picture:
    """Return a photo upright, in sRGB and in the size that ``new_size`` returns for its width and height.

    JPEG is decoded at a fraction of its size if that has at least twice ``side`` pixels each way.
    """
    check_size(len(data))
    try:
        return _in_any_case(data, lambda file: _decoded(file, side, new_size))
    except RejectedPhotoError:
        raise
    except UnidentifiedImageError as error:
        raise RejectedPhotoError(Reason.UNSUPPORTED, "not a JPEG, PNG or WebP file") from error
    except (Image.DecompressionBombError, LimitError, MemoryError) as error:
        raise RejectedPhotoError(Reason.TOO_LARGE, str(error)) from error
    except Exception as error:
        # Pillow's decoders raise many types: OSError, SyntaxError, ValueError, struct.error, ...
        raise RejectedPhotoError(_reason(str(error).lower(), data), str(error) or type(error).__name__) from error


def _in_any_case(data: bytes, read: Callable[[bytes], Result]) -> Result:
    """Read a file. If that fails, try a PNG without its metadata, which Pillow refuses if it is damaged or long."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns about sizes, which are checked here, and about metadata
        try:
            return read(data)
        except (RejectedPhotoError, LimitError):
            raise
        except Exception:
            bare = _without_metadata(data) if data.startswith(_PNG) else data
            if len(bare) == len(data):
                raise
            return read(bare)


def _without_metadata(png: bytes) -> bytes:
    """Return a PNG with the chunks that its pixels need: the critical ones, whose names begin in upper case, and tRNS.

    Its colour profile is left out too, so the colours count as sRGB.
    """
    kept, at = [png[:8]], 8
    while at < len(png):
        end, name = at + 12 + int.from_bytes(png[at : at + 4], "big"), png[at + 4 : at + 8]
        if name[:1].isupper() or name == b"tRNS":
            kept.append(png[at:end])
        at = end
    return b"".join(kept)


def _reason(said: str, data: bytes) -> Reason:
    """Return the reason that matches a decoder's message. WebP's message is always the same, so its length decides."""
    promised = int.from_bytes(data[4:8], "little") + 8 if data.startswith(b"RIFF") else 0
    if "truncated" in said or len(data) < promised:
        return Reason.TRUNCATED
    return Reason.TOO_LARGE if "too large" in said else Reason.UNREADABLE


def _decoded(data: bytes, side: int, new_size: NewSize) -> Picture:
    file = _opened(data)
    width, height = file.size
    drafted = file.draft("RGB", (2 * side, 2 * side))  # JPEG only: decoding at 1/2, 1/4 or 1/8 takes less time
    covered = drafted[1][2:] if drafted else file.size
    image = on_white(file, data)
    orientation, profile = _orientation(file), file.info.get("icc_profile")
    del file  # frees its pixels, if they were converted
    if image.width * image.height < side**2:  # colours are converted where the photo has fewer pixels
        image, profile = to_srgb(image, profile), None
    image, box = upright(image, covered, orientation)  # before it is resized, so that a turned copy gives equal pixels
    return Picture(to_srgb(resized(image, box, new_size), profile), width, height)


def _opened(data: bytes) -> ImageFile.ImageFile:
    """Return a file whose pixels are not decoded yet."""
    kind = _kind(data)
    file = Image.open(io.BytesIO(data), formats=_FORMATS)
    width, height = file.size
    if width * height > MAX_PIXELS[kind]:
        limit = f"the limit for {kind} is {MAX_PIXELS[kind]:,} pixels"
        raise RejectedPhotoError(Reason.TOO_LARGE, f"{width}x{height} pixels; {limit}")
    return file


def _kind(data: bytes) -> str:
    """Return a file's key in MAX_PIXELS. An unknown format gets the strictest limit, and Pillow then rejects it."""
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG" if in_one_scan(data) else "JPEG in several scans"
    if data.startswith(_PNG):
        check_chunks(data)
        return "PNG"
    return "WEBP"


def _orientation(image: Image.Image) -> int:
    """Return EXIF's orientation, or 1 (upright) if the metadata is damaged: the photo itself may be fine."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # Pillow's parser raises many types
        return 1
