"""Spark with nothing to do: start it, and count one row that has been through Python. ``python -m benchmarks.idle``."""

from collections.abc import Iterable

import pyarrow as pa

from spark_job import session


def same(batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
    """Return what comes in."""
    yield from batches


def main() -> None:
    """Start, and count."""
    session.start().range(1).mapInArrow(same, "id long").count()


if __name__ == "__main__":
    main()
