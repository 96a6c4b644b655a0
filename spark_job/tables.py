"""Tables as folders of Parquet files, which tasks read and write with Arrow.

The features of a photo take 5 KB. Spark's own reader and writer would pass them through the JVM row by row, on the
cores that run the network; Arrow needs a tenth of that time. Each task names its file after its own number, so a task
that runs twice writes the same file again. A file appears whole or not at all, as every object in a store does.
"""

import hashlib
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeVar, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from spark_job.arrow import forget_pandas
from spark_job.network.quality import MINIATURE_SIDE
from spark_job.storage import open_store
from spark_job.storage.base import LISTING_SCHEMA

if TYPE_CHECKING:  # `similar` reads tables without Spark
    from pyarrow.dataset import Expression, Fragment
    from pyspark import RDD, SparkContext, TaskContext

_PHOTO = [LISTING_SCHEMA.field("path"), pa.field("label", pa.string())]
_REJECTION = [pa.field("reason", pa.string()), pa.field("detail", pa.string())]
PHOTOS_SCHEMA = pa.schema(
    [*_PHOTO, LISTING_SCHEMA.field("size"), LISTING_SCHEMA.field("modified"), ("crc", pa.int64())]
)
"""A photo: path relative to the input, name of its folder, size in bytes, and what tells that it is still the same.

That is the time of the last modification of a file, and the CRC-32 of a photo in an archive; the other one is null.
"""

_MEMBER = pa.struct(
    [
        *(("archive", pa.string()), ("version", pa.string()), ("offset", pa.int64()), ("end", pa.int64())),
        *(("compressed", pa.int64()), ("method", pa.int32()), ("size", pa.int64()), ("crc", pa.int64())),
    ]
)
PLACED_SCHEMA = pa.schema([*PHOTOS_SCHEMA, ("member", _MEMBER), ("refused", pa.struct(_REJECTION))])
"""A photo, where it is if it is in an archive, and the reason if it is already known that it cannot be used."""

SOURCE_SCHEMA = pa.schema([("run_id", pa.string()), ("file", pa.string()), ("row", pa.int64())])
"""Where an earlier run has the features of a photo: the run, its file, and the number of the row in it."""

QUALITY_SCHEMA = pa.schema(
    [
        ("sha256", pa.binary(32)),
        ("pixels_sha256", pa.binary(32)),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("brightness_low", pa.float32()),
        ("brightness_high", pa.float32()),
        ("sharpness", pa.float32()),
        ("entropy", pa.float32()),
        ("miniature", pa.binary(3 * MINIATURE_SIDE**2)),
    ]
)
"""What is measured while a photo is decoded: digests of its bytes and pixels, its size in pixels, and its quality."""

FEATURES_SCHEMA = pa.schema([*PHOTOS_SCHEMA, *QUALITY_SCHEMA, ("features", pa.list_(pa.float32()))])
FEATURES_SCHEMA_VERSION = 4
"""Increment this whenever a column of FEATURES_SCHEMA or its meaning changes: a run reuses only rows of its version."""

OUTCOMES_SCHEMA = pa.schema([*FEATURES_SCHEMA, *_REJECTION])
REJECTED_SCHEMA = pa.schema([*_PHOTO, LISTING_SCHEMA.field("size"), *_REJECTION])
PCA_SCHEMA = pa.schema([*_PHOTO, ("pca", pa.list_(pa.float32()))])

SEARCH_SCHEMA = pa.schema([*_PHOTO, *QUALITY_SCHEMA, ("vector", pa.binary())])
"""A photo, what is known about it, and its first components: what the search and the findings read.

``vector`` has the bytes of float32 values, which Parquet reads three times as fast as lists.
"""

NEIGHBOUR = pa.struct(
    [*_PHOTO, ("distance", pa.float32()), ("likeness", pa.float32()), ("same", pa.string())],
)
NEIGHBOURS_SCHEMA = pa.schema([*_PHOTO, ("neighbours", pa.list_(NEIGHBOUR))])
"""A photo and the photos that are nearest to it: their distance, how alike the pixels are, and whether they are equal.

``same`` is ``bytes``, ``pixels`` or null.
"""

FINDINGS_SCHEMA = pa.schema(
    [
        ("kind", pa.string()),
        *_PHOTO,
        ("score", pa.float32()),
        ("group", pa.int64()),
        ("other_path", pa.string()),
        ("suggested_label", pa.string()),
        ("detail", pa.string()),
    ]
)
"""One photo and what was found about it. Photos that are copies of each other have the same ``group``."""

_ROWS_PER_GROUP = 1_024
_ROWS_PER_FILE = 4_000
_DICTIONARY_COLUMNS = [
    "label",
    "member.archive",
    "member.version",
    "reason",
    "run_id",
    "file",
    "kind",
    "suggested_label",
]  # for feature values, which rarely repeat, it would cost time
_TASKS_PER_CORE = 2
_SMALL_TASKS_PER_CORE = 8

T = TypeVar("T")

forget_pandas()


class RejectedPhoto(NamedTuple):
    """A photo that cannot be used: what REJECTED_SCHEMA says about it for people."""

    reason: str
    path: str
    detail: str


