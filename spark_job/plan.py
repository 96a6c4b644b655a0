"""Lists the photos of the input, and finds those whose features an earlier run has computed already.

The plan is a table in the run's folder, so that it stays as it is. If Spark held it, a node that is lost would take a
part of it away: Spark would list that part again and, if the input has changed, miss photos or repeat them. And tasks
on other nodes would wait for the lost node.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.accumulators import Accumulator
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema

from spark_job import names, tables
from spark_job.accumulators import Union
from spark_job.errors import UserError
from spark_job.manifest import describe
from spark_job.network.images import SUFFIXES
from spark_job.storage import open_store
from spark_job.storage.base import Store
from spark_job.tables import PHOTOS_SCHEMA, PLAN_SCHEMA, SOURCE_SCHEMA, Table

IDENTITY = ["path", "size", "modified"]
"""A photo with other values in these columns is a new photo."""
KNOWN_SCHEMA = pa.schema([*(PHOTOS_SCHEMA.field(name) for name in IDENTITY), *SOURCE_SCHEMA])
"""A photo that an earlier run has computed, and the source of its features."""

LeftOut = Accumulator[dict[int, "Counter[str]"]]
"""What the tasks of a listing left out, by task."""

_COUNTS_SCHEMA = pa.schema([("name", pa.string()), ("run_id", pa.string()), ("photos", pa.int64())])
# Fewer than there may be tasks, because a store may return more parts, and single ones balance best.
_PARTS_PER_CORE = 3
_STRIDE = 8

T = TypeVar("T")


class PlanFile(NamedTuple):
    """A file of the plan: its name, the number of photos to compute, which come first, and of reused ones by run."""

    name: str
    to_compute: int
    reused: Counter[str]


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
    """Yield the photos in slices of a plan (PHOTOS_SCHEMA)."""
    for name, start, stop in slices:
        rows = pa.Table.from_batches(plan.read(name, PHOTOS_SCHEMA.names), PHOTOS_SCHEMA)
        yield from rows.slice(start, stop - start).to_batches()


def check(store: Store) -> None:
    """Check that an input can be listed.

    Raises
    ------
    UserError
        If the input does not exist or cannot be listed.
    """
    _parts(store, 1)


def _parts(store: Store, count: int) -> list[Any]:
    try:
        return store.parts(count)
    except FileNotFoundError as error:
        raise UserError(f"The input {store.uri} does not exist. Give a folder or an S3 prefix with photos.") from error
    except NotADirectoryError as error:
        raise UserError(f"The input {store.uri} is a file. Give the folder that holds the photos.") from error
    except OSError as error:
        raise UserError(f"The input {store.uri} cannot be listed: {error}.") from error


def list_photos(spark: SparkSession, store: Store, left_out: LeftOut | None = None) -> DataFrame:
    """Return the photos below a store. Spark's tasks list its parts, so the driver never holds the whole list."""
    read = partial(_list, store.uri, left_out or _left_out(spark))
    return tables.frame(spark, _shared(spark, store), read, PHOTOS_SCHEMA)


def _shared(spark: SparkSession, store: Store) -> list[Any]:
    return _parts(store, _PARTS_PER_CORE * spark.sparkContext.defaultParallelism)


def _left_out(spark: SparkSession) -> LeftOut:
    return spark.sparkContext.accumulator({}, Union())


def _list(uri: str, left_out: LeftOut, parts: Iterable[Any]) -> Iterator[pa.RecordBatch]:
    """Yield the photos in parts of a store, and count the files that look like photos but are left out."""
    store, counts = open_store(uri), Counter[str]()
    for part in parts:
        for listed in store.list_part(part):
            yield names.photos(listed)
            counts += names.count_left_out(listed)
    left_out.add({tables.task_number(): counts})


def make(spark: SparkSession, store: Store, known: DataFrame | None, table: Table) -> Plan:
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

    Raises
    ------
    UserError
        If there is no photo, or the input cannot be listed.
    """
    left_out = _left_out(spark)
    counted: Sequence[tuple[Any, ...]]
    if known is None:  # the tasks that list also write, so the list does not pass through Spark, nor wait for its SQL
        read = partial(_list_and_write, table, store.uri, left_out)
        counted = tables.collect(spark.sparkContext, _shared(spark, store), read)
    else:
        photos = list_photos(spark, store, left_out).join(_once(known), IDENTITY, "left").select(*PLAN_SCHEMA.names)
        counted = photos.mapInArrow(partial(_write, table), from_arrow_schema(_COUNTS_SCHEMA)).collect()
    counts: dict[str, Counter[str | None]] = {}
    for name, run_id, photos in counted:
        counts.setdefault(name, Counter())[run_id] = photos
    omitted = sum(left_out.value.values(), Counter[str]())
    if not counts:
        others = f" These are left out: {describe(omitted)}." if omitted else ""
        raise UserError(
            f"There is no photo in {store.uri}. Photos end in {', '.join(SUFFIXES)} and may be in any folder below it."
            + others
        )
    return Plan(table, [_plan_file(name, counts[name]) for name in sorted(counts)], omitted)


def _once(known: DataFrame) -> DataFrame:
    """Return each photo with one of its sources. Several runs, or a task that ran twice, may have written it."""
    source = F.min(F.struct(*SOURCE_SCHEMA.names)).alias("source")
    return known.groupBy(*IDENTITY).agg(source).select(*IDENTITY, "source.*")


def _plan_file(name: str, photos: Counter[str | None]) -> PlanFile:
    return PlanFile(name, photos[None], Counter({run_id: count for run_id, count in photos.items() if run_id}))


def _list_and_write(table: Table, uri: str, left_out: LeftOut, parts: Iterable[Any]) -> Iterator[pa.RecordBatch]:
    return _write(table, map(_without_source, _list(uri, left_out, parts)))


def _without_source(photos: pa.RecordBatch) -> pa.RecordBatch:
    nulls = [pa.nulls(len(photos), field.type) for field in SOURCE_SCHEMA]
    return pa.record_batch([*photos.columns, *nulls], schema=PLAN_SCHEMA)


def _write(table: Table, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Write the photos of one task to files, and yield the number of photos by file and by run."""
    task = tables.task_number()
    for number, rows in enumerate(tables.grouped(batches)):
        name = f"part-{task:05d}-{number:05d}.parquet"
        is_new = pc.is_null(rows.column("run_id"))
        ordered = pa.concat_tables([rows.filter(is_new), rows.filter(pc.invert(is_new))])
        table.write(name, ordered.to_batches(), PLAN_SCHEMA)
        counts = rows.column("run_id").value_counts()
        yield pa.record_batch([pa.repeat(name, len(counts)), *counts.flatten()], schema=_COUNTS_SCHEMA)
