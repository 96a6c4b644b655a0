"""Reuses features that earlier runs have computed: finds which photos have them, and copies them."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark import SparkContext
from pyspark.accumulators import Accumulator

from spark_job import plan, runs, tables
from spark_job.accumulators import Union
from spark_job.archives import file_of
from spark_job.features import photos_per_task
from spark_job.plan import Plan, PlanFile
from spark_job.runs import EarlierFile, RunFolder
from spark_job.storage import open_store
from spark_job.tables import FEATURES_SCHEMA, PHOTOS_SCHEMA, PLACED_SCHEMA, SOURCE_SCHEMA, Table, path_hashes

FILE_PREFIX = "reused-"
"""How the names of files begin that hold features of an earlier run."""

IDENTITY = ["path", "size", "modified", "crc"]
"""A photo with other values in these columns is a new photo. An archive may be written again with the same photos."""

_KNOWN_SCHEMA = pa.schema([*(PHOTOS_SCHEMA.field(name) for name in IDENTITY), *SOURCE_SCHEMA])
_PHOTOS_PER_GROUP = 32_000

Group = tuple[int, tuple[Iterable[tuple[str, pa.Table]], Iterable[pa.Table]]]
"""A number, the listed photos by the name of their file, and what earlier runs have computed (_KNOWN_SCHEMA)."""


@dataclass(frozen=True)
class Reuse:
    """What a run can reuse.

    Attributes
    ----------
    new
        The photos that are to be computed.
    reused
        The number of the others by the run that has their features.
    damaged
        The files of earlier runs that could not be read, and why.
    """

    new: Plan
    reused: Counter[str] = field(default_factory=Counter)
    damaged: dict[EarlierFile, str] = field(default_factory=dict)


def find(  # noqa: PLR0913, PLR0917 - what to compare, and two tables to write
    context: SparkContext, listed: Plan, output: str, files: Sequence[EarlierFile], new: Table, reused: Table
) -> Reuse:
    """Find the photos that files of earlier runs have, and write which are new, and where the features of others are.

    Tasks exchange what they read, so that one task has all about a photo. A damaged file counts as if it did not exist.

    Parameters
    ----------
    context
        Where to run the tasks.
    listed
        All photos.
    output
        The output with the earlier runs.
    files
        Their files.
    new, reused
        The tables to write (PLACED_SCHEMA and SOURCE_SCHEMA).
    """
    groups = max(context.defaultParallelism, listed.photos // _PHOTOS_PER_GROUP)
    damaged: Accumulator[dict[EarlierFile, str]] = context.accumulator({}, Union())
    photos = listed.table.spread(context).flatMap(partial(_listed, listed.table, groups))
    known = tables.share(context, files).flatMap(partial(_known, output, damaged, groups))
    found = photos.cogroup(known, groups).map(partial(_divide, new, reused)).collect()
    plan_files = sorted(file for files, _ in found for file in files)
    return Reuse(Plan(new, plan_files), sum((runs for _, runs in found), Counter[str]()), damaged.value)


def _listed(table: Table, groups: int, name: str) -> Iterator[tuple[int, tuple[str, pa.Table]]]:
    for group, photos in _by_group(pa.Table.from_batches(table.read(name), PLACED_SCHEMA), groups):
        yield group, (name, photos)


def _known(
    output: str, damaged: "Accumulator[dict[EarlierFile, str]]", groups: int, file: EarlierFile
) -> Iterator[tuple[int, pa.Table]]:
    try:
        photos = _read(output, file).select(IDENTITY)
    except (OSError, KeyError, pa.ArrowException) as error:
        damaged.add({file: str(error).partition("\n")[0]})
        return
    source = [*(pa.repeat(value, len(photos)) for value in file), pa.array(range(len(photos)), pa.int64())]
    yield from _by_group(pa.table([*photos.columns, *source], schema=_KNOWN_SCHEMA), groups)


def _by_group(photos: pa.Table, groups: int) -> Iterator[tuple[int, pa.Table]]:
    """Divide photos. A photo is always in the same group, and the photos of an archive stay together."""
    group_of = path_hashes(map(file_of, photos.column("path").to_pylist())) % np.uint64(groups)
    for group in np.unique(group_of):
        yield int(group), photos.filter(pa.array(group_of == group))


def _read(output: str, file: EarlierFile) -> pa.Table:
    """Read a whole file of features. Its checksums would not show all damage if only some columns were read."""
    table = RunFolder(open_store(output), file.run_id).table(runs.FEATURES)
    batches = (batch.select(FEATURES_SCHEMA.names).cast(FEATURES_SCHEMA) for batch in table.read(file.name))
    return pa.Table.from_batches(batches, FEATURES_SCHEMA)


def _divide(new: Table, reused: Table, group: Group) -> tuple[list[PlanFile], "Counter[str]"]:
    """Write which photos of a group are new, and the sources of the others. Return files, and counts by run."""
    number, (listed, known) = group
    sources: dict[Any, Any] = {}  # several runs, or a task that ran twice, may have the same photo
    for part in known:
        for photo, source in zip(_rows(part, IDENTITY), _rows(part, SOURCE_SCHEMA.names), strict=True):
            sources[photo] = min(source, sources.get(photo, source))
    in_order = [photos for _, photos in sorted(listed, key=lambda part: part[0])]
    photos = pa.concat_tables([PLACED_SCHEMA.empty_table(), *in_order])
    refused = photos.column("refused").is_valid().to_pylist()
    found = [None if no else sources.get(photo) for no, photo in zip(refused, _rows(photos, IDENTITY), strict=True)]
    name = f"part-{number:05d}"
    files = plan.write(new, name, photos.filter(pa.array([source is None for source in found])).to_batches())
    if copied := [source for source in found if source]:
        columns = dict(zip(SOURCE_SCHEMA.names, zip(*copied, strict=True), strict=True))
        reused.write(f"{name}.parquet", pa.table(columns, SOURCE_SCHEMA).to_batches(), SOURCE_SCHEMA)
    return files, Counter(run_id for run_id, *_ in copied)


def _rows(table: pa.Table | pa.RecordBatch, columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    return zip(*(table.column(name).to_pylist() for name in columns), strict=True)


def copy(context: SparkContext, count: int, output: str, reused: Table, features: Table) -> None:
    """Copy the features of ``count`` photos, whose sources are in a table, to files of their own."""
    if not count:
        return
    tasks = -(-count // photos_per_task(count, context.defaultParallelism))
    by_file = reused.spread(context).flatMap(partial(_sources, reused)).groupByKey(tasks)
    by_file.foreachPartition(partial(_copy, output, features))


def _sources(reused: Table, name: str) -> Iterator[tuple[EarlierFile, list[int]]]:
    rows: dict[EarlierFile, list[int]] = {}
    for batch in reused.read(name):
        for run_id, file, row in _rows(batch, SOURCE_SCHEMA.names):
            rows.setdefault(EarlierFile(run_id, file), []).append(row)
    yield from rows.items()


def _copy(output: str, features: Table, files: Iterable[tuple[EarlierFile, Iterable[list[int]]]]) -> None:
    chosen = (
        batch
        for file, rows in sorted(files)
        for batch in _read(output, file).take(pa.array(sorted(chain.from_iterable(rows)))).to_batches()
    )
    for number, table in enumerate(tables.grouped(chosen)):
        name = f"{FILE_PREFIX}{tables.task_number():05d}-{number:05d}.parquet"
        features.write(name, table.to_batches(), FEATURES_SCHEMA)
