"""Lists the photos of the input.

The plan is a table in the run's folder, so that it stays as it is. If Spark held it, a node that is lost would take a
part of it away: Spark would list that part again and, if the input has changed, miss photos or repeat them. And tasks
on other nodes would wait for the lost node.
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
from pyspark import SparkContext

from spark_job import archives, names, tables
from spark_job.errors import UserError
from spark_job.manifest import describe_left_out
from spark_job.network.images import SUFFIXES
from spark_job.storage import open_store
from spark_job.storage.base import Store
from spark_job.tables import PLACED_SCHEMA, Table

ListedFile = dict[str, Any]
"""A row of a listing."""

# Fewer than there may be tasks, because a store may return more parts, and single ones balance best.
_PARTS_PER_CORE = 3
_STRIDE = 8

T = TypeVar("T")


class Input(NamedTuple):
    """The store of an input and, if the input is one archive, the archive in this store."""

    store: Store
    archive: ListedFile | None = None


class Page(NamedTuple):
    """Photos (PLACED_SCHEMA), the number of files that are left out by ending, and archives to look into."""

    photos: pa.RecordBatch
    left_out: "Counter[str]"
    archives: list[ListedFile]


class PlanFile(NamedTuple):
    """The name of a file of a plan, and the number of photos in it."""

    name: str
    photos: int


class Written(NamedTuple):
    """What a task has listed: files of the plan, and what else it found, as in Page."""

    files: list[PlanFile]
    left_out: "Counter[str]"
    archives: list[ListedFile]


class Slice(NamedTuple):
    """Rows of a file of the plan: from ``start`` to before ``stop``."""

    name: str
    start: int
    stop: int


@dataclass(frozen=True)
class Plan:
    """The photos to compute: a table (PLACED_SCHEMA) and its files."""

    table: Table
    files: list[PlanFile]

    @property
    def photos(self) -> int:
        """The number of photos."""
        return sum(file.photos for file in self.files)

    def split(self, size: int) -> list[list[Slice]]:
        """Divide the photos to compute into tasks of ``size`` photos; the last task may have fewer.

        Neighbours in the plan are far apart in the result, so the tasks that run at the same time read photos of many
        folders. S3 limits the requests per prefix.
        """
        tasks: list[list[Slice]] = [[]]
        room = size
        for file in self.files:
            start = 0
            while start < file.photos:
                stop = min(start + room, file.photos)
                tasks[-1].append(Slice(file.name, start, stop))
                room -= stop - start
                start = stop
                if not room:
                    tasks.append([])
                    room = size
        return _interleaved([task for task in tasks if task])


def _interleaved(tasks: list[T]) -> list[T]:
    """Return every eighth task from the first on, then every eighth from the second on, and so on."""
    return [task for first in range(_STRIDE) for task in tasks[first::_STRIDE]]


def photos(plan: Table, slices: Iterable[Slice]) -> Iterator[pa.RecordBatch]:
    """Yield the photos in slices of a plan (PLACED_SCHEMA)."""
    for name, start, stop in slices:
        rows = pa.Table.from_batches(plan.read(name, PLACED_SCHEMA.names), PLACED_SCHEMA)
        yield from rows.slice(start, stop - start).to_batches()


def open_input(uri: str) -> Input:
    """Open an input.

    Raises
    ------
    UserError
        If the input does not exist or cannot be listed.
    """
    folder, slash, name = uri.rpartition("/")
    if name.lower().endswith(names.ARCHIVE_SUFFIX):
        with contextlib.suppress(OSError):  # it may be a folder of this name
            store = open_store(folder or slash or ".")
            end = store.read_range(name, 0, 1)
            return Input(store, {"path": name, "size": end.size, "modified": end.modified})
    store = open_store(uri)
    _parts(store, 1)
    return Input(store)


def _parts(store: Store, count: int) -> list[Any]:
    try:
        return store.parts(count)
    except FileNotFoundError as error:
        raise UserError(f"The input {store.uri} does not exist. Give a folder or an S3 prefix with photos.") from error
    except NotADirectoryError as error:
        raise UserError(f"The input {store.uri} is a file. Give the folder that holds the photos.") from error
    except OSError as error:
        raise UserError(f"The input {store.uri} cannot be listed: {error}.") from error


def make(context: SparkContext, source: Input, table: Table) -> tuple[Plan, "Counter[str]"]:
    """List the photos of an input. Spark's tasks list parts of it and write them, so the driver never holds them all.

    Parameters
    ----------
    context
        Where to run the tasks.
    source
        The input.
    table
        The table to write.

    Returns
    -------
    tuple of Plan and Counter
        All photos, and the number of files that look like photos but are none of the run: hidden ones, and others by
        ending.

    Raises
    ------
    UserError
        If there is no photo, or the input cannot be listed.
    """
    store, archive = source
    found, written = [archive] if archive else [], list[Written]()
    if not archive:
        parts = _parts(store, _PARTS_PER_CORE * context.defaultParallelism)
        written += _written(context, parts, partial(_list, store.uri), table, "part")
        found = [one for task in written for one in task.archives]
    if found:
        written += _written(context, sorted(found, key=str), partial(_look_into, store.uri), table, "archived")
    left_out = sum((task.left_out for task in written), Counter[str]())
    plan = Plan(table, [file for task in written for file in task.files])
    if not plan.files:
        others = f" These are left out: {describe_left_out(left_out)}." if left_out else ""
        place = f"{store.uri}/{archive['path']}" if archive else store.uri
        raise UserError(
            f"There is no photo in {place}. Photos end in {', '.join(SUFFIXES)} and may be in any folder below it, "
            f"or in a zip file.{others}"
        )
    return plan, left_out


def _written(
    context: SparkContext, items: list[T], read: Callable[[Iterable[T]], Iterator[Page]], table: Table, kind: str
) -> list[Written]:
    return tables.share(context, items).mapPartitions(partial(_write_pages, read, table, kind)).collect()


def _write_pages(
    read: Callable[[Iterable[T]], Iterator[Page]], table: Table, kind: str, items: Iterable[T]
) -> Iterator[Written]:
    found, left_out = list[ListedFile](), Counter[str]()

    def photos() -> Iterator[pa.RecordBatch]:
        for page in read(items):
            found.extend(page.archives)
            left_out.update(page.left_out)
            yield page.photos

    yield Written(write(table, f"{kind}-{tables.task_number():05d}", photos()), left_out, found)


def write(table: Table, name: str, batches: Iterable[pa.RecordBatch]) -> list[PlanFile]:
    """Write photos (PLACED_SCHEMA) to files of about 4,000 photos each, whose names begin with ``name``."""
    files = []
    for number, rows in enumerate(tables.grouped(batches)):
        files.append(PlanFile(f"{name}-{number:05d}.parquet", len(rows)))
        table.write(files[-1].name, rows.to_batches(), PLACED_SCHEMA)
    return files


def _list(uri: str, parts: Iterable[Any]) -> Iterator[Page]:
    """Yield what is in parts of a store."""
    store = open_store(uri)
    for listed in (page for part in parts for page in store.list_part(part)):
        found, left_out = names.archives(listed).to_pylist(), names.count_left_out(listed, names.NOT_READ)
        yield Page(_placed(names.photos(listed)), left_out, found)


def _look_into(uri: str, found: Iterable[ListedFile]) -> Iterator[Page]:
    return in_archives(open_store(uri), found)


def in_archives(store: Store, found: Iterable[ListedFile]) -> Iterator[Page]:
    """Yield what is in archives. Archives in archives are left out."""
    for batch in archives.found(store, found):
        is_member = pc.is_valid(batch.column("crc"))
        members = batch.filter(is_member)
        yield Page(names.photos(members), names.count_left_out(members, names.NOT_READ_IN_ARCHIVE), [])
        rejected = names.labelled(batch.filter(pc.invert(is_member)))  # archives that are rejected as a whole
        yield Page(rejected, Counter(), [])


def _placed(photos: pa.RecordBatch) -> pa.RecordBatch:
    """Return photos that are files as PLACED_SCHEMA."""
    rest = [pa.nulls(len(photos), field.type) for field in list(PLACED_SCHEMA)[photos.num_columns :]]
    return pa.record_batch([*photos.columns, *rest], schema=PLACED_SCHEMA)
