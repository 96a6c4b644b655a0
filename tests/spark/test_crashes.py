"""Kill processes of a run at chosen moments. ``benchmarks/crashes.py`` kills them at random moments."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from spark_job import runs
from spark_job.manifest import Manifest
from spark_job.storage import open_store

ROOT = Path(__file__).parents[2]


class Job:
    """Photos, an output folder, and runs on them in separate processes."""

    def __init__(self, folder: Path, model_file: str) -> None:
        self.photos, self.results, self._model_file = folder / "photos", folder / "results", model_file
        for number in range(12):
            file = self.photos / f"{number % 2}" / f"{number}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.random.default_rng(number).integers(0, 256, (40, 50, 3), np.uint8)).save(file)

    def start(self, run_id: str) -> "subprocess.Popen[str]":
        """Start a run that computes everything."""
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "spark_job", "run", "--input", str(self.photos), "--output", str(self.results)),
                *("--weights", self._model_file, "--components", "2", "--recompute", "--run-id", run_id),
            ],
            cwd=ROOT,
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
        """Return the manifest that a reader finds, after checking that its tables are complete."""
        manifest = runs.latest(open_store(str(self.results)))
        if manifest:
            for table in ("features", "pca"):
                paths = pd.read_parquet(self.results / "runs" / manifest.run_id / table)["path"]
                assert paths.is_unique
                assert len(paths) == 12
        return manifest


@pytest.fixture
def job(tmp_path: Path, model_file: str) -> Job:
    return Job(tmp_path, model_file)


def _wait(process: "subprocess.Popen[str]", condition: Callable[[], object]) -> None:
    for _ in range(6000):
        if condition():
            return
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    raise AssertionError("the condition was not met within 60 s")


def _workers(session: int) -> list[int]:
    """Return the Python workers of a session. They are the children of Spark's daemon."""
    found = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
            line = status.with_name("cmdline").read_bytes()
        except OSError:
            continue
        if int(fields[3]) == session and b"spark_job.daemon" in line:
            found[int(status.parent.name)] = int(fields[1])
    return [worker for worker, parent in found.items() if parent in found]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the test finds Spark's workers in /proc")
def test_a_killed_worker_fails_a_task_attempt_and_not_the_run(job: Job) -> None:
    """The result still contains each photo exactly once."""
    process = job.start("one")
    _wait(process, lambda: (job.results / "runs" / "one" / "_started.json").exists() and _workers(process.pid))
    os.kill(_workers(process.pid)[0], signal.SIGKILL)
    errors = process.communicate()[1]
    assert process.returncode == 0, errors
    made = job.latest()
    assert made is not None
    assert (made.run_id, made.counts.computed) == ("one", 12)


def test_a_killed_driver_leaves_the_last_run_and_the_next_run_finishes(job: Job) -> None:
    before = job.run("before")
    process = job.start("killed")
    _wait(process, (job.results / "runs" / "killed" / "features").exists)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert job.latest() == before
    assert (job.results / "runs" / "killed" / "_started.json").exists()
    after = job.run("after")
    assert after is not None
    assert after.run_id == "after"
