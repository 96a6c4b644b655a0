"""Measure how long a plan of a bucket takes, most of which is its listing: ``python -m benchmarks.listing URI``.

The script prints the number of objects, the number of their distinct paths, and the seconds.
"""

import sys
import time

from spark_job import plan, session
from spark_job.storage import open_store


def main() -> None:
    """Plan a bucket, and count what was found."""
    store = open_store(sys.argv[1])
    spark = session.start()
    plan.list_images(spark, open_store(f"{sys.argv[1]}/nothing")).collect()  # starts Spark SQL and Python
    began = time.perf_counter()
    planned = plan.make(plan.list_images(spark, store), None, store)
    seconds = time.perf_counter() - began
    print(planned.found, planned.new.select("path").distinct().count(), seconds)


if __name__ == "__main__":
    main()
