"""Lists the images of the input, and finds those whose features an earlier run has computed already.

The plan is a table in the run's folder, so that it stays as it is. If Spark held it, a node that is lost would take a
part of it away: Spark would list that part again and, if the input has changed, miss photos or repeat them. And tasks
on other nodes would wait for the lost node.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, cast

import pyarrow as pa
import pyarrow.compute as pc
from pyspark import TaskContext
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema

from spark_job.errors import UserError
from spark_job.network.images import SUFFIXES
from spark_job.storage import open_store
from spark_job.storage.base import Store
from spark_job.tables import PHOTOS_SCHEMA, PLAN_SCHEMA, Table

_PARTS_PER_CORE = 3
_TASKS_PER_CORE = 8  # more than parts that were wanted: a store may return more, and single ones balance best
_IMAGES_PER_FILE = 4_000
_IDENTITY = ["path", "size", "modified"]  # a photo with other values here is a new photo
_STRIDE = 8
_IMAGE = f"(?i)({'|'.join(map(re.escape, SUFFIXES))})$"
_LABEL = r"(?s)(?:^|/)(?P<label>[^/]+)/[^/]*$"


class PlanFile(NamedTuple):
    """A file of the plan: its name, the number of images to compute, which come first, and of reused ones by run."""

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
    """The images of a run.

    Attributes
    ----------
    table
        The images (PLAN_SCHEMA).
    files
        What the files of the table contain.
    earlier
        The features of earlier runs, with the column ``run_id``, or None.
    """

    table: Table
    files: list[PlanFile]
    earlier: DataFrame | None

    @property
    def to_compute(self) -> int:
        """The number of images whose features are computed."""
        return sum(file.to_compute for file in self.files)

    @property
    def reused_from(self) -> dict[str, int]:
        """The number of reused images by the id of the run that computed or copied them before."""
        total: Counter[str] = sum((file.reused for file in self.files), Counter())
        return dict(sorted(total.items()))

    @property
    def found(self) -> int:
        """The number of images."""
        return self.to_compute + sum(self.reused_from.values())

    def split(self, size: int) -> list[list[Slice]]:
        """Divide the images to compute into tasks of ``size`` images; the last task may have fewer.

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
        filled = [task for task in tasks if task]
        return [task for first in range(_STRIDE) for task in filled[first::_STRIDE]]

    @property
    def reused(self) -> DataFrame | None:
        """The rows of the features of earlier runs that the plan reuses."""
        names = [file.name for file in self.files if file.reused]
        if self.earlier is None or not names:
            return None
        reader = self.earlier.sparkSession.read.schema(from_arrow_schema(PLAN_SCHEMA))
        chosen = reader.parquet(*map(self.table.uri, names)).filter("run_id is not null")
        return self.earlier.join(chosen, [*_IDENTITY, "run_id"], "left_semi")


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


def list_images(spark: SparkSession, store: Store) -> DataFrame:
    """Return the images below a store. Spark's tasks list its parts, so the driver never holds the whole list."""
    numbers, parts = _numbered_parts(spark, store)
    return numbers.mapInArrow(partial(_listed, store.uri, parts), from_arrow_schema(PHOTOS_SCHEMA))


def _numbered_parts(spark: SparkSession, store: Store) -> tuple[DataFrame, list[Any]]:
    """Return the parts of a store, and their numbers as a table with a task for each, if there are not too many."""
    cores = spark.sparkContext.defaultParallelism
    parts = _parts(store, _PARTS_PER_CORE * cores)
    # spark.range would take 0.3 s longer, because it loads Scala's reflection.
    size = {"end": len(parts), "tasks": min(len(parts), _TASKS_PER_CORE * cores)}
    return spark.sql("SELECT id FROM range(0, :end, 1, :tasks)", size), parts


