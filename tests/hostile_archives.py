"""Zip files like those that the public uploads: good, odd, broken and hostile. All are made here."""

import io
import stat
import struct
import zipfile
from collections.abc import Iterator
from typing import NamedTuple
from unittest import mock
from zipfile import ZIP_BZIP2, ZIP_DEFLATED, ZIP_LZMA, ZIP_STORED, ZipFile, ZipInfo

from spark_job.rejection import Reason
from tests.hostile import encoded, picture

PHOTO = encoded(picture(), "JPEG")
OTHER = encoded(picture(seed=2), "JPEG")
_LOCAL, _CENTRAL, _END = b"PK\3\4", b"PK\1\2", b"PK\5\6"
_METHOD_IN_LOCAL, _METHOD_IN_CENTRAL = 8, 10
_CRC_IN_CENTRAL, _COMPRESSED_IN_CENTRAL, _SIZE_IN_CENTRAL = 16, 20, 24
_OFFSET_IN_CENTRAL, _FLAGS_IN_CENTRAL = 42, 8
_SIZE_IN_END, _OFFSET_IN_END = 12, 16

Outcomes = dict[str, Reason | None]


class HostileArchive(NamedTuple):
    """An archive: its kind, its bytes, and the outcome of each of its photos (None: it is read).

    The empty name is the archive itself. ``left_out`` has the ending of each file that is left out.
    """

    kind: str
    data: bytes
    outcomes: Outcomes
    left_out: tuple[str, ...] = ()


def corpus() -> Iterator[HostileArchive]:
    """Yield the archives, which are the same every time."""
    yield from _good()
    yield from _names()
    yield from _damaged()
    yield from _lies()
    yield from _bombs()
    yield from _nested()


def written(files: dict[str, bytes], method: int = ZIP_STORED, comment: bytes = b"") -> bytes:
    """Return a zip with these files."""
    out = io.BytesIO()
    with ZipFile(out, "w", method) as archive:
        archive.comment = comment
        for name, data in files.items():
            archive.writestr(ZipInfo(name), data, method)
    return out.getvalue()


_TWO = {"Apple/1.jpg": PHOTO, "Pear/2.jpg": OTHER}
_READ: Outcomes = dict.fromkeys(_TWO)
_DAMAGED: Outcomes = {"": Reason.DAMAGED}


def _good() -> Iterator[HostileArchive]:
    yield HostileArchive("stored", written(_TWO), _READ)
    yield HostileArchive("deflated", written(_TWO, ZIP_DEFLATED), _READ)
    yield HostileArchive("with a comment", written(_TWO, comment=b"x" * 65_535), _READ)
    yield HostileArchive("after other bytes", b"#!/bin/sh\n" + bytes(5_000) + written(_TWO), _READ)
    yield HostileArchive("without files", written({}), {})
    yield HostileArchive("without photos", written({"notes.txt": b"x"}), {})
    yield HostileArchive("photo without a folder", written({"1.jpg": PHOTO}), {"1.jpg": None})
    yield HostileArchive("zip64", _zip64(), _READ)
    yield HostileArchive("streamed", _streamed(), _READ)
    yield HostileArchive("many entries", written({f"a/{number}.txt": b"" for number in range(3_000)} | _TWO), _READ)


def _names() -> Iterator[HostileArchive]:
    bad = ["../up.jpg", "/root.jpg", "a/../b.jpg", "./dot.jpg", "a//b.jpg", "Apple\\1.jpg", "C:\\x\\1.jpg"]
    for name in bad:
        yield HostileArchive(f"named {name}", written({name: PHOTO} | _TWO), {**_READ, name: Reason.BAD_NAME})
    zero = written({"Apple/1_.jpg": PHOTO, "Pear/2.jpg": OTHER}).replace(b"1_.jpg", b"1\0.jpg")
    yield HostileArchive("named with a zero", zero, {"Apple/1\0.jpg": Reason.BAD_NAME, "Pear/2.jpg": None})
    odd = ["Äpfel/ö.jpg", "果物/🍐.jpg", "a\nb/c\t.jpg", "x.zip/1.jpg", "a/" * 100 + "1.JPG", "#%41 +'q/1.jpg"]
    for name in odd:
        yield HostileArchive("named oddly", written({name: PHOTO} | _TWO), {**_READ, name: None})
    mixed = written({"Apfel_/1.jpg": PHOTO, "Äpfel/2.jpg": OTHER}).replace(b"Apfel_/", b"\x8epfel_/")
    yield HostileArchive("cp437 and UTF-8", mixed, {"Äpfel_/1.jpg": None, "Äpfel/2.jpg": None})
    invalid = written({"Äpfel/1.jpg": PHOTO}).replace("Äpfel".encode(), b"\xff\xff\xff\xff\xff\xff")
    yield HostileArchive("UTF-8 that is none", invalid, _DAMAGED)
    hidden = {"__MACOSX/Apple/._1.jpg": b"x", ".Trash/2.jpg": PHOTO, "Apple/1.heic": b"x"}
    yield HostileArchive("of a Mac", written(hidden | _TWO), _READ, ("hidden", "hidden", ".heic"))
    link = ZipInfo("Apple/link.jpg")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    out = io.BytesIO(written(_TWO))
    with ZipFile(out, "a") as archive:
        archive.writestr(link, "../../../etc/passwd")
    yield HostileArchive("with a link", out.getvalue(), {**_READ, "Apple/link.jpg": Reason.UNSUPPORTED})


