"""Lists the photos of the input, and finds those whose features an earlier run has computed already.

The plan is a table in the run's folder, so that it stays as it is. If Spark held it, a node that is lost would take a
part of it away: Spark would list that part again and, if the input has changed, miss photos or repeat them. And tasks
on other nodes would wait for the lost node.
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.accumulators import Accumulator
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema

from spark_job import archives, names, tables
from spark_job.accumulators import Union
from spark_job.errors import UserError
from spark_job.manifest import describe_left_out
from spark_job.network.images import SUFFIXES
from spark_job.storage import open_store
from spark_job.storage.base import Store
from spark_job.tables import PHOTOS_SCHEMA, PLACED_SCHEMA, PLAN_SCHEMA, SOURCE_SCHEMA, Table

IDENTITY_OF_FILES = ["path", "size", "modified"]
IDENTITY_OF_MEMBERS = ["path", "size", "crc"]
"""A photo with other values in these columns is a new photo. An archive may be written again with the same photos."""
IDENTITY = ["path", "size", "modified", "crc"]
KNOWN_SCHEMA = pa.schema([*(PHOTOS_SCHEMA.field(name) for name in IDENTITY), *SOURCE_SCHEMA])
"""A photo that an earlier run has computed, and the source of its features."""

ListedFile = dict[str, Any]
"""A row of a listing."""

_COUNTS_SCHEMA = pa.schema([("name", pa.string()), ("run_id", pa.string()), ("photos", pa.int64())])
# Fewer than there may be tasks, because a store may return more parts, and single ones balance best.
_PARTS_PER_CORE = 3
_STRIDE = 8

T = TypeVar("T")
Reader = Callable[[Iterable[Any]], Iterator[pa.RecordBatch]]


class PlanFile(NamedTuple):
    """A file of the plan: its name, the number of photos to compute, which come first, and of reused ones by run."""

    name: str
    to_compute: int
    reused: Counter[str]


class Besides(NamedTuple):
    """What a task found besides photos: archives, and the number of files that are left out."""

    archives: list[ListedFile]
    left_out: "Counter[str]"


AllBesides = Accumulator[dict[tuple[str, int], Besides]]
"""What the tasks found, by the kind and the number of the task."""


class Slice(NamedTuple):
    """Rows of a file of the plan: from ``start`` to before ``stop``."""

    name: str
    start: int
    stop: int


@dataclass(frozen=True)
class Plan:
    """The photos of a run.

    Attributes
    ----------
    table
        The photos (PLAN_SCHEMA).
    files
        What the files of the table contain.
    left_out
        The number of files that look like photos but are none of the run: hidden ones, and others by ending.
    """

    table: Table
    files: list[PlanFile]
    left_out: Counter[str]

    @property
    def to_compute(self) -> int:
        """The number of photos whose features are computed."""
        return sum(file.to_compute for file in self.files)

    @property
    def reused_from(self) -> dict[str, int]:
        """The number of reused photos by the id of the run that computed or copied them before."""
        total: Counter[str] = sum((file.reused for file in self.files), Counter())
        return dict(sorted(total.items()))

    @property
    def reused(self) -> int:
        """The number of photos whose features are copied."""
        return sum(self.reused_from.values())

    @property
    def found(self) -> int:
        """The number of photos."""
        return self.to_compute + self.reused

    def split(self, size: int) -> list[list[Slice]]:
        """Divide the photos to compute into tasks of ``size`` photos; the last task may have fewer.

        Neighbours in the plan are far apart in the result, so the tasks that run at the same time read photos of many
        folders. S3 limits the requests per prefix.
        """
        tasks: list[list[Slice]] = [[]]
        room = size
        for file in self.files:
            start = 0
            while start < file.to_compute:
                stop = min(start + room, file.to_compute)
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


def open_input(uri: str) -> tuple[Store, ListedFile | None]:
    """Return the store of an input and, if the input is one archive, the archive in this store.

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
            return store, {"path": name, "size": end.size, "modified": end.modified}
    store = open_store(uri)
    _parts(store, 1)
    return store, None


def _parts(store: Store, count: int) -> list[Any]:
    try:
        return store.parts(count)
    except FileNotFoundError as error:
        raise UserError(f"The input {store.uri} does not exist. Give a folder or an S3 prefix with photos.") from error
    except NotADirectoryError as error:
        raise UserError(f"The input {store.uri} is a file. Give the folder that holds the photos.") from error
    except OSError as error:
        raise UserError(f"The input {store.uri} cannot be listed: {error}.") from error


def list_photos(spark: SparkSession, store: Store) -> DataFrame:
    """Return the files that are photos. Spark's tasks list parts of the store, so the driver never holds them all."""
    return tables.frame(spark, _shared(spark, store), partial(_list, store.uri, _besides(spark)), PLACED_SCHEMA)


def _shared(spark: SparkSession, store: Store) -> list[Any]:
    return _parts(store, _PARTS_PER_CORE * spark.sparkContext.defaultParallelism)


def _besides(spark: SparkSession) -> AllBesides:
    return spark.sparkContext.accumulator({}, Union())


def _list(uri: str, besides: AllBesides, parts: Iterable[Any]) -> Iterator[pa.RecordBatch]:
    """Yield the photos in parts of a store (PLACED_SCHEMA), and report the archives and what is left out."""
    store, found, left_out = open_store(uri), list[ListedFile](), Counter[str]()
    for part in parts:
        for listed in store.list_part(part):
            yield _placed(names.photos(listed))
            found += names.archives(listed).to_pylist()
            left_out += names.count_left_out(listed, names.NOT_READ)
    besides.add({("files", tables.task_number()): Besides(found, left_out)})