def _listed(uri: str, parts: list[Any], numbers: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield the images in the parts with these numbers."""
    store = open_store(uri)
    for batch in numbers:
        for number in batch.column(0).to_pylist():
            yield from map(_images, store.list_part(parts[number]))


def _images(listed: pa.RecordBatch) -> pa.RecordBatch:
    """Return the images of a listing, with their labels (as :func:`label_of`, but for a million paths in a second)."""
    chosen = listed.filter(pc.match_substring_regex(listed.column("path"), _IMAGE))
    labels = pc.struct_field(pc.extract_regex(chosen.column("path"), _LABEL), "label")
    return pa.record_batch([chosen.column(0), labels, chosen.column(1), chosen.column(2)], schema=PHOTOS_SCHEMA)


def label_of(path: str) -> str | None:
    """Return the name of the folder that holds a photo, or None if there is no folder or it has no name."""
    return path.split("/")[-2] or None if "/" in path else None


def make(spark: SparkSession, store: Store, earlier: DataFrame | None, table: Table) -> Plan:
    """List the images of an input, compare them with the features of earlier runs, and write the plan.

    Parameters
    ----------
    spark
        The session.
    store
        The input.
    earlier
        The ``features`` tables of the runs to reuse, with the column ``run_id``, or None.
    table
        The table to write.

    Raises
    ------
    UserError
        If there is no image, or the input cannot be listed.
    """
    if earlier is None:  # the tasks that list also write, so the list does not pass through Spark
        rows, parts = _numbered_parts(spark, store)
        write = partial(_list_and_write, table, store.uri, parts)
    else:  # several runs, or a task that ran twice, may have written an image; one of them gives it
        known = earlier.groupBy(*_IDENTITY).agg(F.min("run_id").alias("run_id"))
        rows = list_images(spark, store).join(known, _IDENTITY, "left").select(*PLAN_SCHEMA.names)
        write = partial(_write, table)
    counts: dict[str, Counter[str | None]] = {}
    for name, run_id, images in rows.mapInArrow(write, "name string, run_id string, images long").collect():
        counts.setdefault(name, Counter())[run_id] = images
    if not counts:
        raise UserError(
            f"There is no image in {store.uri}. Photos end in {', '.join(SUFFIXES)} and may be in any folder below it."
        )
    return Plan(table, [_plan_file(name, counts[name]) for name in sorted(counts)], earlier)


def _plan_file(name: str, images: Counter[str | None]) -> PlanFile:
    return PlanFile(name, images[None], Counter({run_id: count for run_id, count in images.items() if run_id}))


def _list_and_write(
    table: Table, uri: str, parts: list[Any], numbers: Iterable[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    run_id = PLAN_SCHEMA.field("run_id")
    found = _listed(uri, parts, numbers)
    return _write(table, (batch.append_column(run_id, pa.nulls(len(batch), run_id.type)) for batch in found))


def _write(table: Table, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Write the images of one task to files, and yield the number of images by file and by run."""
    task = task_number()
    for number, rows in enumerate(_grouped(batches)):
        name = f"part-{task:05d}-{number:05d}.parquet"
        is_new = pc.is_null(rows.column("run_id"))
        ordered = pa.concat_tables([rows.filter(is_new), rows.filter(pc.invert(is_new))])
        table.write(name, ordered.to_batches(), PLAN_SCHEMA)
        counts = rows.column("run_id").value_counts()
        yield pa.record_batch([pa.repeat(name, len(counts)), *counts.flatten()], names=["name", "run_id", "images"])


def task_number() -> int:
    """Return the number of the task that runs here."""
    return cast("TaskContext", TaskContext.get()).partitionId()  # None only outside a task


def _grouped(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Combine batches to tables of about 4,000 rows."""
    waiting: list[pa.RecordBatch] = []
    for batch in batches:
        waiting.append(batch)
        if sum(one.num_rows for one in waiting) >= _IMAGES_PER_FILE:
            yield pa.Table.from_batches(waiting)
            waiting = []
    if any(one.num_rows for one in waiting):
        yield pa.Table.from_batches(waiting)
