"""Runs in separate processes, and their processes by what they do, so that one can be killed."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import psutil

from spark_job import runs
from spark_job.manifest import Manifest
from spark_job.storage import open_store

ROOT = Path(__file__).parents[1]


class Job:
    """A folder with photos, and runs on all of them that compute everything."""

    def __init__(self, photos: Path, results: Path, model: Path, environment: Mapping[str, str]) -> None:
        self.photos, self.results, self._model, self._environment = photos, results, model, environment

    def start(self, run_id: str, **environment: str) -> "subprocess.Popen[str]":
        """Start a run in a session of its own."""
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "spark_job", "run", "--input", str(self.photos), "--output", str(self.results)),
                *("--weights", str(self._model), "--components", "2", "--recompute", "--run-id", run_id),
            ],
            cwd=ROOT,
            env={**self._environment, **environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, run_id: str) -> Manifest | None:
        """Run to the end, and return the manifest of the latest run."""
        process = self.start(run_id)
        errors = process.communicate()[1]
        assert process.returncode == 0, errors
        return self.latest()

    def latest(self) -> Manifest | None:
        """Return the manifest that a reader finds, after checking that the run is complete."""
        if manifest := runs.latest(open_store(str(self.results))):
            folder = self.results / "runs" / manifest.run_id
            paths = {
                name: pd.read_parquet(folder / name, columns=["path"])["path"]
                for name in ("features", "rejected", "pca")
            }
            photos = sorted(str(file.relative_to(self.photos)) for file in self.photos.rglob("*.*"))
            assert sorted([*paths["features"], *paths["rejected"]]) == photos
            assert sorted(paths["pca"]) == sorted(paths["features"])
            assert (folder / "report.html").read_text().rstrip().endswith("</html>")
        return manifest


def processes(run: int, kind: str) -> list[psutil.Process]:
    """Return the processes of a run that are a ``worker``, Spark's ``daemon``, an ``executor``, or the ``JVM``."""
    found = []
    for process in psutil.Process(run).children(recursive=True):
        try:
            line, parent = " ".join(process.cmdline()), " ".join(process.parent().cmdline())
        except (psutil.Error, AttributeError):  # it has ended
            continue
        is_python, below_python = "spark_job.daemon" in line, "spark_job.daemon" in parent
        kinds = {
            "worker": is_python and below_python,
            "daemon": is_python and not below_python,
            "executor": "CoarseGrainedExecutorBackend" in line,
            "JVM": "SparkSubmit" in line and "java" in line,
        }
        if kinds[kind]:
            found.append(process)
    return found
