"""Spark's Python daemon, with what tasks import loaded already: each worker is forked from it and starts at once.

``spark.python.daemon.module`` names this module. Workers of Spark's own daemon import everything anew, out of zips.
"""

import contextlib
import importlib
import os
import sys
import zipimport


def prepare() -> None:
    """Load what tasks import, and see to it that no task looks for it again."""
    # A task has one core; and numpy's threads would not survive a fork.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # Zips last: pyspark is taken from where it is unpacked and compiled, if it is.
    sys.path.sort(key=lambda place: place.endswith(".zip"))
    # Spark invalidates import caches before each task, and Python 3.11 then reads every zip's directory, for 0.1 s a
    # task: github.com/python/cpython/issues/103200. Zips do not change under a worker.
    zipimport.zipimporter.invalidate_caches = lambda _: None  # type: ignore[method-assign, assignment]  # a patch
    for module in ("features", "pca", "sample"):
        importlib.import_module(f"spark_job.{module}")
    from spark_job.model import quiet

    with quiet(), contextlib.suppress(ImportError):  # a cluster with the other engine does without
        importlib.import_module("ai_edge_litert.interpreter")


def main() -> None:
    """Be the daemon."""
    prepare()
    importlib.import_module("pyspark.daemon").manager()


if __name__ == "__main__":
    main()
