"""Photos in zip files: where they are, and how to read them without reading the whole archive.

A zip has a directory at its end. It says where each member begins and how it is compressed, so one or two requests find
all photos of an archive, and one request reads many photos that lie next to each other. Python's ``zipfile`` reads the
directory, decompresses, and checks each photo; it gets a part of the archive in memory.
"""

import functools
import io
import re
import threading
import zipfile
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple
from zipfile import ZipFile, ZipInfo

import pyarrow as pa

from spark_job.names import ARCHIVE_SUFFIX
from spark_job.network.images import check_size
from spark_job.rejection import Reason, RejectedPhotoError, rejection
from spark_job.storage.base import Store, Stored, accept_any
from spark_job.tables import PLACED_SCHEMA

FOUND_SCHEMA = pa.schema([field for field in PLACED_SCHEMA if field.name != "label"])
"""A file in an archive; its CRC is null if the row is for the archive itself."""

_GUESS_BYTES = (2**18, 2**22)
_SHARE_OF_DIRECTORY = 32  # a directory of small photos takes 2 % of an archive
_MAX_DIRECTORY_BYTES = 2**25
_HEADER_BYTES = 30 + 2 * 0xFFFF  # a fixed part, a name and an extra field
_FIXED_HEADER_BYTES = 30
_BYTES_TOGETHER = 2**22
_MAX_GAP = 2**20  # takes less time to read than another request
_MAX_RATIO = 100
_LARGE = 2**20
_ENCRYPTED = 0x1
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # zipfile cannot limit what the others expand to
_BATCH_ROWS = 2_000
_OPEN_DIRECTORIES = 4
_INT64 = 2**63 - 1
_END_OF_ARCHIVE = re.compile(rf"(?i)(?<={re.escape(ARCHIVE_SUFFIX)})/")
_ARCHIVE_IN_URI = re.compile(rf"(?i)(?<![^/])(?<!//)[^/]+{re.escape(ARCHIVE_SUFFIX)}/")  # a bucket is no archive

# An empty zip. After any bytes, it makes them a zip without a directory, and zeros keep hostile bytes out of its end.
_EMPTY_ZIP = bytes(64) + b"PK\5\6" + bytes(18)


class Member(NamedTuple):
    """Where a photo is in an archive, and what it must be.

    Attributes
    ----------
    archive, version
        The path of the archive, and the version whose directory was read.
    offset, end
        The bytes of the archive that hold the member; some at the end may be others'.
    compressed, method
        Its size in the archive, and the number of the compression method.
    size, crc
        The size and the CRC-32 of its content.
    """

    archive: str
    version: str | None
    offset: int
    end: int
    compressed: int
    method: int
    size: int
    crc: int


class Entry(NamedTuple):
    """A file in an archive: its name, where it is, and the reason if it cannot be used."""

    name: str
    member: Member
    refused: RejectedPhotoError | None


