"""Measure the stages `neighbours` and `findings` as a run executes them: ``python -m benchmarks.findings COUNT``.

The vectors are those of :mod:`benchmarks.search`; all else is measured on small photos. The script prints the seconds
of processor time that Spark and its workers spent on each stage, and the peak memory in MB of the largest worker.
"""

import os
import sys
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import pyarrow as pa

from benchmarks import photos
from benchmarks.measure import largest_worker
from benchmarks.search import vectors
from spark_job import session
from spark_job.findings.search import search
from spark_job.findings.stage import judge
from spark_job.network import MOBILENET_V2
from spark_job.network.images import picture
from spark_job.network.quality import Quality, measure
from spark_job.tables import SEARCH_SCHEMA, Table

_PHOTOS_PER_FILE = 4_000
_GROUPS_PER_LABEL = 100


def make(folder: Path, table: Table, count: int) -> Counter[str]:
    """Write photos (SEARCH_SCHEMA) to a table. Return their number by label."""
    files = sorted(photos.small(folder / "small", 2_000).rglob("*.jpg"))
    measured = [_measured(file.read_bytes()) for file in files]
    values, groups = vectors(count)
    labels = [f"label-{group // _GROUPS_PER_LABEL:05d}" for group in groups]
    for start in range(0, count, _PHOTOS_PER_FILE):
        rows = range(start, min(start + _PHOTOS_PER_FILE, count))
        columns = [
            [f"{labels[row]}/{row}.jpg" for row in rows],
            [labels[row] for row in rows],
            *zip(*(measured[row % len(measured)] for row in rows), strict=True),
            [values[row].tobytes() for row in rows],
        ]
        arrays = [pa.array(column, field.type) for column, field in zip(columns, SEARCH_SCHEMA, strict=True)]
        table.write(f"part-{start:08d}.parquet", [pa.record_batch(arrays, schema=SEARCH_SCHEMA)], SEARCH_SCHEMA)
    return Counter(labels)


def _measured(data: bytes) -> Quality:
    return measure(data, picture(data, MOBILENET_V2.side))


def _spent() -> float:
    """Return the processor seconds of Java and of all its workers, living and ended."""
    processes = psutil.Process().children(recursive=True)
    return sum(sum(process.cpu_times()[:4]) for process in processes)


def main() -> None:
    """Make photos, search and judge, and print what it took."""
    count = int(sys.argv[1])
    context = session.start()
    with TemporaryDirectory() as place:
        known, cells, neighbours, findings = (Table(place, name) for name in ("photos", "cells", "neighbours", "found"))
        labels = make(Path(place), known, count)
        began = _spent()
        searched = search(context, known, count, cells, neighbours)
        middle = _spent()
        judge(context, known, neighbours, labels, searched.typical_distance, findings)
        print(middle - began, _spent() - middle, largest_worker(os.getpid()))


if __name__ == "__main__":
    main()
