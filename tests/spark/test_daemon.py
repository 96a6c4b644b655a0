import os
import subprocess
import sys
import zipfile
from pathlib import Path

from pyspark.sql import SparkSession

from spark_job import session


def test_workers_start_with_the_imports_of_tasks_loaded(spark: SparkSession) -> None:
    def loaded(_: int) -> tuple[set[str], str]:
        import pyarrow
        import pyspark

        pyarrow.array(["as tasks do"])
        return set(sys.modules), pyspark.__file__

    modules, where = spark.sparkContext.parallelize([0], 1).map(loaded).first()
    assert {"spark_job.features", "ai_edge_litert.interpreter", "boto3"} <= modules
    assert not {"pandas", "pyspark.ml"} & modules  # 34 and 13 MB that no task needs
    assert ".zip" not in where


def test_the_daemon_forks_workers_from_a_single_thread() -> None:
    """A lock that another thread holds during a fork stays locked in the worker. jemalloc handles its own thread."""
    code = """
import pathlib
import spark_job.daemon
spark_job.daemon.prepare()
print([name for task in pathlib.Path("/proc/self/task").iterdir() if (name := (task / "comm").read_text().strip())])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    names = [name for name in eval(done.stdout) if name != "jemalloc_bg_thd"]
    assert len(names) == 1


def test_tasks_do_not_read_zip_files_again(tmp_path: Path) -> None:
    package = tmp_path / "package.zip"
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr("in_a_zip.py", "")
    code = """
import importlib, os, sys
import spark_job.daemon
spark_job.daemon.prepare()
import in_a_zip
os.remove(in_a_zip.__file__.rpartition("/")[0])
importlib.invalidate_caches()
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(package), str(Path(session.__file__).parents[1])])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
