"""How large and how complex an image file may be; files beyond that are recognised before they are decoded."""

MAX_BYTES = 64 * 2**20
"""The largest file that is read."""

MAX_PIXELS = {"JPEG": 2**28, "JPEG in several scans": 2**26, "PNG": 3 * 2**24, "WEBP": 2**25}
"""The largest image that is decoded, by kind, so that no photo takes more than half a GiB of memory.

A JPEG in one scan is decoded at a fraction of its size. The other kinds are decoded whole, which takes up to 8, 8 and
16 bytes per pixel.
"""

MAX_PARTS = 100_000
"""Segments of a JPEG or chunks of a PNG. Photos have some dozens, and Pillow keeps each one in memory."""

MAX_SCANS = 64
"""Scans of a JPEG. Progressive photos have about ten, and each scan takes time in proportion to the pixels."""

MAX_PROFILE_BYTES = 2**22
"""The largest colour profile that is used. Those of printing presses have 3 MB, and each process keeps the last few."""

_MAX_JUNK = 2**16
_WITHOUT_LENGTH = frozenset([0x00, 0x01, *range(0xD0, 0xD9)])
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SEQUENTIAL = frozenset([0xC0, 0xC1])
_START_OF_SCAN = 0xDA


class LimitError(Exception):
    """A file is too expensive to decode: one sentence."""


def in_one_scan(jpeg: bytes) -> bool:
    """Return whether a JPEG holds its image in one scan, row by row.

    libjpeg decodes such a file at an eighth of its size, with an eighth of the memory. It holds any other JPEG, such
    as a progressive one, whole in memory, with two bytes per pixel and colour component. ITU-T T.81, annex B, describes
    the markers.

    Raises
    ------
    LimitError
        If the file has more parts or more scans than cameras and image programs write.
    """
    at, sequential, components = 2, False, 0
    for _ in range(MAX_PARTS):
        at = jpeg.find(b"\xff", at, at + _MAX_JUNK)
        if at < 0 or at + 10 > len(jpeg):
            return False  # not a JPEG; the decoder reports what is wrong with it
        kind = jpeg[at + 1]
        if kind == 0xFF or kind in _WITHOUT_LENGTH:
            at += 1 if kind == 0xFF else 2
            continue
        if kind in _FRAMES:
            sequential, components = kind in _SEQUENTIAL, jpeg[at + 9]
        if kind == _START_OF_SCAN:
            if sequential and jpeg[at + 4] == components:
                return True
            if (scans := jpeg.count(b"\xff\xda")) > MAX_SCANS:
                raise LimitError(f"{scans:,} scans; the limit is {MAX_SCANS:,}")
            return False
        at += 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
    raise LimitError(f"more than {MAX_PARTS:,} parts before the image data")


def check_chunks(png: bytes) -> None:
    """Raise LimitError if a PNG has more chunks than image programs write."""
    at = 8
    for _ in range(MAX_PARTS):
        if at >= len(png):
            return
        at += 12 + int.from_bytes(png[at : at + 4], "big")
    raise LimitError(f"more than {MAX_PARTS:,} chunks")
