"""Spark's Python daemon, with the modules that tasks import already loaded, so that workers start at once.

Spark forks its Python workers from a daemon. ``spark.python.daemon.module`` names this module. With Spark's own daemon,
each worker would import every module again, from zip files.
"""

import contextlib
import gc
import importlib
import os
import sys
import zipimport


def prepare() -> None:
    """Import what tasks need, and keep tasks from searching for it again."""
    # A task has one core, and numpy's threads would not survive a fork.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # Zips come last: if pyspark is also installed as files, those are already compiled.
    sys.path.sort(key=lambda place: place.endswith(".zip"))
    # Spark invalidates import caches before each task, and Python 3.11 then reads the directory of every zip: 0.1 s per
    # task (github.com/python/cpython/issues/103200). The zips do not change while a worker runs.
    zipimport.zipimporter.invalidate_caches = lambda _: None  # type: ignore[method-assign, assignment]  # a patch
    for module in ("boto3", "spark_job.features", "spark_job.pca", "spark_job.sample"):
        importlib.import_module(module)
    from spark_job.network.model import quiet

    with quiet(), contextlib.suppress(ImportError):  # clusters with the other engine do not have it
        importlib.import_module("ai_edge_litert.interpreter")
    # Workers never look for garbage among what they share with the daemon. That would copy its memory, page by page.
    gc.freeze()


def main() -> None:
    """Run the daemon."""
    prepare()
    importlib.import_module("pyspark.daemon").manager()


if __name__ == "__main__":
    main()
