"""Reuses features that earlier runs have computed: finds which photos have them, and copies them."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark import SparkContext
from pyspark.accumulators import Accumulator

from spark_job import plan, runs, tables
from spark_job.accumulators import Union
from spark_job.archives import file_of
from spark_job.features import photos_per_task
from spark_job.plan import Plan, PlanFile
from spark_job.runs import EarlierFile, RunFolder
from spark_job.storage import open_store
from spark_job.tables import FEATURES_SCHEMA, PLACED_SCHEMA, SOURCE_SCHEMA, Table, text_hashes

FILE_PREFIX = "reused-"
"""How the names of files begin that hold features of an earlier run."""

_SOURCE = SOURCE_SCHEMA.names
_KNOWN_SCHEMA = pa.schema([("identity", pa.uint64()), *SOURCE_SCHEMA])
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
    photos = pa.Table.from_batches(table.read(name), PLACED_SCHEMA)
    for group, mine in _by_group(photos, groups):
        yield group, (name, photos.filter(mine))


def _known(
    output: str, damaged: "Accumulator[dict[EarlierFile, str]]", groups: int, file: EarlierFile
) -> Iterator[tuple[int, pa.Table]]:
    try:
        photos = _read(output, file)
    except (OSError, KeyError, pa.ArrowException) as error:
        damaged.add({file: str(error).partition("\n")[0]})
        return
    source = [*(pa.repeat(value, len(photos)) for value in file), pa.array(range(len(photos)), pa.int64())]
    known = pa.table([pa.array(_identities(photos)), *source], schema=_KNOWN_SCHEMA)
    for group, mine in _by_group(photos, groups):
        yield group, known.filter(mine)


def _by_group(photos: pa.Table, groups: int) -> Iterator[tuple[int, pa.Array]]:
    """Yield groups, and which photos they have. A photo is always in the same group, and an archive's stay together."""
    group_of = text_hashes(map(file_of, photos.column("path").to_pylist())) % np.uint64(groups)
    for group in np.unique(group_of):
        yield int(group), pa.array(group_of == group)


def _identities(photos: pa.Table) -> NDArray[np.uint64]:
    """Return a number for each photo; a photo with another path, size, time or CRC is a new photo.

    An archive may be written again with the same photos, so they have a CRC instead of a time.
    """
    modified = photos.column("modified").cast(pa.int64())  # much faster than datetimes
    columns = photos.column("path"), photos.column("size"), modified, photos.column("crc")
    return text_hashes(map(repr, zip(*(column.to_pylist() for column in columns), strict=True)))


def _read(output: str, file: EarlierFile) -> pa.Table:
    """Read a whole file of features. Its checksums would not show all damage if only some columns were read."""
    table = RunFolder(open_store(output), file.run_id).table(runs.FEATURES)
    batches = (batch.select(FEATURES_SCHEMA.names).cast(FEATURES_SCHEMA) for batch in table.read(file.name))
    return pa.Table.from_batches(batches, FEATURES_SCHEMA)


def _divide(new: Table, reused: Table, group: Group) -> tuple[list[PlanFile], "Counter[str]"]:
    """Write which photos of a group are new, and the sources of the others. Return files, and counts by run."""
    number, (listed, known) = group
    parts = [photos for _, photos in sorted(listed, key=lambda part: part[0])]
    if not parts:
        return [], Counter()
    photos = pa.concat_tables(parts)
    identities = np.concatenate([_identities(part) for part in parts])
    # Several runs, or a task that ran twice, may have a photo. The first source is chosen, whatever came first.
    sources = pa.concat_tables([_KNOWN_SCHEMA.empty_table(), *known]).sort_by([(name, "ascending") for name in _SOURCE])
    distinct, first = np.unique(sources.column("identity").to_numpy(), return_index=True)
    is_known = np.isin(identities, distinct) & photos.column("refused").is_null().to_numpy()
    files = plan.write(new, f"part-{number:05d}", photos.filter(pa.array(~is_known)).to_batches())
    chosen = sources.take(first[np.searchsorted(distinct, identities[is_known])])
    reused.write(f"part-{number:05d}.parquet", chosen.to_batches(), SOURCE_SCHEMA)
    return files, Counter(chosen.column("run_id").to_pylist())


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
        for run_id, file, row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
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
