"""Shards: zip files whose bytes depend only on the names and the contents of their photos."""

import io
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Self

import pyarrow as pa

from spark_job.errors import RunError, UserError
from spark_job.names import ARCHIVE_SUFFIX
from spark_job.pack import SHARD_NAME
from spark_job.storage.base import Store
from spark_job.storage.file import open_file

MEMBERS_SCHEMA = pa.schema(
    [
        *(("path", pa.string()), ("size", pa.int64()), ("crc", pa.int64())),
        *(("shard", pa.string()), ("written", pa.timestamp("us", tz="UTC"))),
    ]
)
"""What shards hold: path, size and CRC-32 of each member, the path of its shard, and when the shard was written."""

_DATE = (1980, 1, 1, 0, 0, 0)  # zip knows no earlier one
_UNIX = 3
_PLAIN_FILE = 0o100644 << 16
_HEADERS = 30 + 46  # of a member, beside two copies of its name: APPNOTE.TXT, 4.3.7 and 4.3.12
_READERS = 8
_BYTES_PER_READ = 2**23
_DIRECTORY_BYTES = 2**20  # that of 10,000 photos


class Shard:
    """A shard that is written to a temporary file, then stored.

    Parameters
    ----------
    size
        The size in bytes that it should not exceed.
    """

    def __init__(self, size: int) -> None:
        self._room = size
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - __exit__ closes it
        self._zip = zipfile.ZipFile(self._file, "w", zipfile.ZIP_STORED)
        self.photos = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()
        self._file.close()

    def has_room(self, path: str, data: bytes) -> bool:
        """Return whether a photo fits. The first one always does."""
        return not self.photos or _size(path, data) <= self._room

    def add(self, path: str, data: bytes) -> None:
        """Add a photo, with the date and the permissions that all photos have."""
        member = zipfile.ZipInfo(path, _DATE)
        member.create_system, member.external_attr = _UNIX, _PLAIN_FILE
        self._zip.writestr(member, data)
        self._room -= _size(path, data)
        self.photos += 1

    def store(self, output: Store, path: str, *, replace: bool = False) -> None:
        """Write the shard to a store, and read it back.

        Raises
        ------
        UserError
            If another shard has got this name meanwhile.
        RunError
            If other bytes come back than were written.
        """
        self._zip.close()
        size = self._file.seek(0, io.SEEK_END)
        try:
            output.upload(path, self._file, replace=replace)
        except FileExistsError:
            raise UserError(
                f"{output.uri}/{path} was not there a moment ago. If another fruits pack writes to this output, wait "
                "for its end; then start again."
            ) from None
        self._file.seek(0)
        stored = open_file(output, path, size, _BYTES_PER_READ)
        while written := self._file.read(_BYTES_PER_READ):
            if stored.read(len(written)) != written:
                raise RunError(f"{output.uri}/{path} is not what was written. Remove it, check the disk, start again.")


def _size(path: str, data: bytes) -> int:
    return _HEADERS + 2 * len(path.encode()) + len(data)


def names(taken: Iterable[str]) -> Iterator[str]:
    """Yield names of new shards, numbered from the last of those that are taken."""
    number = max((int(found[1]) + 1 for name in taken if (found := SHARD_NAME.fullmatch(name))), default=0)
    while True:
        yield f"photos-{number:05d}{ARCHIVE_SUFFIX}"
        number += 1


def open_shard(store: Store, path: str, size: int, bytes_per_read: int = _BYTES_PER_READ) -> zipfile.ZipFile:
    """Open a shard; raise UserError if it is no zip file."""
    try:
        return zipfile.ZipFile(open_file(store, path, size, bytes_per_read))
    except zipfile.BadZipFile as error:
        raise UserError(f"{store.uri}/{path} is damaged: {error}. Remove it, then pack its photos again.") from None


def directories(store: Store, shards: pa.Table) -> pa.Table:
    """Return the members of shards (MEMBERS_SCHEMA) from the directories at their ends.

    Parameters
    ----------
    store
        Where the shards are.
    shards
        What the store lists about them (LISTING_SCHEMA).
    """
    with ThreadPoolExecutor(_READERS) as pool:
        found = pool.map(lambda shard: _members(store, **shard), shards.to_pylist())
        return pa.Table.from_batches(list(found), MEMBERS_SCHEMA)


def _members(store: Store, path: str, size: int, modified: datetime) -> pa.RecordBatch:
    members = open_shard(store, path, size, _DIRECTORY_BYTES).infolist()
    columns = (
        [member.filename for member in members],
        [member.file_size for member in members],
        [member.CRC for member in members],
        [path] * len(members),
        [modified] * len(members),
    )
    arrays = [pa.array(column, column_field.type) for column, column_field in zip(columns, MEMBERS_SCHEMA, strict=True)]
    return pa.record_batch(arrays, schema=MEMBERS_SCHEMA)
