"""Measure what a plan costs the driver: ``python -m benchmarks.planning FOLDER``.

The script prints the number of images, the seconds, and the memory in MB above that of an idle driver. The driver is
this process and its JVM. If Spark runs as a cluster, executors are separate processes and do not count.
"""

import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from benchmarks.measure import memory
from spark_job import plan, session
from spark_job.plan import Input
from spark_job.storage import open_store
from spark_job.tables import Table


def main() -> None:
    """Plan one folder to warm up, then plan all folders and measure the driver."""
    folder = sys.argv[1]
    store = open_store(folder)
    context = session.start()
    first = f"{folder}/{store.folders()[0]}"
    with TemporaryDirectory() as place:
        plan.make(context, Input(open_store(first)), Table(place, "first"))
        own = psutil.Process()
        driver = [own.pid, *(child.pid for child in own.children() if child.name() == "java")]
        for pid in driver:
            Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak becomes what it uses now
        idle = sum(memory(pid, "VmRSS") for pid in driver)
        began = time.perf_counter()
        planned, _ = plan.make(context, Input(store), Table(place, "whole"))
        seconds = time.perf_counter() - began
        peak = sum(memory(pid, "VmHWM") for pid in driver)
    print(planned.photos, seconds, peak - idle)


if __name__ == "__main__":
    main()
