"""Kill processes of a run at chosen moments. ``benchmarks/crashes.py`` kills them at random moments."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from spark_job import runs
from spark_job.manifest import Manifest
from spark_job.runs import RunFolder
from spark_job.storage import open_store
from spark_job.watch import Patience, Watched, choose

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


def _wait(process: "subprocess.Popen[str]", condition: Callable[[], object]) -> None:
    """Wait until a condition holds. There is no time-out but pytest's, which a busy machine does not reach."""
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)


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


@dataclass(frozen=True)
class Crash:
    """A run that lost a worker, then a run whose driver was killed, then a run to the end."""

    job: Job
    before: Manifest | None
    at_the_crash: Manifest | None
    in_progress: RunFolder | None
    after: Manifest | None


@pytest.fixture(scope="module")
def crash(model_file: str, tmp_path_factory: pytest.TempPathFactory) -> Crash:
    if not Path("/proc/self/stat").exists():
        pytest.skip("the test finds Spark's workers in /proc")
    job = Job(tmp_path_factory.mktemp("crash"), model_file)
    process = job.start("before")
    _wait(process, lambda: (job.results / "runs" / "before" / "_started.json").exists() and _workers(process.pid))
    os.kill(_workers(process.pid)[0], signal.SIGKILL)
    errors = process.communicate()[1]
    assert process.returncode == 0, errors
    before = job.latest()

    process = job.start("killed")
    killed = job.results / "runs" / "killed"
    _wait(process, lambda: (killed / "features").exists() and (killed / "_progress.json").exists())
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    return Crash(job, before, job.latest(), choose(open_store(str(job.results)), None), job.run("after"))


def test_a_killed_worker_fails_a_task_attempt_and_not_the_run(crash: Crash) -> None:
    """The result still contains each photo exactly once."""
    assert crash.before is not None
    assert (crash.before.run_id, crash.before.counts.computed) == ("before", 12)


def test_a_killed_driver_leaves_the_last_run_and_the_next_run_finishes(crash: Crash) -> None:
    assert crash.at_the_crash == crash.before
    killed = crash.job.results / "runs" / "killed"
    assert (killed / "_started.json").exists()
    assert not (killed / "manifest.json").exists()
    assert crash.after is not None
    assert crash.after.run_id == "after"


def test_a_killed_driver_is_noticed(crash: Crash) -> None:
    """The command `watch` finds the run, which wrote its progress, and says that nothing follows."""
    folder = crash.in_progress
    assert folder is not None
    assert folder.run_id == "killed"
    seconds = [0.0]
    watched = Watched(Patience(silent=180), lambda: seconds[0])
    watched.read(folder.progress, folder.started)
    seconds[0] += 180
    watched.read(folder.progress, folder.started)
    assert "Its driver may have died" in (watched.warning() or "")
