"""The tables that tasks write themselves: a part a task, named by its number, so that a retry writes the same again.

The features of an image are 5 KB. Spark's own writer would take them through the JVM row by row, on the cores that the
network runs on; Arrow needs a tenth of that time. A part appears whole or not at all, as everything in a store does.
"""

import io
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.parquet as pq

from spark_job.objects import Store

FEATURES = ["path", "label", "size", "modified", "features"]
REJECTED = ["path", "label", "size", "reason", "detail"]

_ROWS_A_GROUP = 1_024


def write(outcomes: Iterable[pa.RecordBatch], schema: pa.Schema, output: Store, folder: str, part: str) -> int:
    """Write outcomes as one part of the tables ``features`` and ``rejected``, and return how many there were.

    ``rejected`` has a part even where nothing was rejected, because a table without parts cannot be read.
    """
    table = pa.Table.from_batches(outcomes, schema)
    computed = table.column("reason").is_null()
    if any(computed.to_pylist()):
        _put(table.filter(computed).select(FEATURES), output, f"{folder}/features/{part}.parquet")
    _put(table.filter(table.column("reason").is_valid()).select(REJECTED), output, f"{folder}/rejected/{part}.parquet")
    return len(table)


def _put(table: pa.Table, output: Store, path: str) -> None:
    out = io.BytesIO()
    # Features hardly repeat: a dictionary of them would be built only to be thrown away.
    pq.write_table(table, out, row_group_size=_ROWS_A_GROUP, use_dictionary=["label", "reason"])
    output.write(path, out.getvalue())
