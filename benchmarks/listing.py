"""Measure how long a plan of a bucket takes, most of which is its listing: ``python -m benchmarks.listing URI``.

The script prints the number of objects, the number of their distinct paths, and the seconds.
"""

import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow.parquet as pq

from spark_job import plan, session
from spark_job.storage import open_store
from spark_job.tables import Table


def main() -> None:
    """Plan a bucket, and count what was found."""
    store = open_store(sys.argv[1])
    spark = session.start()
    tasks = spark.sparkContext.defaultParallelism
    spark.sparkContext.range(tasks, numSlices=tasks).foreach(lambda _: time.sleep(1))  # starts a worker for each task
    plan.check(store)  # as every run does before its plan
    with TemporaryDirectory() as place:
        Path(place, "photo.jpg").touch()
        plan.make(spark, open_store(place), None, Table(place, "warm-up"))  # starts Spark SQL
        began = time.perf_counter()
        planned = plan.make(spark, store, None, Table(place, "plan"))
        seconds = time.perf_counter() - began
        paths = pq.read_table(f"{place}/plan", columns=["path"])["path"]
        print(planned.found, len(paths.unique()), seconds)


if __name__ == "__main__":
    main()
