"""Files that cost little to send and much to decode, known by their own headers before a decoder runs."""

MAX_PARTS = 100_000
"""Segments of a JPEG, chunks of a PNG: Pillow keeps each in memory, and photos have some tens."""

MAX_SCANS = 64
"""Passes over a JPEG's picture: each takes time of its size in pixels, and progressive photos have about ten."""

_MAX_JUNK = 2**16
_ALONE = frozenset([0x00, 0x01, *range(0xD0, 0xD9)])  # markers without a length
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SEQUENTIAL = frozenset([0xC0, 0xC1])
_START_OF_SCAN = 0xDA


class BombError(Exception):
    """A file that costs too much to decode: one sentence."""


def in_one_scan(jpeg: bytes) -> bool:
    """Return whether a JPEG comes row by row, so that it can be decoded at an eighth of its size and of the memory.

    Others (progressive ones, or one component after the other) are held whole as coefficients by libjpeg, two bytes a
    pixel and component. See ITU-T T.81, annex B, for the markers.

    Raises
    ------
    BombError
        If it has more parts, or more scans, than any camera makes.
    """
    at, sequential, components = 2, False, 0
    for _ in range(MAX_PARTS):
        at = jpeg.find(b"\xff", at, at + _MAX_JUNK)
        if at < 0 or at + 10 > len(jpeg):
            return False  # not a JPEG: the decoder says what is wrong with it
        kind = jpeg[at + 1]
        if kind == 0xFF or kind in _ALONE:
            at += 1 if kind == 0xFF else 2
            continue
        if kind in _FRAMES:
            sequential, components = kind in _SEQUENTIAL, jpeg[at + 9]
        if kind == _START_OF_SCAN:
            if sequential and jpeg[at + 4] == components:
                return True
            if (scans := jpeg.count(b"\xff\xda")) > MAX_SCANS:
                raise BombError(f"{scans:,} scans; at most {MAX_SCANS:,} are decoded")
            return False
        at += 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
    raise BombError(f"more than {MAX_PARTS:,} parts before the picture")


def check_chunks(png: bytes) -> None:
    """Raise BombError if a PNG has more chunks than any program writes."""
    at = 8
    for _ in range(MAX_PARTS):
        if at >= len(png):
            return
        at += 12 + int.from_bytes(png[at : at + 4], "big")
    raise BombError(f"more than {MAX_PARTS:,} chunks")
