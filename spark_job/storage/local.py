"""A local folder as a store."""

import contextlib
import fcntl
import io
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING

import pyarrow as pa

from spark_job.errors import UserError
from spark_job.storage.base import Removed, Stored, accept_any, listings

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

_EPOCH = datetime.fromtimestamp(0, UTC)
_MICROSECONDS = [int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) * 10**6 for year in (1900, 2262)]
_COPIED_BYTES = 2**20
_ODD_BYTE = re.compile(r"\\x([89a-f][0-9a-f])")


class LocalStore:
    """A local folder."""

    def __init__(self, path: str) -> None:
        try:
            self._root = Path(path).resolve()
        except FileNotFoundError:
            raise UserError(f"{path} is in the working folder, which is gone. Give an absolute path.") from None
        except (OSError, RuntimeError) as error:  # RuntimeError: a link leads to itself
            raise UserError(f"{path} cannot be used: {error}. Give another path.") from None
        self.uri = str(self._root)

    def folders(self, below: str = "") -> list[str]:
        """Return the names of the folders directly below."""
        with os.scandir(self._root / below) as entries:
            return sorted(_printable(entry.name) for entry in entries if _is_folder(entry))

    def listing(self, folder: str | None) -> Iterator[pa.RecordBatch]:
        r"""Yield listings. Symbolic links are followed once; a broken link is listed as an object.

        A byte of a name that is not valid UTF-8 is listed as ``\xff``. Such a path can be read.
        """
        return listings(self._walk(self._at(folder or ""), deep=folder is not None, above=()))

    def parts(self, count: int) -> list[str | None]:  # noqa: ARG002 - a folder is not split
        """Return the folders, and None for the files that are in no folder."""
        return [None, *self.folders()]

    def list_part(self, part: str | None) -> Iterator[pa.RecordBatch]:
        """Yield the listings of one part."""
        return self.listing(part)

    def _walk(self, folder: Path, deep: bool, above: tuple[Path, ...]) -> Iterator[tuple[str, int, datetime]]:
        real = folder.resolve()
        if real in above:
            return
        try:
            with os.scandir(folder) as entries:
                ordered = sorted(entries, key=lambda entry: entry.name)
        except FileNotFoundError:  # another process removed it
            return
        except PermissionError:  # its photos would be lost silently
            raise UserError(f"The folder {folder} may not be listed. Allow it, or give an input without it.") from None
        for entry in ordered:
            if not _is_folder(entry):
                with contextlib.suppress(FileNotFoundError):
                    status = _status(entry)
                    yield _printable(os.path.relpath(entry.path, self._root)), status.st_size, _time(status)
            elif deep:
                yield from self._walk(Path(entry.path), deep, (*above, real))

    def _at(self, path: str) -> Path:
        """Return the path of a listed object in the file system."""
        literal = self._root / path
        if "\\x" not in path or literal.is_symlink() or literal.exists():
            return literal
        return self._root / _ODD_BYTE.sub(lambda byte: chr(0xDC00 + int(byte[1], 16)), path)

    def read(self, path: str, accept: Callable[[int], None] = accept_any) -> Stored:
        """Return the content of a file."""
        with self._opened(path) as (file, status):
            accept(status.st_size)
            return Stored(file.read(), _time(status), _version(status), status.st_size)

    def read_range(self, path: str, start: int, stop: int, version: str | None = None) -> Stored:
        """Return a part of a file. Its version is its time and its size."""
        with self._opened(path) as (file, status):
            if version not in (None, _version(status)):
                raise FileExistsError(f"{path} has changed")
            file.seek(start)
            return Stored(file.read(stop - start), _time(status), _version(status), status.st_size)

    @contextlib.contextmanager
    def _opened(self, path: str) -> Iterator[tuple[IO[bytes], os.stat_result]]:
        # Without O_NONBLOCK, opening a named pipe would wait for a writer.
        with os.fdopen(os.open(self._at(path), os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise OSError(f"{path} is not a regular file")
            yield file, status

    def arrow(self) -> "tuple[FileSystem, str]":
        """Return Arrow's local file system."""
        from pyarrow.fs import LocalFileSystem

        return LocalFileSystem(), str(self._root)

    def write(self, path: str, data: bytes) -> None:
        """Write a file under another name, then rename it."""
        self.upload(path, io.BytesIO(data), replace=True)

    def create(self, path: str, data: bytes) -> None:
        """Write a file under another name, then give it its own name unless it is taken."""
        self.upload(path, io.BytesIO(data))

    def upload(self, path: str, file: IO[bytes], *, replace: bool = False) -> None:
        """Copy a file under another name, then give the copy its own name."""
        target = self._root / path
        file.seek(0)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            handle, draft = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
            try:
                with os.fdopen(handle, "wb") as copy:
                    shutil.copyfileobj(file, copy, _COPIED_BYTES)
                Path(draft).chmod(0o644)
                Path(draft).replace(target) if replace else _link(draft, target)
            finally:
                Path(draft).unlink(missing_ok=True)
        except OSError as error:  # that of a full disk does not name the file
            raise OSError(error.errno, error.strerror, str(target)) from None

    def replace(self, path: str, data: bytes, seen: Stored) -> None:
        """Replace a file under a lock, if its content is still the one that was read."""
        with (self._root / f".{path}.lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # the system releases the lock if this process dies
            if self.read(path).data != seen.data:
                raise FileExistsError(f"{path} has changed")
            self.write(path, data)

    def delete(self, path: str) -> None:
        """Remove a file."""
        (self._root / path).unlink()

    def remove(self, folder: str) -> Removed:
        """Remove a folder, but not the targets of its symbolic links."""
        files = [Path(place) / name for place, _, names in os.walk(self._root / folder) for name in names]
        removed = Removed(len(files), sum(file.lstat().st_size for file in files))
        shutil.rmtree(self._root / folder)
        return removed


def _link(draft: str, target: Path) -> None:
    """Give a file its name. A link never replaces a file."""
    try:
        os.link(draft, target)
    except FileExistsError:
        raise
    except OSError:  # exFAT and some network folders have no links, but can take a name once
        target.touch(exist_ok=False)
        Path(draft).replace(target)


def _time(stat: os.stat_result) -> datetime:
    """Return the modification time, to the microsecond, which is Parquet's precision.

    File systems can store times that Spark (before 1900), pandas (after 2262) or Python (after 9999) cannot read. They
    count as the nearest time that all of them can.
    """
    earliest, latest = _MICROSECONDS
    return _EPOCH + timedelta(microseconds=min(max(stat.st_mtime_ns // 1000, earliest), latest))


def _version(status: os.stat_result) -> str:
    return f"{status.st_mtime_ns}-{status.st_size}"


def _printable(path: str) -> str:
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a symbolic link that leads to itself
        return False


def _status(entry: os.DirEntry[str]) -> os.stat_result:
    """Return the status of a file, or of a link that leads nowhere."""
    try:
        return entry.stat()
    except OSError:
        return entry.stat(follow_symlinks=False)
