"""Converts the colours of a photo to sRGB, as its ICC profile describes them."""

import functools
import io

import numpy as np
from PIL import Image, ImageCms

from spark_job.network.limits import MAX_PROFILE_BYTES

_INVISIBLE = 2
"""The largest difference, of 255, at which a profile counts as sRGB. The many profiles called sRGB differ by this."""

_PROFILES = 8
_LEVELS = 9


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Return an image in the mode RGB, with the colours of sRGB.

    Parameters
    ----------
    image
        An image in the mode L, RGB or CMYK.
    profile
        The ICC profile of the image's file. Without one, with a damaged one or with one for another number of channels,
        the colours count as sRGB.
    """
    if profile and (transform := _transform(profile, image.mode)):
        return transform.apply(image)
    return image if image.mode == "RGB" else image.convert("RGB")


@functools.lru_cache(_PROFILES)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return what converts a mode from a profile to sRGB, or None if nothing is to be done."""
    if len(profile) > MAX_PROFILE_BYTES:
        return None
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        transform = ImageCms.ImageCmsTransform(source, _srgb(), mode, "RGB")
    except (OSError, ValueError):  # Little CMS: it is damaged, or describes another number of channels
        return None
    return transform if mode == "CMYK" or _changes(transform, mode) else None


@functools.cache
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def _changes(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Return whether a transform changes colours visibly, which a grid of colours shows."""
    levels = np.linspace(0, 255, _LEVELS).astype(np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(_LEVELS, -1, 3)
    colours = Image.fromarray(grid).convert(mode)
    before, after = (np.asarray(image, np.int16) for image in (colours.convert("RGB"), transform.apply(colours)))
    return bool(np.abs(after - before).max() > _INVISIBLE)