def _damaged() -> Iterator[HostileArchive]:
    data = written(_TWO)
    yield HostileArchive("empty", b"", {"": Reason.EMPTY})
    yield HostileArchive("no zip", PHOTO, _DAMAGED)
    for tenth in (1, 5, 9):
        yield HostileArchive("cut at the end", data[: len(data) * tenth // 10], _DAMAGED)
    yield HostileArchive("cut by one byte", data[:-1], _DAMAGED)
    yield HostileArchive("directory of zeros", data.replace(_CENTRAL, bytes(4)), _DAMAGED)
    second = data.rfind(_CENTRAL)
    yield HostileArchive("second entry of zeros", data[:second] + bytes(4) + data[second + 4 :], _DAMAGED)
    yield HostileArchive("local header of zeros", data.replace(_LOCAL, bytes(4), 1), _first(Reason.DAMAGED))
    yield HostileArchive("other local name", data.replace(b"Apple", b"Grape", 1), _first(Reason.DAMAGED))
    flipped = bytearray(data)
    flipped[len(PHOTO) // 2] ^= 1
    yield HostileArchive("flipped bit", bytes(flipped), _first(Reason.DAMAGED))
    deflated = bytearray(written(_TWO, ZIP_DEFLATED))
    deflated[60:160] = bytes(100)
    yield HostileArchive("zeros in a deflated photo", bytes(deflated), _first(Reason.DAMAGED))
    yield HostileArchive("cut at the front", data[100:], _first(Reason.DAMAGED))
    encrypted = _central(data, _FLAGS_IN_CENTRAL, "<H", 1)
    yield HostileArchive("encrypted", encrypted, _first(Reason.ENCRYPTED))


def _lies() -> Iterator[HostileArchive]:
    data, deflated = written(_TWO), written(_TWO, ZIP_DEFLATED)
    for method in (ZIP_BZIP2, ZIP_LZMA):
        both: Outcomes = dict.fromkeys(_TWO, Reason.UNSUPPORTED)
        yield HostileArchive(f"method {method}", written(_TWO, method), both)
    for method in (1, 93, 99, 0xFFFF):
        changed = _central(data, _METHOD_IN_CENTRAL, "<H", method)
        yield HostileArchive(f"method {method}", changed, _first(Reason.UNSUPPORTED))
    as_deflated = _central(data, _METHOD_IN_CENTRAL, "<H", ZIP_DEFLATED)
    yield HostileArchive("stored as deflated", as_deflated, _first(Reason.DAMAGED))
    yield HostileArchive("CRC", _central(data, _CRC_IN_CENTRAL, "<I", 7), _first(Reason.DAMAGED))
    for base in (data, deflated):
        for size, reason in (
            (_field(base, _SIZE_IN_CENTRAL) - 1, Reason.DAMAGED),
            (_field(base, _SIZE_IN_CENTRAL) + 1, Reason.DAMAGED),
            (0, Reason.EMPTY),
            (2**32 - 2, Reason.TOO_LARGE),
        ):
            yield HostileArchive(f"size {size}", _central(base, _SIZE_IN_CENTRAL, "<I", size), _first(reason))
        for size in (_field(base, _COMPRESSED_IN_CENTRAL) - 1000, 2**32 - 2):
            changed = _central(base, _COMPRESSED_IN_CENTRAL, "<I", size)
            yield HostileArchive(f"compressed size {size}", changed, _first(Reason.DAMAGED))
    for offset in (7, len(data) - 3, 2**31, 2**32 - 2):
        changed = _central(data, _OFFSET_IN_CENTRAL, "<I", offset)
        yield HostileArchive(f"offset {offset}", changed, _first(Reason.DAMAGED))
    end = data.rfind(_END)
    for value in (2**31, 2**32 - 2):
        changed = _patched(data, end + _SIZE_IN_END, "<I", value)
        yield HostileArchive(f"directory of {value} bytes", changed, _DAMAGED)
        changed = _patched(data, end + _OFFSET_IN_END, "<I", value)
        yield HostileArchive(f"directory at {value}", changed, dict.fromkeys(_TWO, Reason.DAMAGED))


def _bombs() -> Iterator[HostileArchive]:
    zeros = bytes(40_000_000)
    bomb = written({"Apple/bomb.jpg": zeros} | _TWO, ZIP_DEFLATED)
    yield HostileArchive("bomb", bomb, {**_READ, "Apple/bomb.jpg": Reason.TOO_LARGE})
    modest = _central(bomb, _SIZE_IN_CENTRAL, "<I", 50_000)
    yield HostileArchive("bomb with a modest size", modest, {**_READ, "Apple/bomb.jpg": Reason.DAMAGED})
    huge = written({"Apple/huge.jpg": bytes(2**26 + 1)} | _TWO, ZIP_STORED)
    yield HostileArchive("too large", huge, {**_READ, "Apple/huge.jpg": Reason.TOO_LARGE})
    names = [f"a/{number}.jpg" for number in range(200)]
    damaged = dict.fromkeys(names[1:], Reason.DAMAGED)
    yield HostileArchive("overlapping", _overlapping(names), {names[0]: None} | damaged)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(ZipInfo("Apple/1.jpg"), OTHER)
        archive.filelist[0].filename = "other"  # so that the same name is no error
        archive.NameToInfo.clear()
        archive.writestr(ZipInfo("Apple/1.jpg"), PHOTO)
        archive.filelist[0].filename = "Apple/1.jpg"
    yield HostileArchive("duplicates", out.getvalue(), {"Apple/1.jpg": None})


def _nested() -> Iterator[HostileArchive]:
    inner = written(_TWO)
    nested = {"inner.zip": inner, "shard.tar": b"x", "more/inner.ZIP": inner}
    yield HostileArchive("archives in an archive", written(nested | _TWO), _READ, (".zip", ".zip", ".tar"))


def _first(reason: Reason) -> Outcomes:
    return {"Apple/1.jpg": reason, "Pear/2.jpg": None}


def _field(data: bytes, place: int) -> int:
    """Return a field of the first entry of the directory."""
    return int.from_bytes(data[data.find(_CENTRAL) + place :][:4], "little")


def _central(data: bytes, place: int, kind: str, value: int) -> bytes:
    """Set a field of the first entry of the directory."""
    return _patched(data, data.find(_CENTRAL) + place, kind, value)


def _patched(data: bytes, at: int, kind: str, value: int) -> bytes:
    patched = bytearray(data)
    struct.pack_into(kind, patched, at, value)
    return bytes(patched)


def _overlapping(names: list[str]) -> bytes:
    """Return a zip whose entries all have the same bytes."""
    out = io.BytesIO()
    with ZipFile(out, "w") as archive:
        archive.writestr(ZipInfo(names[0]), PHOTO)
        first = archive.filelist[0]
        for name in names[1:]:
            other = ZipInfo(name)
            other.header_offset, other.CRC = first.header_offset, first.CRC
            other.file_size, other.compress_size = first.file_size, first.compress_size
            archive.filelist.append(other)
            archive.NameToInfo[name] = other
    return out.getvalue()


def _zip64() -> bytes:
    """Return a zip in which all sizes and offsets are written as if they were too large for 32 bits."""
    with mock.patch.multiple(zipfile, ZIP64_LIMIT=10, ZIP_FILECOUNT_LIMIT=1):
        return written(_TWO)


class _Pipe(io.RawIOBase):
    """A file that cannot be sought, so that ``zipfile`` writes the sizes after the data."""

    def __init__(self) -> None:
        self.data = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: "bytes | bytearray") -> int:  # type: ignore[override]
        self.data += data
        return len(data)


def _streamed() -> bytes:
    pipe = _Pipe()
    with ZipFile(pipe, "w", ZIP_DEFLATED) as archive:
        for name, data in _TWO.items():
            archive.writestr(ZipInfo(name), data, ZIP_DEFLATED)
    return bytes(pipe.data)
