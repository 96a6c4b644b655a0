"""A corpus of files like those that the public uploads: good, odd, broken and hostile. All are made here."""

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from PIL import Image

from spark_job.rejection import Reason

_SIZE = (90, 70)
_ANY = frozenset({None, *Reason})


class Hostile(NamedTuple):
    """A file: its kind, its bytes and its allowed outcomes (None: it has features)."""

    kind: str
    data: bytes
    outcomes: frozenset[Reason | None]


def corpus() -> Iterator[Hostile]:
    """Yield the files, which are the same every time."""
    yield from _modes()
    yield from _orientations()
    yield from _other_formats()
    yield from _damaged()
    yield from _not_images()
    yield from _bombs()
    yield from _odd_but_good()


def picture(mode: str = "RGB", size: tuple[int, int] = _SIZE, seed: int = 1) -> Image.Image:
    """Return a coarse random picture, which stays recognisable in every format."""
    coarse = np.random.default_rng(seed).integers(0, 256, (7, 9, 3), np.uint8)
    image = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
    if mode == "I;16":
        return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    if mode == "PA":
        return image.convert("P").convert("PA")
    return image.convert(mode)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    """Return a picture encoded as a file."""
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def _good(kind: str, data: bytes) -> Hostile:
    return Hostile(kind, data, frozenset({None}))


def _bad(kind: str, data: bytes, *reasons: Reason) -> Hostile:
    return Hostile(kind, data, frozenset(reasons))


def _modes() -> Iterator[Hostile]:
    for mode in ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "I;16"):
        image = picture("RGBA" if mode == "PA" else mode)  # PNG has no PA; a palette with alpha replaces it
        if mode == "PA":
            image = image.quantize(64)
        for level in (0, 9):
            yield _good(f"PNG {mode}", encoded(image, "PNG", compress_level=level))
    for mode in ("L", "RGB", "CMYK", "YCbCr"):
        for progressive in (False, True):
            for quality in (5, 75, 100):
                kind = f"JPEG {mode}{' progressive' if progressive else ''}"
                yield _good(kind, encoded(picture(mode), "JPEG", progressive=progressive, quality=quality))
    for subsampling in ("4:4:4", "4:2:2", "4:2:0"):
        yield _good("JPEG subsampled", encoded(picture(), "JPEG", subsampling=subsampling, optimize=True))
    for mode in ("RGB", "RGBA", "L"):
        for lossless in (False, True):
            yield _good(f"WEBP {mode}", encoded(picture(mode), "WEBP", lossless=lossless))
    frames = [picture(seed=seed) for seed in range(3)]
    for kind in ("PNG", "WEBP"):
        yield _good(f"{kind} animated", encoded(frames[0], kind, save_all=True, append_images=frames[1:]))
    yield _good("MPO", encoded(frames[0], "MPO", save_all=True, append_images=frames[1:]))
    for kind in ("JPEG", "PNG", "WEBP"):
        for size in ((1, 1), (1, 3000), (3000, 1), (2, 2), (1200, 900)):
            yield _good(f"{kind} sizes", encoded(picture(size=size), kind))


def _orientations() -> Iterator[Hostile]:
    for kind in ("JPEG", "PNG", "WEBP"):
        for orientation in (0, *range(1, 10), 65535):
            exif = Image.Exif()
            exif[0x0112] = orientation
            yield _good(f"{kind} EXIF orientation", encoded(picture(), kind, exif=exif))


def _other_formats() -> Iterator[Hostile]:
    for kind in ["GIF", "BMP", "TIFF", "ICO", "PPM", "TGA", "PCX", "DDS", "SGI", "JPEG2000", "AVIF", "ICNS", "PDF"]:
        yield _bad(f"{kind} named .jpg", encoded(picture(), kind), Reason.UNSUPPORTED)
    box = struct.pack(">I4s4sI4s4s", 24, b"ftyp", b"heic", 0, b"mif1", b"heic")
    yield _bad("HEIC named .jpg", box + struct.pack(">I4s", 8, b"mdat") + bytes(500), Reason.UNSUPPORTED)
    yield _bad("AVIF brand only", box.replace(b"heic", b"avif"), Reason.UNSUPPORTED)