def _look_into(uri: str, besides: AllBesides, found: Iterable[ListedFile]) -> Iterator[pa.RecordBatch]:
    """Yield the photos in archives (PLACED_SCHEMA), and report what is left out."""
    left_out = Counter[str]()
    for photos, others in in_archives(open_store(uri), found):
        yield photos
        left_out += others
    besides.add({("members", tables.task_number()): Besides([], left_out)})


def in_archives(store: Store, found: Iterable[ListedFile]) -> Iterator[tuple[pa.RecordBatch, "Counter[str]"]]:
    """Yield the photos in archives (PLACED_SCHEMA), with the number of other files that are left out, by ending."""
    for batch in archives.found(store, found):
        is_member = pc.is_valid(batch.column("crc"))
        members = batch.filter(is_member)
        yield names.photos(members), names.count_left_out(members, names.NOT_READ_IN_ARCHIVE)
        yield names.labelled(batch.filter(pc.invert(is_member))), Counter()  # archives that are rejected as a whole


def _placed(photos: pa.RecordBatch) -> pa.RecordBatch:
    """Return photos that are files as PLACED_SCHEMA."""
    rest = [pa.nulls(len(photos), field.type) for field in list(PLACED_SCHEMA)[photos.num_columns :]]
    return pa.record_batch([*photos.columns, *rest], schema=PLACED_SCHEMA)


def make(
    spark: SparkSession, store: Store, known: DataFrame | None, table: Table, archive: ListedFile | None = None
) -> Plan:
    """List the photos of an input, find those that earlier runs have computed, and write the plan.

    Parameters
    ----------
    spark
        The session.
    store
        The input.
    known
        The photos that earlier runs have computed (KNOWN_SCHEMA), or None.
    table
        The table to write.
    archive
        The only file of the store that belongs to the input; everything by default.

    Raises
    ------
    UserError
        If there is no photo, or the input cannot be listed.
    """
    besides = _besides(spark)
    if known is not None:
        known = known.persist()  # both kinds of photos are looked for in it
    counted: list[tuple[Any, ...]] = []
    if archive is None:
        read = partial(_list, store.uri, besides)
        counted += _written(spark, _shared(spark, store), read, known, table)
    found = [archive] if archive else [one for task in besides.value.values() for one in task.archives]
    if found:
        read = partial(_look_into, store.uri, besides)
        counted += _written(spark, sorted(found, key=str), read, known, table, archived=True)
    if known is not None:
        known.unpersist()
    left_out = sum((task.left_out for task in besides.value.values()), Counter[str]())
    counts: dict[str, Counter[str | None]] = {}
    for name, run_id, photos in counted:
        counts.setdefault(name, Counter())[run_id] = photos
    if not counts:
        others = f" These are left out: {describe_left_out(left_out)}." if left_out else ""
        place = f"{store.uri}/{archive['path']}" if archive else store.uri
        raise UserError(
            f"There is no photo in {place}. Photos end in {', '.join(SUFFIXES)} and may be in any folder below it, "
            f"or in a zip file.{others}"
        )
    return Plan(table, [_plan_file(name, counts[name]) for name in sorted(counts)], left_out)


def _written(  # noqa: PLR0913 - what to read, and where to write it
    spark: SparkSession,
    items: list[Any],
    read: Reader,
    known: DataFrame | None,
    table: Table,
    *,
    archived: bool = False,
) -> Sequence[tuple[Any, ...]]:
    """Write the photos that a function reads from items. Return their number by file and by run."""
    write = partial(_write, table, "archived" if archived else "part")
    if known is None:  # the tasks that list also write, so the list does not pass through Spark, nor wait for its SQL
        return tables.collect(spark.sparkContext, items, partial(_read_and_write, read, write))
    identity = IDENTITY_OF_MEMBERS if archived else IDENTITY_OF_FILES
    photos = tables.frame(spark, items, read, PLACED_SCHEMA).join(_once(known, identity), identity, "left")
    if archived:  # one request reads members that lie next to each other
        photos = photos.repartition("member.archive").sortWithinPartitions("member.archive", "member.offset")
    return photos.select(*PLAN_SCHEMA.names).mapInArrow(write, from_arrow_schema(_COUNTS_SCHEMA)).collect()


def _once(known: DataFrame, identity: list[str]) -> DataFrame:
    """Return each photo with one of its sources. Several runs, or a task that ran twice, may have written it."""
    source = F.min(F.struct(*SOURCE_SCHEMA.names)).alias("source")
    return known.groupBy(*identity).agg(source).select(*identity, "source.*")


def _plan_file(name: str, photos: Counter[str | None]) -> PlanFile:
    return PlanFile(name, photos[None], Counter({run_id: count for run_id, count in photos.items() if run_id}))


def _read_and_write(read: Reader, write: Reader, items: Iterable[Any]) -> Iterator[pa.RecordBatch]:
    return write(map(_without_source, read(items)))


def _without_source(photos: pa.RecordBatch) -> pa.RecordBatch:
    nulls = [pa.nulls(len(photos), field.type) for field in SOURCE_SCHEMA]
    return pa.record_batch([*photos.columns, *nulls], schema=PLAN_SCHEMA)


def _write(table: Table, kind: str, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Write the photos of one task to files, and yield the number of photos by file and by run."""
    task = tables.task_number()
    for number, rows in enumerate(tables.grouped(batches)):
        name = f"{kind}-{task:05d}-{number:05d}.parquet"
        is_new = pc.is_null(rows.column("run_id"))
        ordered = pa.concat_tables([rows.filter(is_new), rows.filter(pc.invert(is_new))])
        table.write(name, ordered.to_batches(), PLAN_SCHEMA)
        counts = rows.column("run_id").value_counts()
        yield pa.record_batch([pa.repeat(name, len(counts)), *counts.flatten()], schema=_COUNTS_SCHEMA)
