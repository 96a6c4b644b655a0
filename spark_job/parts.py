"""A table as its parts: Parquet files that tasks read and write with Arrow, many rows at a time.

The features of an image are 5 KB. Spark's own reader and writer would take them through the JVM row by row, on the
cores that the network runs on; Arrow needs a tenth of that time. A part bears the number of its task, so that a task
that is tried again writes the same part again, and it appears whole or not at all, as everything in a store does.
"""

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from spark_job.objects import LISTING
from spark_job.store import open_store

if TYPE_CHECKING:  # whoever looks a photo up has parts to read, and no Spark
    from pyspark import RDD, SparkContext

_PHOTO = [LISTING.field("path"), pa.field("label", pa.string())]
_WHY = [pa.field("reason", pa.string()), pa.field("detail", pa.string())]
PHOTOS = pa.schema([*_PHOTO, LISTING.field("size"), LISTING.field("modified")])
"""Columns of a photo: where it is below the input, its parent folder, bytes, time of last modification."""

FEATURES = pa.schema([*PHOTOS, ("features", pa.list_(pa.float32()))])
OUTCOMES = pa.schema([*FEATURES, *_WHY])
REJECTED = pa.schema([*_PHOTO, LISTING.field("size"), *_WHY])
PROJECTION = pa.schema([*_PHOTO, ("pca", pa.list_(pa.float32()))])

_ROWS_A_GROUP = 1_024
_REPEATING = ["label", "reason"]  # features hardly repeat: a dictionary of them would be built to be thrown away
_TASKS_A_CORE = 2


@dataclass(frozen=True)
class Parts:
    """A table's folder in a store, which is given by its URI."""

    store: str
    folder: str

    def names(self) -> list[str]:
        """Return the names of the parts, in order."""
        listed = open_store(self.store).listing(self.folder)
        paths = [path.removeprefix(f"{self.folder}/") for page in listed for path in page.column("path").to_pylist()]
        return sorted(path for path in paths if path.endswith(".parquet") and not path.startswith((".", "_")))

    def spread(self, context: "SparkContext") -> "RDD[str]":
        """Return the names of the parts over Spark's tasks."""
        names = self.names()
        tasks = max(1, min(len(names), _TASKS_A_CORE * context.defaultParallelism))
        return context.parallelize(names, tasks)

    def read(self, name: str, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yield some columns of a part, 1,024 rows at a time."""
        file = io.BytesIO(open_store(self.store).read(f"{self.folder}/{name}").data)
        batches: Iterator[pa.RecordBatch] = pq.ParquetFile(file).iter_batches(_ROWS_A_GROUP, columns=list(columns))
        return batches

    def write(self, name: str, rows: Iterable[pa.RecordBatch], schema: pa.Schema) -> None:
        """Write a part."""
        with Part(self, name, schema) as part:
            for batch in rows:
                part.add(batch)


class Part:
    """A part to write. Rows are compressed as they come, and stored at the end, unless that is an error."""

    def __init__(self, parts: Parts, name: str, schema: pa.Schema) -> None:
        self._parts, self._name, self._schema = parts, name, schema
        self._file = io.BytesIO()
        self._writer = pq.ParquetWriter(self._file, schema, use_dictionary=_REPEATING)
        self._waiting: list[pa.RecordBatch] = []

    def add(self, batch: pa.RecordBatch) -> None:
        """Add rows; columns that the table does not have are left out."""
        self._waiting.append(batch.select(self._schema.names).cast(self._schema))  # Spark names lists' items otherwise
        if sum(waiting.num_rows for waiting in self._waiting) >= _ROWS_A_GROUP:
            self._compress()

    def _compress(self) -> None:
        group = pa.Table.from_batches(self._waiting, self._schema)
        self._writer.write_table(group, row_group_size=max(1, len(group)))
        self._waiting = []

    def __enter__(self) -> "Part":
        return self

    def __exit__(self, error: object, *_: object) -> None:
        if error is None:
            self._compress()
            self._writer.close()
            open_store(self._parts.store).write(f"{self._parts.folder}/{self._name}", self._file.getvalue())
