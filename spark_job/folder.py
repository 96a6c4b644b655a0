"""Objects in a local folder."""

import contextlib
import fcntl
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa

from spark_job.objects import Removed, Stored, accept_any, listings

_EPOCH = datetime.fromtimestamp(0, UTC)
_ODD_BYTE = re.compile(r"\\x([89a-f][0-9a-f])")


class Folder:
    """A local folder."""

    def __init__(self, path: str) -> None:
        self._root = Path(path).resolve()
        self.uri = str(self._root)
        self.hadoop_uri = f"file://{self.uri}"

    def folders(self, below: str = "") -> list[str]:
        """Return the names of the folders directly below."""
        with os.scandir(self._root / below) as entries:
            return sorted(_shown(entry.name) for entry in entries if _is_folder(entry))

    def listing(self, folder: str | None) -> Iterator[pa.RecordBatch]:
        r"""Return listings; links are followed, but never around a loop, and a broken link is listed as an object.

        A byte of a name that is not UTF-8 is listed as ``\xff``, and such a path can be read.
        """
        return listings(self._walk(self._at(folder or ""), deep=folder is not None, above=()))

    def _walk(self, folder: Path, deep: bool, above: tuple[Path, ...]) -> Iterator[tuple[str, int, datetime]]:
        real = folder.resolve()
        if real in above:
            return
        try:
            with os.scandir(folder) as entries:
                ordered = sorted(entries, key=lambda entry: entry.name)
        except FileNotFoundError:  # gone since it was seen
            return
        for entry in ordered:
            if not _is_folder(entry):
                with contextlib.suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=_leads_somewhere(entry))
                    yield _shown(os.path.relpath(entry.path, self._root)), status.st_size, _time(status)
            elif deep:
                yield from self._walk(Path(entry.path), deep, (*above, real))

    def _at(self, path: str) -> Path:
        """Return where the object of a listing lies."""
        literal = self._root / path
        if "\\x" not in path or literal.is_symlink() or literal.exists():
            return literal
        return self._root / _ODD_BYTE.sub(lambda byte: chr(0xDC00 + int(byte[1], 16)), path)

    def read(self, path: str, accept: Callable[[int], None] = accept_any) -> Stored:
        """Return a file's bytes."""
        # A pipe with an image's name would hold whoever opens it until somebody writes.
        with os.fdopen(os.open(self._at(path), os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise OSError(f"{path} is no regular file")
            accept(status.st_size)
            return Stored(file.read(), _time(status))

    def write(self, path: str, data: bytes) -> None:
        """Write a file under another name and rename it, so that it appears whole."""
        self._place(path, data, os.replace)

    def create(self, path: str, data: bytes) -> None:
        """Write a file under another name and link it to its own, which fails where it exists."""
        self._place(path, data, os.link)

    def replace(self, path: str, data: bytes, seen: Stored) -> None:
        """Write a file while nobody else does, if it is still the one that was read."""
        with (self._root / f".{path}.lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # the system lets go of it if this process dies
            if self.read(path).data != seen.data:
                raise FileExistsError(f"{path} has changed")
            self.write(path, data)

    def delete(self, path: str) -> None:
        """Remove a file."""
        (self._root / path).unlink()

    def remove(self, folder: str) -> Removed:
        """Remove a folder; what a link leads to is left alone."""
        files = [Path(place) / name for place, _, names in os.walk(self._root / folder) for name in names]
        removed = Removed(len(files), sum(file.lstat().st_size for file in files))
        shutil.rmtree(self._root / folder)
        return removed

    def _place(self, path: str, data: bytes, place: Callable[[str, Path], None]) -> None:
        target = self._root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            Path(draft).chmod(0o644)
            place(draft, target)
        finally:
            Path(draft).unlink(missing_ok=True)


def _time(stat: os.stat_result) -> datetime:
    """Return when a file was modified, to the microsecond, as Parquet keeps it."""
    return _EPOCH + timedelta(microseconds=stat.st_mtime_ns // 1000)


def _shown(path: str) -> str:
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads around in a circle
        return False


def _leads_somewhere(entry: os.DirEntry[str]) -> bool:
    with contextlib.suppress(OSError):
        entry.stat()
        return True
    return False