class Directory:
    """The directory of an archive.

    Parameters
    ----------
    store, path
        Where the archive is.
    size
        Its size in bytes.

    Raises
    ------
    RejectedPhotoError
        If the archive cannot be used. No archive raises another exception.
    """

    def __init__(self, store: Store, path: str, size: int) -> None:
        self._path = path
        try:
            self._zip, self._start, self._version = _open(store, path, size)
        except OSError as error:
            raise rejection(error) from None
        before = [self._start + info.header_offset for info in self._zip.infolist()]
        self._starts = sorted({*before, self._start + self._zip.start_dir})

    def entries(self) -> Iterator[Entry]:
        """Yield all entries in the order of their bytes in the archive."""
        return map(self._entry, sorted(self._zip.infolist(), key=lambda info: info.header_offset))

    def find(self, name: str) -> Entry:
        """Return the entry of a name; raise FileNotFoundError if there is none."""
        try:
            return self._entry(self._zip.getinfo(name))
        except KeyError:
            raise FileNotFoundError(f"{self._path} has no {name}") from None

    def _entry(self, info: ZipInfo) -> Entry:
        offset = self._start + info.header_offset
        following = bisect_right(self._starts, offset)
        limit = self._starts[following] if following < len(self._starts) else offset
        end = min(limit, offset + _HEADER_BYTES + info.compress_size)
        member = Member(
            *(self._path, self._version, offset, end),
            *(info.compress_size, info.compress_type, info.file_size, info.CRC),
        )
        return Entry(info.orig_filename, member, next(self._problems(info, member), None))

    def _problems(self, info: ZipInfo, member: Member) -> Iterator[RejectedPhotoError]:
        name, problem = info.orig_filename, RejectedPhotoError
        if "\\" in name or "\0" in name or {"", ".", ".."} & {*name.split("/")[:-1]}:
            yield problem(Reason.BAD_NAME, f"{name!r} is not a plain path with slashes; rename it")
        if self._zip.getinfo(info.filename) is not info:
            yield problem(Reason.BAD_NAME, "the archive has several files of this name, and the last one is used")
        if info.flag_bits & _ENCRYPTED:
            yield problem(Reason.ENCRYPTED, "it is encrypted; store it without a password")
        if info.compress_type not in _METHODS:
            yield problem(
                Reason.UNSUPPORTED, f"its compression method is number {info.compress_type}; store or deflate it"
            )
        if member.offset < 0 or member.end - member.offset < _FIXED_HEADER_BYTES + member.compressed:
            yield problem(Reason.DAMAGED, "it overlaps another file of the archive, or lies outside of it")
        if member.size > max(_LARGE, _MAX_RATIO * member.compressed):
            yield problem(Reason.TOO_LARGE, f"{member.compressed:,} bytes expand to {member.size:,}")
        try:
            check_size(member.size)
            check_size(max(member.size, member.compressed))
        except RejectedPhotoError as error:
            yield error


