"""The stage `neighbours`: finds the photos that are nearest to each photo, and how alike their pixels are.

Each task takes some of the photos and compares them with all files of the table, one after the other, so that no task
holds more than a few thousand vectors. In a large run, the photos are first divided into cells of similar photos, with
a file for each cell, and a task reads only the cells that are near to its photos. Tasks exchange nothing while they
search, and each writes one file.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple, TypeVar

import faiss
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark import SparkContext
from pyspark.broadcast import Broadcast

from spark_job import tables
from spark_job.ahead import in_order
from spark_job.findings.copies import likeness
from spark_job.neighbours import Cells, Nearest, Vectors
from spark_job.tables import Table

K = 10
EXACT_UP_TO = 100_000
"""Above this number of photos, the search compares a photo only with the cells that are nearest to it."""

PHOTOS_PER_TASK = 16_000
_DIVIDED_PER_TASK = 32_000
_TASKS_PER_CORE = 2
_PHOTOS_PER_CELL = 4_000
_PROBES_PER_ROOT_OF_CELLS = 1.5  # so that the time grows as n^1.5
_TRAINING_PHOTOS_PER_CELL = 50
_TRAINING_PHOTOS = 500_000  # they take 256 MB of the driver
_READERS = 4
_DISTANCES = 100_000
_FILE_BITS = 32  # a row of the search is the number of its file and its place in the file, in one integer

T = TypeVar("T")
N = TypeVar("N", bound=np.generic)


class Searched(NamedTuple):
    """What a search tells the driver: for how many photos it was, and their distances from their neighbours.

    ``distances`` are means, of at most about 100,000 of the photos.
    """

    photos: int
    distances: NDArray[np.float32]

    @property
    def typical_distance(self) -> float:
        """The median of the distances; 0 if there are none."""
        return float(np.median(self.distances)) if len(self.distances) else 0.0


def search(  # noqa: PLR0913, PLR0917 - four tables and two numbers
    context: SparkContext, photos: Table, count: int, cells: Table, neighbours: Table, exact_up_to: int = EXACT_UP_TO
) -> Searched:
    """Write the 10 nearest other photos of each photo (NEIGHBOURS_SCHEMA).

    Parameters
    ----------
    context
        Where to run the tasks.
    photos
        The photos (SEARCH_SCHEMA).
    count
        Their number.
    cells
        Where to write the photos of a large run, divided into cells.
    neighbours
        The table to write.
    exact_up_to
        The largest number of photos that are not divided.
    """
    divided = None
    if count > exact_up_to:
        divided = _divide(context, photos, count, cells)
        photos = cells
    names = photos.names()
    tasks = _tasks(context, len(names), count, PHOTOS_PER_TASK)
    files = [part.tolist() for part in np.array_split(np.arange(len(names)), tasks)]
    run_task = partial(_search_files, photos, names, context.broadcast(divided), neighbours, -(-count // _DISTANCES))
    done = context.parallelize(files, tasks).map(run_task).collect()
    return Searched(sum(part.photos for part in done), np.concatenate([part.distances for part in done]))


def _tasks(context: SparkContext, most: int, count: int, photos_per_task: int) -> int:
    """Return how many tasks share so many photos: enough for all cores, and for the memory of a worker."""
    return min(most, max(_TASKS_PER_CORE * context.defaultParallelism, -(-count // photos_per_task)))


def _search_files(  # noqa: PLR0913, PLR0917 - what all tasks share, and their own photos
    photos: Table,
    names: list[str],
    divided: "Broadcast[Cells | None]",
    neighbours: Table,
    stride: int,
    files: list[int],
) -> Searched:
    faiss.omp_set_num_threads(1)  # Spark gives each task one core
    own = [_read(photos, names[file], tables.SEARCH_SCHEMA.names) for file in files]
    rows = np.concatenate([_rows(file, len(part)) for file, part in zip(files, own, strict=True)])
    queries = _vectors(pa.concat_tables(own))
    nearest = Nearest(queries, K + 1)
    wanted = _wanted(queries, names, divided.value)
    read = lambda file: _vectors(_read(photos, names[file], ["vector"]))  # noqa: E731 - it is used once
    for (file, of_queries), block in zip(wanted, _read_ahead(read, [file for file, _ in wanted]), strict=True):
        nearest.add(block, file << _FILE_BITS, of_queries)
    found, distances = nearest.without(rows)
    stops = np.cumsum([len(part) for part in own])[:-1]
    of_each = zip(own, np.split(found, stops), np.split(distances, stops), strict=True)
    # One file after the other, because all photos that are near to those of a task may not fit in a worker.
    batches = (batch for part in of_each for batch in _neighbours(photos, names, *part).to_batches())
    neighbours.write(f"part-{tables.task_number():05d}.parquet", batches, tables.NEIGHBOURS_SCHEMA)
    exists = found >= 0
    means = np.where(exists, distances, 0).sum(axis=1) / np.maximum(exists.sum(axis=1), 1)
    return Searched(len(rows), means[::stride])


def _wanted(queries: Vectors, names: Sequence[str], divided: Cells | None) -> list[tuple[int, NDArray[np.intp]]]:
    """Return the files to compare with, and which queries."""
    if divided is None:
        return [(file, np.arange(len(queries))) for file in range(len(names))]
    files = {name: file for file, name in enumerate(names)}
    return [
        (files[_cell_name(cell)], of_queries)
        for cell, of_queries in divided.wanted(queries)
        if _cell_name(cell) in files  # no photo is nearest to the centres of some cells
    ]


def _rows(file: int, count: int) -> NDArray[np.int64]:
    return (file << _FILE_BITS) + np.arange(count, dtype=np.int64)


def _fetch(photos: Table, names: Sequence[str], found: NDArray[np.int64]) -> tuple[pa.Table, NDArray[np.intp]]:
    """Return the photos with these row numbers, and the place of each number among them; -1 where there is none."""
    needed = np.unique(found[found >= 0])
    files = np.unique(needed >> _FILE_BITS)
    columns = ["path", "label", "sha256", "pixels_sha256", "miniature"]
    parts = []
    for file, part in zip(files, _read_ahead(lambda file: _read(photos, names[file], columns), files), strict=True):
        parts.append(part.take(needed[needed >> _FILE_BITS == file] & (2**_FILE_BITS - 1)))
    empty = pa.schema([tables.SEARCH_SCHEMA.field(name) for name in columns]).empty_table()
    return pa.concat_tables([empty, *parts]).combine_chunks(), np.where(found >= 0, np.searchsorted(needed, found), -1)


def _neighbours(
    photos: Table, names: Sequence[str], mine: pa.Table, found: NDArray[np.int64], distances: Vectors
) -> pa.Table:
    """Return the rows of NEIGHBOURS_SCHEMA: for each photo, those with the row numbers that were found."""
    others, places = _fetch(photos, names, found)
    exists = places >= 0
    alike = np.zeros(places.shape, np.float32)
    if len(others):
        alike = likeness(_miniatures(mine), _miniatures(others), places)
    flat = others.select(["path", "label"]).take(places[exists])
    repeated = np.nonzero(exists)[0]
    same = np.full(len(flat), None, object)
    for column, value in (("pixels_sha256", "pixels"), ("sha256", "bytes")):
        same[_digests(mine, column)[repeated] == _digests(others, column)[places[exists]]] = value
    structs = pa.StructArray.from_arrays(
        [
            flat.column("path").combine_chunks(),
            flat.column("label").combine_chunks(),
            pa.array(distances[exists], pa.float32()),
            pa.array(alike[exists], pa.float32()),
            pa.array(same, pa.string()),
        ],
        fields=list(tables.NEIGHBOUR),
    )
    offsets = np.concatenate([[0], exists.sum(axis=1).cumsum()]).astype(np.int32)
    lists = pa.ListArray.from_arrays(offsets, structs)
    return pa.table([mine.column("path"), mine.column("label"), lists], schema=tables.NEIGHBOURS_SCHEMA)


def _divide(context: SparkContext, photos: Table, count: int, cells: Table) -> Cells:
    """Write the photos to one file per cell."""
    number, probes, stride = cells_for(count)
    sample = np.concatenate(photos.spread(context).map(partial(_sample, photos, stride)).collect())
    divided = Cells.train(sample, number, probes)
    names = photos.names()
    tasks = _tasks(context, len(names), count, _DIVIDED_PER_TASK)
    parts = context.parallelize(names, tasks).flatMap(partial(_by_cell, photos, context.broadcast(divided)))
    parts.groupByKey(min(number, tasks)).foreach(partial(_write_cell, cells))
    return divided


def cells_for(count: int) -> tuple[int, int, int]:
    """Return how many cells a run of so many photos has, how many a query probes, and which share trains: 1 in n."""
    number = -(-count // _PHOTOS_PER_CELL)
    probes = math.ceil(_PROBES_PER_ROOT_OF_CELLS * math.sqrt(number))
    return number, probes, max(1, count // min(_TRAINING_PHOTOS, number * _TRAINING_PHOTOS_PER_CELL))


def _sample(photos: Table, stride: int, name: str) -> Vectors:
    return _vectors(_read(photos, name, ["vector"]))[::stride]


def _by_cell(photos: Table, divided: "Broadcast[Cells]", name: str) -> Iterator[tuple[int, bytes]]:
    faiss.omp_set_num_threads(1)
    rows = _read(photos, name, tables.SEARCH_SCHEMA.names)
    cells = divided.value.own(_vectors(rows))
    for cell in np.unique(cells):
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, tables.SEARCH_SCHEMA) as stream:
            stream.write_table(rows.take(np.flatnonzero(cells == cell)))
        yield int(cell), sink.getvalue().to_pybytes()


def _write_cell(cells: Table, cell: tuple[int, Iterator[bytes]]) -> None:
    number, parts = cell
    batches = [batch for part in sorted(parts) for batch in pa.ipc.open_stream(part)]
    cells.write(_cell_name(number), batches, tables.SEARCH_SCHEMA)


def _cell_name(cell: int) -> str:
    return f"cell-{cell:05d}.parquet"


def _read(photos: Table, name: str, columns: Sequence[str]) -> pa.Table:
    schema = pa.schema([tables.SEARCH_SCHEMA.field(column) for column in columns])
    return pa.Table.from_batches((batch.cast(schema) for batch in photos.read(name, columns)), schema)


def _read_ahead(read: Callable[[int], T], files: Sequence[int]) -> Iterator[T]:
    """Yield what is read from files, in their order, while the next files are read."""
    with ThreadPoolExecutor(_READERS) as pool:
        yield from in_order(pool, _READERS, ((0, partial(read, int(file))) for file in files))  # all files are small


def _vectors(rows: pa.Table) -> Vectors:
    return _values(rows, "vector", np.float32)


def _miniatures(rows: pa.Table) -> NDArray[np.uint8]:
    return _values(rows, "miniature", np.uint8)


def _values(rows: pa.Table, column: str, kind: type[N]) -> NDArray[N]:
    """Return the numbers in a column of bytes, a row for each photo."""
    values = np.frombuffer(b"".join(rows.column(column).to_numpy()), kind)
    return values.reshape(len(rows), len(values) // max(1, len(rows)))


def _digests(rows: pa.Table, column: str) -> NDArray[np.object_]:
    digests: NDArray[np.object_] = rows.column(column).to_numpy()
    return digests
