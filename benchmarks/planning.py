"""Measure what a plan costs the driver: ``python -m benchmarks.planning FOLDER``.

The script prints the number of images, the seconds, and the memory in MB above that of an idle driver. The driver is
this process and its JVM. If Spark runs as a cluster, executors are separate processes and do not count.
"""

import os
import sys
import threading
import time
from tempfile import TemporaryDirectory

import psutil

from spark_job import plan, session
from spark_job.storage import open_store
from spark_job.tables import Table


def main() -> None:
    """Plan one folder to warm up, then plan all folders and measure the driver."""
    folder = sys.argv[1]
    store = open_store(folder)
    spark = session.start()
    first = f"{folder}/{store.folders()[0]}"
    with TemporaryDirectory() as place:
        plan.make(spark, open_store(first), None, Table(place, "first"))
        with MemorySampler() as memory:
            began = time.perf_counter()
            planned = plan.make(spark, store, None, Table(place, "whole"))
            seconds = time.perf_counter() - began
    print(planned.found, seconds, memory.peak - memory.idle)


class MemorySampler:
    """A context that samples the memory of the driver, in MB."""

    def __enter__(self) -> "MemorySampler":
        """Start sampling."""
        self._done = threading.Event()
        self.idle = self.peak = self._held()
        self._thread = threading.Thread(target=self._sample)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop sampling."""
        self._done.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._done.wait(0.1):
            self.peak = max(self.peak, self._held())

    @staticmethod
    def _held() -> float:
        own = psutil.Process(os.getpid())
        drivers = [own, *(child for child in own.children() if child.name() == "java")]
        return float(sum(process.memory_info().rss for process in drivers)) / 1e6


if __name__ == "__main__":
    main()
