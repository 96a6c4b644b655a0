"""What every place of objects has in common: what it lists, what it gives, what it says when it cannot."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Protocol

import pyarrow as pa

LISTING = pa.schema([("path", pa.string()), ("size", pa.int64()), ("modified", pa.timestamp("us", tz="UTC"))])
"""Columns of a listing: path relative to the store, bytes, time of last modification."""

_LISTING_ROWS = 10_000


class UnavailableError(ConnectionError):
    """A store that does not answer, though it was asked again ``retries`` times."""

    def __init__(self, sentence: str, retries: int = 0) -> None:
        super().__init__(sentence)
        self.retries = retries


class BadNameError(OSError):
    """An object whose name cannot be asked for."""


@dataclass(frozen=True)
class Stored:
    """The bytes of an object and the modification time of exactly these bytes.

    ``version`` tells them from other bytes under the same name; ``retries`` is how many attempts it took more than one.
    """

    data: bytes
    modified: datetime
    version: str | None = None
    retries: int = 0


@dataclass(frozen=True)
class Removed:
    """How much was removed."""

    objects: int
    bytes: int

    def __str__(self) -> str:
        return f"{self.objects:,} objects, {self.bytes:,} bytes"


def accept_any(size: int) -> None:
    """Accept any size."""


class Store(Protocol):
    """A folder or an S3 prefix; paths are relative to it, with ``/`` between their parts.

    Reads raise FileNotFoundError, PermissionError, UnavailableError (no answer, however often it was asked),
    BadNameError or another OSError, whatever the store is. ``uri`` is for people and :func:`open_store`, ``hadoop_uri``
    for Spark's own readers and writers.
    """

    uri: str
    hadoop_uri: str

    def folders(self, below: str = "") -> list[str]:
        """Return the names of the folders directly below, or directly below one of them."""

    def listing(self, folder: str | None) -> Iterator[pa.RecordBatch]:
        """Yield what is below a folder at any depth, or, for None, the objects that are in no folder."""

    def read(self, path: str, accept: Callable[[int], None] = accept_any) -> Stored:
        """Return an object's bytes; ``accept`` gets their number first and raises where they shall not be fetched."""

    def write(self, path: str, data: bytes) -> None:
        """Write an object whole, replacing it: a reader sees the old bytes or the new ones, never a part."""

    def create(self, path: str, data: bytes) -> None:
        """Write an object that must not exist yet; FileExistsError where it does, however close the race."""

    def replace(self, path: str, data: bytes, seen: Stored) -> None:
        """Write an object in place of what was read; FileExistsError where it is another by now, however close."""

    def delete(self, path: str) -> None:
        """Remove an object; FileNotFoundError or nothing where there is none."""

    def remove(self, folder: str) -> Removed:
        """Remove a folder with all that is in it, and return how much that was."""


def listings(objects: Iterator[tuple[str, int, datetime]]) -> Iterator[pa.RecordBatch]:
    """Yield objects, given as path, size and time, in batches of LISTING."""
    while rows := list(islice(objects, _LISTING_ROWS)):
        arrays = [pa.array(column, field.type) for column, field in zip(zip(*rows, strict=True), LISTING, strict=True)]
        yield pa.record_batch(arrays, schema=LISTING)
