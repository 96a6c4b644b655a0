"""Measures photos: how bright and sharp they are, how much they show, and what they look like in miniature."""

import hashlib
from bisect import bisect_left
from itertools import accumulate
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from spark_job.network.images import Picture

MINIATURE_SIDE = 14


class Quality(NamedTuple):
    """The measures of one photo. docs/findings.md says where they come from.

    Attributes
    ----------
    sha256
        The digest of the file's bytes.
    pixels_sha256
        The digest of the pixels at a quarter of their size. It does not depend on the file's name, format or metadata.
    width, height
        The size of the photo in pixels, as the file stores it.
    brightness_low, brightness_high
        The 5th and the 99th percentile of the brightness, from 0 (black) to 1 (white).
    sharpness
        The steepest edges, from 0 to 1: the 99.5th percentile of the differences between neighbouring pixels at half
        size, as a share of the photo's range of brightness.
    entropy
        Bits per colour value. A photo of one colour has 1.6.
    miniature
        The photo with 14 x 14 pixels, as bytes of RGB.
    """

    sha256: bytes
    pixels_sha256: bytes
    width: int
    height: int
    brightness_low: float
    brightness_high: float
    sharpness: float
    entropy: float
    miniature: bytes


def measure(data: bytes, picture: Picture) -> Quality:
    """Measure a photo: the bytes of its file, and the image that a network gets."""
    half = picture.image.reduce(2)
    quarter = half.reduce(2)
    darkest, low, high = _percentiles(quarter.convert("L").histogram(), [0.01, 0.05, 0.99])
    return Quality(
        sha256=hashlib.sha256(data).digest(),
        pixels_sha256=hashlib.sha256(quarter.tobytes()).digest(),
        width=picture.width,
        height=picture.height,
        brightness_low=low / 255,
        brightness_high=high / 255,
        sharpness=min(1.0, _steepest(np.asarray(half.convert("L"))) / max(1, high - darkest)),
        entropy=quarter.entropy(),
        miniature=quarter.resize((MINIATURE_SIDE, MINIATURE_SIDE), Image.Resampling.BOX).tobytes(),
    )


def _steepest(grey: NDArray[np.uint8]) -> int:
    lines = np.concatenate([grey[::8], grey[:, ::8].T]).astype(np.int16)  # a sample is enough
    steps = np.abs(lines[:, 1:] - lines[:, :-1])
    return _percentiles(np.bincount(steps.ravel()).tolist(), [0.995])[0]


def _percentiles(histogram: list[int], shares: list[float]) -> list[int]:
    total = list(accumulate(histogram))  # faster than numpy for so few numbers
    return [bisect_left(total, share * total[-1]) for share in shares]
