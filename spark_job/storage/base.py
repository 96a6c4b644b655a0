"""The interface of all stores: listings, objects and errors."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import IO, TYPE_CHECKING, Any, Protocol

import pyarrow as pa

from spark_job.errors import UserError

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

LISTING_SCHEMA = pa.schema([("path", pa.string()), ("size", pa.int64()), ("modified", pa.timestamp("us", tz="UTC"))])
"""Columns of a listing: path relative to the store, size in bytes, time of the last modification."""

_LISTING_ROWS = 10_000


class UnavailableError(ConnectionError):
    """The store did not answer, even after ``retries`` more attempts."""

    def __init__(self, sentence: str, retries: int = 0) -> None:
        super().__init__(sentence)
        self.retries = retries


class BadNameError(OSError):
    """The store cannot request an object of this name."""


class ArchivedError(PermissionError):
    """The object is in an archive, and must be restored before it can be read."""


class AccountError(UserError):
    """The storage answers nobody with these credentials, this clock, this region or this bucket, whatever the object.

    No OSError, so that no handler takes it for the fault of one object.
    """


@dataclass(frozen=True)
class Stored:
    """The content of an object.

    Attributes
    ----------
    data
        The bytes.
    modified
        The modification time of exactly these bytes.
    version
        Identifies these bytes among all that were ever stored under the name.
    size
        The size of the whole object.
    retries
        How many attempts failed before the successful one.
    """

    data: bytes
    modified: datetime
    version: str | None
    size: int
    retries: int = 0


@dataclass(frozen=True)
class Removed:
    """The number of removed objects, and their size."""

    objects: int
    bytes: int

    def __str__(self) -> str:
        return f"{self.objects:,} objects, {self.bytes:,} bytes"


def accept_any(size: int) -> None:
    """Accept an object of any size."""


class Store(Protocol):
    """A local folder or an S3 prefix. Paths are relative to it and use ``/``.

    Every store raises the same errors: FileNotFoundError, PermissionError, ArchivedError, UnavailableError (no answer
    after several attempts), BadNameError, another OSError, or AccountError.

    Attributes
    ----------
    uri
        The address of the store, for people and for :func:`spark_job.storage.open_store`.
    """

    uri: str

    def folders(self, below: str = "") -> list[str]:
        """Return the names of the folders directly below the store, or directly below one of its folders."""

    def listing(self, folder: str | None) -> Iterator[pa.RecordBatch]:
        """Yield the objects below a folder, at any depth; for None, those that are in no folder."""

    def parts(self, count: int) -> list[Any]:
        """Divide all objects into parts, which can be listed at the same time, in other processes too.

        If the store can split folders, it returns about ``count`` parts of similar size, or fewer if it is small. An
        object that exists all the time is in exactly one part.
        """

    def list_part(self, part: Any) -> Iterator[pa.RecordBatch]:
        """Yield the objects of one of the store's parts."""

    def read(self, path: str, accept: Callable[[int], None] = accept_any) -> Stored:
        """Return an object. ``accept`` gets the size first, and may raise an error to prevent the download."""

    def read_range(self, path: str, start: int, stop: int, version: str | None = None) -> Stored:
        """Return the bytes of an object from ``start`` to before ``stop``, or to its end.

        With a ``version``, raise FileExistsError if the object has another one.
        """

    def arrow(self) -> "tuple[FileSystem, str]":
        """Return the store for Arrow's own readers: a file system of Arrow, and the place of the store in it."""

    def write(self, path: str, data: bytes) -> None:
        """Write an object, or replace it. Readers see the old content or the new one, never a part."""

    def create(self, path: str, data: bytes) -> None:
        """Write an object atomically; raise FileExistsError if it exists."""

    def upload(self, path: str, file: IO[bytes], *, replace: bool = False) -> None:
        """Write a large object from a file, atomically; raise FileExistsError if it exists, unless ``replace``."""

    def replace(self, path: str, data: bytes, seen: Stored) -> None:
        """Replace an object atomically; raise FileExistsError if it has changed since ``seen`` was read."""

    def delete(self, path: str) -> None:
        """Remove an object. If there is none, the store may raise FileNotFoundError."""

    def remove(self, folder: str) -> Removed:
        """Remove a folder and everything in it."""


def listings(objects: Iterator[tuple[str, int, datetime]]) -> Iterator[pa.RecordBatch]:
    """Turn paths, sizes and modification times into batches of LISTING_SCHEMA."""
    while rows := list(islice(objects, _LISTING_ROWS)):
        arrays = [
            pa.array(column, field.type) for column, field in zip(zip(*rows, strict=True), LISTING_SCHEMA, strict=True)
        ]
        yield pa.record_batch(arrays, schema=LISTING_SCHEMA)
