"""Every kind of PNG, and WebP, is white where it is transparent; compared with the samples that the test wrote."""

import itertools
import struct
import zlib
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from spark_job.network.images import decode
from tests.hostile import chunk, encoded

SIDE = 24
GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
CHANNELS = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGB_ALPHA: 4}
DEPTHS = {GREY: (1, 2, 4, 8, 16), RGB: (8, 16), PALETTE: (1, 2, 4, 8), GREY_ALPHA: (8, 16), RGB_ALPHA: (8, 16)}
ADAM7 = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
"""First row, first column, and the distances of rows and columns, of each pass of an interlaced PNG."""


class Kind(NamedTuple):
    """A kind of PNG (PNG specification, table 12): colour type, bit depth, with a tRNS chunk, interlaced."""

    colours: int
    depth: int
    trns: bool
    interlaced: bool


KINDS = [
    Kind(colours, depth, trns, interlaced)
    for colours, depths in DEPTHS.items()
    for depth, trns, interlaced in itertools.product(depths, (False, True), (False, True))
    if not (trns and colours in (GREY_ALPHA, RGB_ALPHA))
]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_every_kind_of_png_is_white_where_it_is_transparent(kind: Kind) -> None:
    rng = np.random.default_rng(KINDS.index(kind))
    samples = rng.integers(0, 2**kind.depth, (SIDE, SIDE, CHANNELS[kind.colours]), np.uint16)
    palette = rng.integers(0, 256, (2**kind.depth if kind.colours == PALETTE else 0, 4), np.uint8)
    clear = samples[3, 5].copy()
    samples[SIDE // 2 :, 7] = clear
    if kind.depth == 16 and kind.trns:
        samples[:, 11] = clear ^ 1  # differs from the transparent colour in its lowest bit only
        samples[:, 12] = clear ^ 256
    expected = _on_white(kind, samples, palette, clear)
    pixels = decode(_png(kind, samples, palette, clear), SIDE).astype(int)
    assert np.abs(pixels - expected).max() <= (2 if kind.depth == 16 else 1)  # 16 bits are cut, not rounded
    if kind.trns and kind.colours != PALETTE:
        assert (pixels[3, 5] == 255).all()


@pytest.mark.parametrize("lossless", [True, False])
def test_webp_is_white_where_it_is_transparent(lossless: bool) -> None:
    clear = Image.new("RGBA", (SIDE, SIDE), (200, 30, 30, 255))
    clear.paste((30, 30, 30, 0), (0, 0, SIDE // 2, SIDE))
    pixels = decode(encoded(clear, "WEBP", lossless=lossless, exact=True), SIDE)
    assert (pixels[:, : SIDE // 2] == 255).all()
    assert np.abs(pixels[:, SIDE // 2 + 2 :].astype(int) - (200, 30, 30)).max() < 12


@pytest.mark.parametrize("length", range(1, 5))
def test_a_palette_may_have_fewer_opacities_than_colours(length: int) -> None:
    kind = Kind(PALETTE, 2, trns=True, interlaced=False)
    samples = np.resize(np.arange(4, dtype=np.uint16), (SIDE, SIDE, 1))
    palette = np.array([[10, 20, 30, 0], [40, 50, 60, 128], [70, 80, 90, 0], [1, 2, 3, 7]], np.uint8)
    short = palette.copy()
    short[length:, 3] = 255
    png = _png(kind, samples, palette, samples[0, 0], opacities=length)
    assert np.abs(decode(png, SIDE).astype(int) - _on_white(kind, samples, short, samples[0, 0])).max() <= 1


def _on_white(
    kind: Kind, samples: NDArray[np.uint16], palette: NDArray[np.uint8], clear: NDArray[np.uint16]
) -> NDArray[np.float64]:
    """Return the pixels that a decoder should give, from 0 to 255."""
    values = samples / (2**kind.depth - 1)
    opacity = np.ones((SIDE, SIDE, 1))
    if kind.colours == PALETTE:
        colours = palette[samples[..., 0]] / 255
        values, opacity = colours[..., :3], colours[..., 3:] if kind.trns else opacity
    elif kind.trns:
        opacity = 1.0 - (samples == clear).all(axis=2, keepdims=True)
    elif kind.colours in (GREY_ALPHA, RGB_ALPHA):
        values, opacity = values[..., :-1], values[..., -1:]
    pixels: NDArray[np.float64] = 255 * (values * opacity + 1 - opacity) * np.ones(3)
    return pixels


def _png(
    kind: Kind,
    samples: NDArray[np.uint16],
    palette: NDArray[np.uint8],
    clear: NDArray[np.uint16],
    opacities: int | None = None,
) -> bytes:
    passes = [samples[row::rows, column::columns] for row, column, rows, columns in ADAM7]
    rows = [row for part in (passes if kind.interlaced else [samples]) for row in part if part.size]
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", SIDE, SIDE, kind.depth, kind.colours, 0, 0, kind.interlaced))
    extra = chunk(b"PLTE", palette[:, :3].tobytes()) if kind.colours == PALETTE else b""
    if kind.trns:
        trns = palette[:opacities, 3].tobytes() if kind.colours == PALETTE else clear.astype(">u2").tobytes()
        extra += chunk(b"tRNS", trns)
    body = zlib.compress(b"".join(b"\0" + _packed(row.ravel(), kind.depth) for row in rows))
    return b"\x89PNG\r\n\x1a\n" + head + extra + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def _packed(row: NDArray[np.uint16], depth: int) -> bytes:
    if depth >= 8:
        return row.astype(">u2" if depth == 16 else np.uint8).tobytes()
    bits = row[:, np.newaxis] >> np.arange(depth)[::-1] & 1
    return np.packbits(bits.astype(np.uint8)).tobytes()
