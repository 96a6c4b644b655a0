"""Paints a photo white where it is transparent: in an alpha channel, a palette, or the one colour that a PNG names."""

import functools
import io

import numpy as np
from PIL import Image, ImageChops, PngImagePlugin

_DEPTH_AT, _COLOUR_TYPE_AT = 24, 25  # places in a PNG file, whose first chunk is always IHDR
_GREY_ALPHA = 4
_TWO_BYTES = 16
_GREY_MODES = ("1", "L", "LA", "I;16")


def on_white(file: Image.Image, data: bytes) -> Image.Image:
    """Return the pixels of a file in 8 bits, in the mode L, RGB or CMYK, and white where they are transparent.

    Parameters
    ----------
    file
        A file, opened by Pillow.
    data
        Its content.
    """
    is_grey = file.mode in _GREY_MODES or (file.format == "PNG" and data[_COLOUR_TYPE_AT] == _GREY_ALPHA)
    mode = "L" if is_grey else "CMYK" if file.mode == "CMYK" else "RGB"
    if not file.has_transparency_data:
        return _in_mode(_in_8_bits(file), mode)
    if file.mode != "P" and "transparency" in file.info:
        mask = _mask(file, file.info.pop("transparency"), data)
        image = _in_mode(_in_8_bits(file), mode)
        image.paste("white", mask=mask)
        return image
    image = file if file.mode in ("LA", "RGBA") else file.convert("RGBA")
    white = Image.new("L" if image.mode == "LA" else "RGB", image.size, "white")
    white.paste(image, mask=image)
    return _in_mode(white, mode)


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    return image if image.mode == mode else image.convert(mode)


def _in_8_bits(image: Image.Image) -> Image.Image:
    """Return an image of 16-bit greys with their high bytes; Pillow decodes all other files in 8 bits."""
    return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)) if image.mode == "I;16" else image


def _mask(file: Image.Image, colour: int | tuple[int, ...], data: bytes) -> Image.Image:
    """Return a mask of the pixels of a PNG that have the transparent colour of its tRNS chunk.

    The colour has the bit depth of the file (PNG specification, 11.3.2.1), but Pillow compares it with 8-bit colours.
    """
    depth = data[_DEPTH_AT]
    samples = [sample % 2**depth for sample in ([colour] if isinstance(colour, int) else colour)]
    if file.mode == "I;16":
        return Image.fromarray(np.asarray(file) == samples[0])
    if depth < _TWO_BYTES:
        return _equal(file, [sample * 255 // (2**depth - 1) for sample in samples])
    low = _equal(_low_bytes(data), [sample % 256 for sample in samples])  # first, while memory holds no other image
    return ImageChops.darker(low, _equal(file, [sample // 256 for sample in samples]))


def _equal(image: Image.Image, colour: list[int]) -> Image.Image:
    """Return a mask of the pixels that have an 8-bit colour."""
    image = _in_mode(image, "L") if image.mode == "1" else image
    bands = (image.getchannel(band) for band in image.getbands())
    masks = (
        band.point([255 * (level == own) for level in range(256)]) for band, own in zip(bands, colour, strict=True)
    )
    return functools.reduce(ImageChops.darker, masks)


def _low_bytes(data: bytes) -> Image.Image:
    """Return the low bytes of a PNG with 16 bits per colour, of which Pillow otherwise keeps the high ones."""
    file = PngImagePlugin.PngImageFile(io.BytesIO(data))
    file.tile = [tile._replace(args="RGB;16L") for tile in file.tile]
    file.load()
    return file
