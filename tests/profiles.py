"""Writes small ICC profiles (ICC.1:2001-04), and computes what their colours are in sRGB."""

import struct

import numpy as np
from numpy.typing import NDArray

D50 = (0.9642, 1.0, 0.8249)
SRGB = np.array([[0.4361, 0.3851, 0.1431], [0.2225, 0.7169, 0.0606], [0.0139, 0.0971, 0.7141]])
"""The primaries of sRGB, as columns in XYZ, relative to D50."""

DISPLAY_P3 = np.array([[0.5151, 0.2920, 0.1571], [0.2412, 0.6922, 0.0666], [-0.0011, 0.0419, 0.7841]])
ADOBE_RGB = np.array([[0.6097, 0.2053, 0.1492], [0.3111, 0.6257, 0.0632], [0.0195, 0.0609, 0.7446]])


def rgb_profile(primaries: NDArray[np.float64], gamma: float) -> bytes:
    """Return the profile of a display with these primaries."""
    columns = {b"rXYZ": 0, b"gXYZ": 1, b"bXYZ": 2}
    tags = {name: _xyz(primaries[:, column]) for name, column in columns.items()}
    return _profile(b"mntr", b"RGB ", b"XYZ ", tags | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), _curve(gamma)))


def grey_profile(gamma: float) -> bytes:
    """Return the profile of a grey display."""
    return _profile(b"mntr", b"GRAY", b"XYZ ", {b"kTRC": _curve(gamma)})


def cmyk_profile(lightness: NDArray[np.float64]) -> bytes:
    """Return the profile of a press whose inks all give greys: L* for each of the 16 combinations of full inks."""
    lab = np.stack([lightness * 2.55, np.full(16, 128.0), np.full(16, 128.0)], axis=1)
    identity = [number / 65536 for number in (65536, 0, 0, 0, 65536, 0, 0, 0, 65536)]
    ramp = bytes(range(256))
    table = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + b"".join(map(_fixed, identity))
    table += ramp * 4 + np.rint(lab).astype(np.uint8).tobytes() + ramp * 3
    return _profile(b"prtr", b"CMYK", b"Lab ", {b"A2B0": table})


def in_srgb(values: NDArray[np.float64], primaries: NDArray[np.float64], gamma: float) -> NDArray[np.float64]:
    """Return colours from 0 to 1, shape (..., 3), of a display with these primaries, in sRGB (IEC 61966-2-1)."""
    linear = np.clip(values**gamma @ (np.linalg.inv(SRGB) @ primaries).T, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def _profile(device: bytes, colours: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    tags = {b"desc": b"desc\0\0\0\0\0\0\0\2x\0".ljust(92, b"\0"), b"wtpt": _xyz(D50)} | tags
    at, index, body = 132 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        padded = data + bytes(-len(data) % 4)
        index += name + struct.pack(">II", at + len(body), len(data))
        body += padded
    white = b"".join(map(_fixed, D50))
    head = struct.pack(">I4sI", at + len(body), b"", 0x02100000) + device + colours + connection
    return (head.ljust(36, b"\0") + b"acsp").ljust(68, b"\0") + white.ljust(60, b"\0") + index + body


def _fixed(number: float) -> bytes:
    return struct.pack(">i", round(number * 65536))


def _xyz(colour: "NDArray[np.float64] | tuple[float, ...]") -> bytes:
    return b"XYZ \0\0\0\0" + b"".join(map(_fixed, colour))


def _curve(gamma: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))