def _damaged() -> Iterator[Hostile]:
    noise = Image.fromarray(np.random.default_rng(3).integers(0, 256, (120, 160, 3), np.uint8))
    whole = {
        "JPEG": encoded(noise, "JPEG"),
        "JPEG progressive": encoded(noise, "JPEG", progressive=True),
        "PNG": encoded(noise, "PNG"),
        "WEBP": encoded(noise, "WEBP"),
        "WEBP lossless": encoded(noise, "WEBP", lossless=True),
    }
    rng = np.random.default_rng(4)
    for kind, data in whole.items():
        for tenth in range(1, 10):
            yield _bad(f"{kind} cut", data[: len(data) * tenth // 10], Reason.TRUNCATED)
        for length in (1, 2, 3, 4, 8, 11, 12, 20, 30):
            yield _bad(f"{kind} cut in its header", data[:length], Reason.TRUNCATED, Reason.UNSUPPORTED)
        for count in (1, 3, 10, 30, 100, 1000):
            for _ in range(4):
                flipped = np.frombuffer(data, np.uint8).copy()
                flipped[rng.integers(0, len(flipped), count)] ^= rng.integers(1, 256, count, np.uint8)
                yield Hostile(f"{kind} flipped bytes", flipped.tobytes(), _ANY)
        yield Hostile(f"{kind} middle missing", data[: len(data) // 3] + data[2 * len(data) // 3 :], _ANY)
        yield Hostile(f"{kind} zeros at the end", data[: len(data) // 2] + bytes(len(data) // 2), _ANY)
        yield Hostile(f"{kind} twice", data + data, _ANY)


def _not_images() -> Iterator[Hostile]:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("photo.jpg", b"no photo")
    named = {
        "text": b"Apples, pears, plums.\n",
        "HTML": b"<!DOCTYPE html><script>alert(1)</script>",
        "SVG": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><rect width="9" height="9"/></svg>',
        "XML entities": b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><x>&b;</x>',
        "S3 error": b"<Error><Code>AccessDenied</Code></Error>",
        "Windows executable": b"MZ\x90\0" + bytes(200) + b"PE\0\0" + bytes(200),
        "ELF executable": b"\x7fELF\x02\x01\x01" + bytes(300),
        "shell script": b"#!/bin/sh\nrm -rf /\n",
        "zip archive": archive.getvalue(),
        "gzip": b"\x1f\x8b\x08" + bytes(50),
        "pickle": b"\x80\x04\x95\x11\0\0\0\0\0\0\0\x8c\x05posix\x94\x8c\x06system\x94\x93\x94.",
        "mp4": struct.pack(">I4s4s", 16, b"ftyp", b"isom") + bytes(100),
        "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) run\n",
        "zeros": bytes(5000),
        "0xff": b"\xff" * 5000,
        "macOS resource fork": b"\0\x05\x16\x07\0\x02\0\0Mac OS X        " + bytes(100),
    }
    for kind, data in named.items():
        yield _bad(kind, data, Reason.UNSUPPORTED)
    yield _bad("empty", b"", Reason.EMPTY)
    rng = np.random.default_rng(5)
    for length in (1, 10, 1000, 100_000):
        yield _bad("random bytes", rng.bytes(length), Reason.UNSUPPORTED)


def _bombs() -> Iterator[Hostile]:
    for side in (8_000, 20_000, 60_000):
        yield _bad("PNG bomb", png(side, side), Reason.TOO_LARGE)
    yield _bad("PNG with the largest canvas", png(2**31 - 1, 2**31 - 1), Reason.TOO_LARGE)
    yield _bad("PNG with an empty canvas", png(0, 0), Reason.UNSUPPORTED)
    yield _bad("PNG chunk bomb", png(9, 9, chunk(b"prVt", b"") * 100_001), Reason.TOO_LARGE)
    text = chunk(b"zTXt", b"x\0\0" + zlib.compress(bytes(50_000_000), 9))
    yield _good("PNG text bomb", png(9, 9, text))
    profile = chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(50_000_000), 9))
    yield _good("PNG profile bomb", png(9, 9, profile))
    baseline, progressive = encoded(picture(), "JPEG"), encoded(picture(), "JPEG", progressive=True)
    for side in (20_000, 65_500):
        yield _bad("JPEG bomb", resized(baseline, side), Reason.TOO_LARGE)
        yield _bad("JPEG progressive bomb", resized(progressive, side), Reason.TOO_LARGE)
    yield _bad("JPEG segment bomb", baseline[:2] + b"\xff\xe5\0\2" * 100_001 + baseline[2:], Reason.TOO_LARGE)
    yield _bad("JPEG scan bomb", scan_bomb(8000, 1000), Reason.TOO_LARGE)
    webp = bytearray(encoded(picture("RGBA"), "WEBP", lossless=True, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0"))
    webp[24:30] = (16_382).to_bytes(3, "little") * 2  # the canvas size in the extended header
    yield _bad("WEBP bomb", bytes(webp), Reason.TOO_LARGE, Reason.UNREADABLE, Reason.UNSUPPORTED)


def _odd_but_good() -> Iterator[Hostile]:
    jpeg, png_ = encoded(picture(), "JPEG"), encoded(picture(), "PNG")
    yield _good("JPEG, plain", jpeg)
    yield _good("JPEG followed by a zip", jpeg + b"PK\x03\x04" + bytes(100))
    yield _good("JPEG with a script in its comment", encoded(picture(), "JPEG", comment=b"<script>alert(1)</script>"))
    for number, exif in enumerate(
        (b"", b"MM", b"MM\0*\0\0\0\x08\xff\xff", b"II*\0\xff\xff\xff\xff", bytes(60_000), b"\xff" * 999)
    ):
        for kind in ("JPEG", "PNG", "WEBP"):
            yield _good(f"{kind} with damaged EXIF {number}", encoded(picture(), kind, exif=b"Exif\0\0" + exif))
    yield _good("JPEG with a profile", encoded(picture(), "JPEG", icc_profile=b"no profile" * 30_000))
    yield _good("PNG with unknown chunks", png_[:33] + chunk(b"abCd", b"x" * 1000) * 50 + png_[33:])
    yield _good("PNG with text", png_[:33] + chunk(b"tEXt", b"Comment\0" + b"\xff" * 100) + png_[33:])


def png(width: int, height: int, extra: bytes = b"") -> bytes:
    """Return a one-bit PNG that declares this canvas and contains at most 100,000 bytes of pixels."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    rows = zlib.compress(bytes(min((width // 8 + 1) * height, 100_000)), 9)
    return b"\x89PNG\r\n\x1a\n" + head + extra + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def chunk(kind: bytes, data: bytes) -> bytes:
    """Return a PNG chunk."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def resized(jpeg: bytes, side: int) -> bytes:
    """Return a JPEG whose header declares a larger size than the image has."""
    at = max(jpeg.find(b"\xff\xc0"), jpeg.find(b"\xff\xc2")) + 5
    return jpeg[:at] + struct.pack(">HH", side, side) + jpeg[at + 4 :]


def scan_bomb(side: int, scans: int) -> bytes:
    """Return a progressive JPEG of many scans, each of which takes about a hundred bytes and changes no block."""

    def segment(marker: int, data: bytes) -> bytes:
        return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data

    def packed(bits: str) -> bytes:
        bits += "1" * (-len(bits) % 8)
        return int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")

    def table(kind: int, symbol: int) -> bytes:  # one symbol, coded as the bit 0
        return segment(0xC4, bytes([kind, 1, *[0] * 15, symbol]))

    frame = segment(0xC2, struct.pack(">BHHB", 8, side, side, 3) + b"\1\x22\0\2\x11\0\3\x11\0")
    head = b"\xff\xd8" + segment(0xDB, bytes([0, *[1] * 64])) + frame + table(0x00, 0) + table(0x10, 0xE0)
    first = segment(0xDA, b"\3\1\0\2\0\3\0\0\0\0") + bytes((side // 16 + 1) ** 2 * 6 // 8 + 1)
    run = "0" + "1" * 14  # ends 32,767 blocks at once
    other = segment(0xDA, b"\1\1\0\1\5\0") + packed(run * ((side // 8) ** 2 // 32_767 + 1))
    return head + first + other * (scans - 1) + b"\xff\xd9"
