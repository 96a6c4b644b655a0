"""Finds and reads what is to be packed."""

from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import pyarrow as pa

from spark_job import names
from spark_job.ahead import in_order
from spark_job.errors import UserError
from spark_job.network.limits import MAX_BYTES
from spark_job.pack import SHARD_NAME, tars
from spark_job.storage.base import LISTING_SCHEMA, Store

READERS = 64  # S3 takes 30 to 100 ms for a photo

TOO_LARGE = f"it has more than {MAX_BYTES:,} bytes"

Content = bytes | str
"""The bytes of a photo, or why there are none."""


@dataclass(frozen=True)
class Source:
    """What an input has.

    Attributes
    ----------
    photos
        The photos (LISTING_SCHEMA).
    tars
        The sizes of tars, by path.
    left_out
        The number of files that are not packed: hidden photos, images that a run does not read, and other zips.
    """

    photos: pa.Table = field(default_factory=LISTING_SCHEMA.empty_table)
    tars: dict[str, int] = field(default_factory=dict)
    left_out: "Counter[str]" = field(default_factory=Counter)


def listing(store: Store) -> Iterator[pa.RecordBatch]:
    """Yield everything that a store lists."""
    for part in store.parts(1):
        yield from store.list_part(part)


def find(store: Store) -> Source:
    """List an input; raise UserError if it is no folder, or has neither a photo nor a tar."""
    try:
        found = _find(store)
    except FileNotFoundError:
        raise UserError(f"The input {store.uri} does not exist. Give a folder or s3://bucket/prefix.") from None
    except NotADirectoryError:
        raise UserError(f"The input {store.uri} is a file. Give the folder that holds the photos or tars.") from None
    if not len(found.photos) and not found.tars:
        raise UserError(f"There is no photo and no tar in {store.uri}. Give a folder or s3://bucket/prefix with some.")
    return found


def _find(store: Store) -> Source:
    photos, left_out = [], Counter[str]()
    archives: dict[str, int] = {}
    for listed in listing(store):
        photos.append(names.photos(listed).select(LISTING_SCHEMA.names))
        packed = names.packed(listed)
        archives.update(zip(packed["path"].to_pylist(), packed["size"].to_pylist(), strict=True))
        left_out += names.count_left_out(listed)
    found_tars = {path: size for path, size in sorted(archives.items()) if tars.is_tar(path)}
    zips = {path for path in archives.keys() - found_tars.keys() if not SHARD_NAME.search(path)}
    left_out += Counter({".zip": len(zips)})
    return Source(pa.Table.from_batches(photos, LISTING_SCHEMA).sort_by("path"), found_tars, left_out)


def read_ahead(
    pool: ThreadPoolExecutor, store: Store, photos: Iterable[tuple[str, int]]
) -> Iterator[tuple[str, Content]]:
    """Yield the path and the content of each photo, in order, while the next photos are read."""
    return in_order(pool, READERS, ((size, partial(_read, store, path)) for path, size in photos))


def _read(store: Store, path: str) -> tuple[str, Content]:
    try:
        return path, store.read(path, _check_size).data
    except OSError as error:
        return path, str(error)


def _check_size(size: int) -> None:
    if size > MAX_BYTES:
        raise OSError(f"{TOO_LARGE}, the limit of a run")
