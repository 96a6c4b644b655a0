"""One way to list, read and write objects, in a local folder or under an S3 prefix."""

import contextlib
import functools
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from spark_job.errors import UserError

LISTING = pa.schema([("path", pa.string()), ("size", pa.int64()), ("modified", pa.timestamp("us", tz="UTC"))])
"""Columns of a listing: path relative to the store, bytes, time of last modification."""

_LISTING_ROWS = 10_000
_EPOCH = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True)
class Stored:
    """The bytes of an object, with the modification time of exactly these bytes."""

    data: bytes
    modified: datetime


class Store(Protocol):
    """A folder or an S3 prefix; paths are relative to it, with ``/`` between their parts.

    Reads raise FileNotFoundError, PermissionError or another OSError, whatever the store is. ``uri`` is for people and
    :func:`open_store`, ``hadoop_uri`` for Spark's own readers and writers.
    """

    uri: str
    hadoop_uri: str

    def folders(self) -> list[str]:
        """Return the names of the folders directly below."""

    def listing(self, folder: str | None) -> Iterator[pa.RecordBatch]:
        """Yield what is below a folder at any depth, or, for None, the objects that are in no folder."""

    def read(self, path: str) -> Stored:
        """Return an object's bytes."""

    def write(self, path: str, data: bytes) -> None:
        """Write an object whole, replacing it: a reader sees the old bytes or the new ones, never a part."""

    def create(self, path: str, data: bytes) -> None:
        """Write an object that must not exist yet; FileExistsError where it does, however close the race."""


@functools.lru_cache(maxsize=8)
def open_store(uri: str) -> Store:
    """Return the store at a local path or at ``s3://bucket/prefix``; nothing is read yet.

    Raises
    ------
    UserError
        If the URI names another kind of place.
    """
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return Folder(uri)
    if scheme != "s3":
        raise UserError(f"{uri} is neither a local folder nor s3://bucket/prefix; give one of these.")
    bucket, _, prefix = rest.partition("/")
    if not bucket:
        raise UserError(f"{uri} names no bucket; give s3://bucket/prefix.")
    return Bucket(bucket, prefix.strip("/"))


class Folder:
    """A local folder."""

    def __init__(self, path: str) -> None:
        self._root = Path(path).resolve()
        self.uri = str(self._root)
        self.hadoop_uri = f"file://{self.uri}"

    def folders(self) -> list[str]:
        """Return the names of the folders directly below."""
        with os.scandir(self._root) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir())

    def listing(self, folder: str | None) -> Iterator[pa.RecordBatch]:
        """Yield listings; links are followed, but never around a loop, and a broken link is listed as an object."""
        found = self._walk(self._root / (folder or ""), deep=folder is not None, above=())
        while rows := list(islice(found, _LISTING_ROWS)):
            yield _batch(rows)

    def _walk(self, folder: Path, deep: bool, above: tuple[Path, ...]) -> Iterator[tuple[str, int, datetime]]:
        real = folder.resolve()
        if real in above:
            return
        with os.scandir(folder) as entries:
            ordered = sorted(entries, key=lambda entry: entry.name)
        for entry in ordered:
            if not entry.is_dir():
                stat = entry.stat(follow_symlinks=_leads_somewhere(entry))
                yield os.path.relpath(entry.path, self._root), stat.st_size, _time(stat)
            elif deep:
                yield from self._walk(Path(entry.path), deep, (*above, real))

    def read(self, path: str) -> Stored:
        """Return a file's bytes."""
        with (self._root / path).open("rb") as file:
            return Stored(file.read(), _time(os.fstat(file.fileno())))

    def write(self, path: str, data: bytes) -> None:
        """Write a file under another name and rename it, so that it appears whole."""
        self._place(path, data, os.replace)

    def create(self, path: str, data: bytes) -> None:
        """Write a file under another name and link it to its own, which fails where it exists."""
        self._place(path, data, os.link)

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


def _leads_somewhere(entry: os.DirEntry[str]) -> bool:
    with contextlib.suppress(OSError):
        entry.stat()
        return True
    return False


class Bucket:
    """A prefix in an S3 bucket, with the credentials and the region of the environment."""

    def __init__(self, bucket: str, prefix: str) -> None:
        from obstore.store import S3Store

        self.uri = f"s3://{bucket}/{prefix}".rstrip("/")
        self.hadoop_uri = self.uri
        self._store = S3Store(bucket, prefix=prefix or None, **_session())

    def folders(self) -> list[str]:
        """Return the common prefixes directly below."""
        import obstore

        with _plain_errors(self.uri):
            return sorted(obstore.list_with_delimiter(self._store)["common_prefixes"])

    def listing(self, folder: str | None) -> Iterator[pa.RecordBatch]:
        """Yield listings."""
        import obstore

        with _plain_errors(self.uri):
            if folder is None:
                chunks = iter([obstore.list_with_delimiter(self._store)["objects"]])
            else:
                chunks = obstore.list(self._store, prefix=folder, chunk_size=_LISTING_ROWS)
            for chunk in chunks:
                # Whole seconds: a GET's Last-Modified header, which reuse compares with, has no more.
                rows = [(meta["path"], meta["size"], meta["last_modified"].replace(microsecond=0)) for meta in chunk]
                yield _batch(rows)

    def read(self, path: str) -> Stored:
        """Return an object's bytes."""
        import obstore

        with _plain_errors(f"{self.uri}/{path}"):
            answer = obstore.get(self._store, path)
            return Stored(answer.bytes().to_bytes(), answer.meta["last_modified"].replace(microsecond=0))

    def write(self, path: str, data: bytes) -> None:
        """Put an object."""
        import obstore

        with _plain_errors(f"{self.uri}/{path}"):
            obstore.put(self._store, path, data)

    def create(self, path: str, data: bytes) -> None:
        """Put an object on the condition that there is none (``If-None-Match: *``)."""
        import obstore

        with _plain_errors(f"{self.uri}/{path}"):
            obstore.put(self._store, path, data, mode="create")


def _batch(rows: Sequence[tuple[str, int, datetime]]) -> pa.RecordBatch:
    columns = zip(*rows, strict=True) if rows else ((), (), ())
    arrays = [pa.array(column, field.type) for column, field in zip(columns, LISTING, strict=True)]
    return pa.record_batch(arrays, schema=LISTING)


def _session() -> dict[str, Any]:
    """Return boto3's credentials where it is installed: it knows profiles and single sign-on, obstore does not."""
    try:
        import boto3
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError:
        return {}
    session = boto3.Session()
    if session.get_credentials() is None:
        return {}
    return {"credential_provider": Boto3CredentialProvider(session)}


@contextlib.contextmanager
def _plain_errors(uri: str) -> Iterator[None]:
    """Turn obstore's errors into Python's own, without the many lines of their debug output."""
    from obstore import exceptions

    try:
        yield
    except (FileNotFoundError, exceptions.NotFoundError) as error:
        raise FileNotFoundError(f"{uri} does not exist") from error
    except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
        raise PermissionError(f"access to {uri} is denied") from error
    except exceptions.AlreadyExistsError as error:
        raise FileExistsError(f"{uri} exists already") from error
    except exceptions.BaseError as error:
        said = str(error).splitlines()[0]
        if "404 Not Found" in said:  # what a listing says of a bucket that does not exist
            raise FileNotFoundError(f"{uri} does not exist") from error
        if "403 Forbidden" in said:
            raise PermissionError(f"access to {uri} is denied") from error
        raise OSError(f"{uri}: {said}") from error
