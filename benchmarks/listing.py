"""Measure how long a bucket takes to list: ``python -m benchmarks.listing URI [FOLDER]``.

With a folder, one loop lists it page after page. Without one, Spark's tasks list the bucket as a plan does. The script
prints the number of objects, the number of their distinct paths, and the seconds.
"""

import sys
import time

from spark_job import plan, session
from spark_job.storage import open_store


def main() -> None:
    """List a bucket, and count what was found."""
    store = open_store(sys.argv[1])
    if folder := "".join(sys.argv[2:]):
        began = time.perf_counter()
        paths = [path for page in store.listing(folder) for path in page.column("path").to_pylist()]
        print(len(paths), len(set(paths)), time.perf_counter() - began)
        return
    spark = session.start()
    plan.list_images(spark, open_store(f"{sys.argv[1]}/nothing")).collect()  # starts Spark SQL and Python
    began = time.perf_counter()
    planned = plan.make(plan.list_images(spark, store), None, store)
    seconds = time.perf_counter() - began
    print(planned.found, planned.new.select("path").distinct().count(), seconds)


if __name__ == "__main__":
    main()