@dataclass(frozen=True)
class Table:
    """The folder of a table.

    Attributes
    ----------
    store
        The URI of the store.
    folder
        The path of the folder in the store.
    """

    store: str
    folder: str

    def names(self) -> list[str]:
        """Return the names of the Parquet files, sorted."""
        listed = open_store(self.store).listing(self.folder)
        paths = [path.removeprefix(f"{self.folder}/") for page in listed for path in page.column("path").to_pylist()]
        return sorted(path for path in paths if path.endswith(".parquet") and not path.startswith((".", "_")))

    def fragments(self, constants: "Expression") -> "list[Fragment]":
        """Return the files for a dataset, which reads only the columns and row groups that a query needs.

        Parameters
        ----------
        constants
            The values of the columns that are not in the files.
        """
        from pyarrow.dataset import ParquetFileFormat

        parquet = ParquetFileFormat()
        # A file in Python would deadlock: Arrow waits for its own threads, and holds Python's lock that they need.
        files, place = open_store(self.store).arrow()
        return [
            parquet.make_fragment(f"{place}/{self.folder}/{name}", files, partition_expression=constants)
            for name in self.names()
        ]

    def spread(self, context: "SparkContext") -> "RDD[str]":
        """Return the names of the Parquet files, distributed over Spark's tasks."""
        names = self.names()
        tasks = max(1, min(len(names), _TASKS_PER_CORE * context.defaultParallelism))
        return context.parallelize(names, tasks)

    def read(self, name: str, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Yield columns of one file, all by default, in batches of 1,024 rows."""
        file = io.BytesIO(open_store(self.store).read(f"{self.folder}/{name}").data)
        whole = pq.ParquetFile(file, page_checksum_verification=True)
        batches: Iterator[pa.RecordBatch] = whole.iter_batches(_ROWS_PER_GROUP, columns=columns)
        return batches

    def write(self, name: str, rows: Iterable[pa.RecordBatch], schema: pa.Schema) -> None:
        """Write one file."""
        with PartWriter(self, name, schema) as part:
            for batch in rows:
                part.add(batch)


class PartWriter:
    """Writes one file of a table. It compresses rows as they come, and stores the file at the end unless an error came.

    Parameters
    ----------
    table
        The table.
    name
        The name of the file.
    schema
        The columns of the table.
    """

    def __init__(self, table: Table, name: str, schema: pa.Schema) -> None:
        self._table, self._name, self._schema = table, name, schema
        self._file = io.BytesIO()
        self._writer = pq.ParquetWriter(
            self._file, schema, use_dictionary=_DICTIONARY_COLUMNS, write_page_checksum=True
        )
        self._waiting: list[pa.RecordBatch] = []

    def add(self, batch: pa.RecordBatch) -> None:
        """Add rows. Columns that the table does not have are dropped."""
        self._waiting.append(batch.select(self._schema.names).cast(self._schema))  # Spark names list items differently
        if sum(waiting.num_rows for waiting in self._waiting) >= _ROWS_PER_GROUP:
            self._compress()

    def _compress(self) -> None:
        group = pa.Table.from_batches(self._waiting, self._schema)
        self._writer.write_table(group, row_group_size=max(1, len(group)))
        self._waiting = []

    def __enter__(self) -> "PartWriter":
        return self

    def __exit__(self, error: object, *_: object) -> None:
        if error is None:
            self._compress()
            self._writer.close()
            open_store(self._table.store).write(f"{self._table.folder}/{self._name}", self._file.getvalue())


def share(context: "SparkContext", items: Sequence[T]) -> "RDD[T]":
    """Distribute items over Spark's tasks: one for each item if there are at most eight per core."""
    return context.parallelize(items, min(len(items), _SMALL_TASKS_PER_CORE * context.defaultParallelism))


def task_number() -> int:
    """Return the number of the task that runs here."""
    from pyspark import TaskContext

    return cast("TaskContext", TaskContext.get()).partitionId()  # None only outside a task


def grouped(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Combine batches to tables of about 4,000 rows, each for a file of its own."""
    waiting: list[pa.RecordBatch] = []
    for batch in batches:
        waiting.append(batch)
        if sum(one.num_rows for one in waiting) >= _ROWS_PER_FILE:
            yield pa.Table.from_batches(waiting)
            waiting = []
    if any(one.num_rows for one in waiting):
        yield pa.Table.from_batches(waiting)


def lists(rows: NDArray[np.float32]) -> pa.Array:
    """Return an array of shape (n, d) as a column of n lists."""
    offsets = np.arange(0, rows.size + 1, rows.shape[1], dtype=np.int32)
    return pa.ListArray.from_arrays(offsets, pa.array(rows.ravel(), pa.float32()))


def matrix(column: pa.Array) -> NDArray[np.float32]:
    """Return a column of n lists, all of length d, as an array of shape (n, d), without a copy."""
    rows: NDArray[np.float32] = column.flatten().to_numpy().reshape(len(column), -1)
    return rows


def text_hashes(texts: Iterable[str]) -> NDArray[np.uint64]:
    """Return a hash of 64 bits for each text, such as a path."""
    digests = b"".join(hashlib.blake2b(text.encode(), digest_size=8).digest() for text in texts)
    return np.frombuffer(digests, ">u8").astype(np.uint64)