def _open(store: Store, path: str, size: int) -> tuple[ZipFile, int, str | None]:
    """Read an archive's end. Return it as a zip, where it begins in the archive, and the archive's version.

    If its first bytes are missing, ``zipfile`` takes all offsets relative to what is there, so they are too small, or
    negative, by the number of missing bytes.
    """
    check_size(min(size, 1))
    version = None
    guess = min(max(_GUESS_BYTES[0], size // _SHARE_OF_DIRECTORY), _GUESS_BYTES[1])
    for length in (guess, _MAX_DIRECTORY_BYTES):
        start = max(0, size - length)
        stored = store.read_range(path, start, size, version)
        version = stored.version
        try:
            return ZipFile(io.BytesIO(stored.data)), start, version
        except Exception as error:  # zipfile raises many types: BadZipFile, struct.error, UnicodeDecodeError, ...
            problem = str(error) or type(error).__name__
            if start == 0:
                break
    raise RejectedPhotoError(
        Reason.DAMAGED,
        f"the archive has no directory of at most {_MAX_DIRECTORY_BYTES >> 20} MiB at its end: {problem}",
    )


def found(store: Store, archives: Iterable[dict[str, object]]) -> Iterator[pa.RecordBatch]:
    """Yield all files in archives (FOUND_SCHEMA), or an archive itself with the reason why it cannot be used.

    Parameters
    ----------
    store
        The input.
    archives
        Rows of a listing.
    """
    for archive in archives:
        path = str(archive["path"])
        try:
            directory = Directory(store, path, int(archive["size"]))  # type: ignore[call-overload]  # it is an int
        except RejectedPhotoError as error:
            yield pa.RecordBatch.from_pylist([archive | {"refused": _row(error)}], FOUND_SCHEMA)
            continue
        entries = directory.entries()
        while rows := [_found(path, entry) for entry in islice(entries, _BATCH_ROWS)]:
            yield pa.RecordBatch.from_pylist(rows, FOUND_SCHEMA)


def _found(archive: str, entry: Entry) -> dict[str, object]:
    return {
        "path": f"{archive}/{entry.name}",
        "size": min(entry.member.size, _INT64),
        "crc": entry.member.crc,
        "member": None if entry.refused else entry.member._asdict(),
        "refused": _row(entry.refused),
    }


def _row(error: RejectedPhotoError | None) -> dict[str, str] | None:
    return {"reason": str(error.reason), "detail": error.detail} if error else None


def follows(first: Member, last: Member, member: Member) -> bool:
    """Return whether one request should read a member together with those from ``first`` to ``last``."""
    return (
        (member.archive, member.version) == (first.archive, first.version)
        and last.offset <= member.offset <= last.end + _MAX_GAP
        and member.end - first.offset <= _BYTES_TOGETHER
    )


class Part:
    """A part of an archive in memory, which holds whole members.

    Parameters
    ----------
    store
        The input.
    members
        Members of one archive, in the order of their offsets.

    Raises
    ------
    OSError
        An error of the store; FileExistsError if the archive has changed since its directory was read.
    """

    def __init__(self, store: Store, members: Sequence[Member]) -> None:
        self._start = members[0].offset
        stop = max(member.end for member in members)
        stored = store.read_range(members[0].archive, self._start, stop, members[0].version)
        self.modified, self.version, self.retries = stored.modified, stored.version, stored.retries
        self._zip = ZipFile(io.BytesIO(stored.data + _EMPTY_ZIP))

    def content(self, path: str, member: Member) -> bytes:
        """Return the bytes of a photo; raise RejectedPhotoError if they are not those that the directory describes."""
        info = ZipInfo(path.removeprefix(f"{member.archive}/"))
        info.header_offset = member.offset - self._start
        info.compress_size, info.compress_type = member.compressed, member.method
        info.file_size, info.CRC = member.size, member.crc
        try:
            with self._zip.open(info) as file:
                data = file.read(member.size)  # without a size, it would expand everything
        except Exception as error:  # zipfile and zlib raise many types: BadZipFile, EOFError, zlib.error, ...
            raise RejectedPhotoError(Reason.DAMAGED, str(error) or type(error).__name__) from None
        if len(data) != member.size:
            raise RejectedPhotoError(Reason.DAMAGED, f"{len(data):,} bytes instead of {member.size:,}")
        return data


def start_of_path(uri: str) -> int:
    """Return where the path of a photo begins in its address: with an archive if it is in one, or with its name."""
    place = _ARCHIVE_IN_URI.search(uri)
    return place.start() if place else uri.rfind("/") + 1


def file_of(path: str) -> str:
    """Return the path of the file that holds a photo: an archive, or the photo itself."""
    return _END_OF_ARCHIVE.split(path, 1)[0]


class Photos:
    """The photos of an input by their paths, whether they are files or members of archives.

    Parameters
    ----------
    store
        The input.
    """

    def __init__(self, store: Store) -> None:
        self.uri, self._store = store.uri, store
        self._lock = threading.Lock()
        self._directory = functools.lru_cache(_OPEN_DIRECTORIES)(self._open)

    def read(self, path: str, accept: Callable[[int], None] = accept_any) -> Stored:
        """Return a photo, as :meth:`spark_job.storage.base.Store.read` does.

        Raises
        ------
        RejectedPhotoError
            If the photo is in an archive and cannot be used.
        """
        for slash in _END_OF_ARCHIVE.finditer(path):
            try:
                with self._lock:  # the first of several threads reads the directory
                    directory = self._directory(path[: slash.start()])
            except OSError:  # a folder may have the name of an archive
                continue
            return self._member(path, directory.find(path[slash.end() :]), accept)
        return self._store.read(path, accept)

    def _open(self, archive: str) -> Directory:
        return Directory(self._store, archive, self._store.read_range(archive, 0, 1).size)

    def _member(self, path: str, entry: Entry, accept: Callable[[int], None]) -> Stored:
        if entry.refused:
            raise entry.refused
        accept(entry.member.size)
        part = Part(self._store, [entry.member])
        return Stored(part.content(path, entry.member), part.modified, part.version, entry.member.size, part.retries)
