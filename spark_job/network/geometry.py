"""Turns a photo upright and resizes it, so that every part of it counts for its area."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Box = tuple[float, float, float, float]
NewSize = Callable[[float, float], tuple[int, int]]

_GAP = 2  # a large image is averaged to at least this many times its new size, which is faster than bicubic
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

_ON_ITS_SIDE = 5  # from this value on, EXIF's orientation exchanges rows and columns
_LAST_AT_LEFT = {2, 3, 6, 7}  # the orientations that put the last stored row or column at the left
_LAST_ON_TOP = {3, 4, 7, 8}


def upright(image: Image.Image, covered: tuple[float, float], orientation: int) -> tuple[Image.Image, Box]:
    """Return an image turned upright, and the part of it that the photo covers.

    Parameters
    ----------
    image
        The pixels as they are stored.
    covered
        The width and height of the photo in these pixels. The last row and column may be covered in part.
    orientation
        EXIF's orientation.
    """
    if (transposition := _UPRIGHT.get(orientation)) is None:
        return image, (0, 0, *covered)
    image = image.transpose(transposition)
    width, height = covered if orientation < _ON_ITS_SIDE else reversed(covered)
    left = image.width - width if orientation in _LAST_AT_LEFT else 0
    top = image.height - height if orientation in _LAST_ON_TOP else 0
    return image, (left, top, left + width, top + height)


def resized(image: Image.Image, box: Box, new_size: NewSize) -> Image.Image:
    """Return the part of an image in a box, in the size that ``new_size`` returns for its width and height."""
    left, top, right, bottom = box
    size = new_size(right - left, bottom - top)
    across, down = (max(1, int(old / new / _GAP)) for old, new in zip((right - left, bottom - top), size, strict=True))
    if across > 1 or down > 1:
        image = image.reduce((across, down))
        box = (left / across, top / down, right / across, bottom / down)
    if box == (0, 0, *image.size) or image.mode not in ("L", "RGB"):
        return image.resize(size, Image.Resampling.BICUBIC, box)
    return _faded(image, box).resize(size, Image.Resampling.BICUBIC, box).convert(image.mode)


def _faded(image: Image.Image, box: Box) -> Image.Image:
    """Return an image as opaque as its pixels are covered by a box.

    Pillow resizes with the opacity as a weight. Without it, a row or column at the edge would count as a whole one.
    """
    left, top, right, bottom = box
    coverage = np.outer(_coverage(image.height, top, bottom), _coverage(image.width, left, right))
    faded = image.copy()
    faded.putalpha(Image.fromarray(np.rint(255 * coverage).astype(np.uint8)))
    return faded


def _coverage(pixels: int, start: float, end: float) -> NDArray[np.float64]:
    """Return how much of each pixel lies between two places."""
    places = np.arange(pixels)
    covered: NDArray[np.float64] = np.minimum(places + 1, end) - np.maximum(places, start)
    return covered.clip(0, 1)
