"""Start Spark and count one row that passes through Python, and nothing else: ``python -m benchmarks.idle``."""

from collections.abc import Iterable

import pyarrow as pa

from spark_job import session


def same(batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
    """Yield the batches unchanged."""
    yield from batches


def main() -> None:
    """Start Spark and count one row."""
    session.start().range(1).mapInArrow(same, "id long").count()


if __name__ == "__main__":
    main()
