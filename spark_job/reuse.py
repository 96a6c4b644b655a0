"""Reuses features that earlier runs have computed: finds which photos have them, and copies them."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.accumulators import Accumulator
from pyspark.sql import DataFrame, SparkSession

from spark_job import runs, tables
from spark_job.accumulators import Union
from spark_job.features import photos_per_task
from spark_job.plan import IDENTITY, KNOWN_SCHEMA, Plan
from spark_job.runs import EarlierFile, RunFolder
from spark_job.storage import open_store
from spark_job.tables import FEATURES_SCHEMA, SOURCE_SCHEMA, Table

FILE_PREFIX = "reused-"
"""How the names of files begin that hold features of an earlier run."""


@dataclass(frozen=True)
class Earlier:
    """What earlier runs have computed.

    Attributes
    ----------
    photos
        The photos (KNOWN_SCHEMA).
    damaged
        The files that could not be read, and why. It is complete once Spark has read ``photos``.
    """

    photos: DataFrame
    damaged: "Accumulator[dict[EarlierFile, str]]"


def find(spark: SparkSession, output: str, files: Sequence[EarlierFile]) -> Earlier:
    """Return the photos in files of earlier runs of an output. A damaged file counts as if it did not exist."""
    damaged: Accumulator[dict[EarlierFile, str]] = spark.sparkContext.accumulator({}, Union())
    return Earlier(tables.frame(spark, files, partial(_known, output, damaged), KNOWN_SCHEMA), damaged)


def _known(
    output: str, damaged: "Accumulator[dict[EarlierFile, str]]", files: Iterator[EarlierFile]
) -> Iterator[pa.RecordBatch]:
    for file in files:
        try:
            photos = _read(output, file).select(IDENTITY)
        except (OSError, KeyError, pa.ArrowException) as error:
            damaged.add({file: str(error).partition("\n")[0]})
            continue
        source = [pa.repeat(value, len(photos)) for value in file] + [pa.array(range(len(photos)), pa.int64())]
        yield from pa.table([*photos.columns, *source], schema=KNOWN_SCHEMA).to_batches()


def _read(output: str, file: EarlierFile) -> pa.Table:
    """Read a whole file of features. Its checksums would not show all damage if only some columns were read."""
    table = RunFolder(open_store(output), file.run_id).table(runs.FEATURES)
    batches = (batch.select(FEATURES_SCHEMA.names).cast(FEATURES_SCHEMA) for batch in table.read(file.name))
    return pa.Table.from_batches(batches, FEATURES_SCHEMA)


def copy(spark: SparkSession, plan: Plan, output: str, features: Table) -> None:
    """Copy the features that a plan reuses to files of their own in the features table."""
    names = [file.name for file in plan.files if file.reused]
    if not names:
        return
    sources = tables.frame(spark, names, partial(_sources, plan.table), SOURCE_SCHEMA)
    size = photos_per_task(plan.reused, spark.sparkContext.defaultParallelism)
    by_file = sources.repartition(-(-plan.reused // size), "run_id", "file")
    by_file.mapInArrow(partial(_copy, output, features), "nothing long").collect()


def _sources(plan: Table, names: Iterator[str]) -> Iterator[pa.RecordBatch]:
    for name in names:
        for batch in plan.read(name, SOURCE_SCHEMA.names):
            yield batch.filter(pc.is_valid(batch.column("run_id")))


def _copy(output: str, features: Table, sources: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    rows_by_file: defaultdict[EarlierFile, list[int]] = defaultdict(list)
    for batch in sources:
        for run_id, name, row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            rows_by_file[EarlierFile(run_id, name)].append(row)
    chosen = (
        batch
        for file, rows in sorted(rows_by_file.items())
        for batch in _read(output, file).take(pa.array(sorted(rows))).to_batches()
    )
    for number, table in enumerate(tables.grouped(chosen)):
        name = f"{FILE_PREFIX}{tables.task_number():05d}-{number:05d}.parquet"
        features.write(name, table.to_batches(), FEATURES_SCHEMA)
    yield from ()  # mapInArrow expects an iterator
