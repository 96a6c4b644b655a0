"""What a plan costs the driver: ``python -m benchmarks.planning FOLDER`` prints seconds, and MB over an idle driver.

The driver is this process and its JVM; executors are processes of their own where Spark runs as a cluster.
"""

import os
import sys
import threading
import time

import psutil

from spark_job import plan, session
from spark_job.storage import open_store


def main() -> None:
    """Plan once to warm up, on one folder, then on all of it, and watch the driver."""
    folder = sys.argv[1]
    store = open_store(folder)
    spark = session.start()
    first = f"{folder}/{store.folders()[0]}"
    plan.make(plan.list_images(spark, open_store(first)), None, store)
    with Watch() as watch:
        began = time.perf_counter()
        planned = plan.make(plan.list_images(spark, store), None, store)
        seconds = time.perf_counter() - began
    print(planned.found, seconds, watch.peak - watch.idle)


class Watch:
    """Samples how many MB the driver holds, while it is entered."""

    def __enter__(self) -> "Watch":
        """Start."""
        self._done = threading.Event()
        self.idle = self.peak = self._held()
        self._thread = threading.Thread(target=self._sample)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
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
