"""Kill processes of a run at chosen moments. ``benchmarks/crashes.py`` kills them at random moments."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from spark_job.manifest import Manifest
from spark_job.runs import RunFolder
from spark_job.storage import open_store
from spark_job.watch import Watched, choose
from tests.crashing import Job, processes
from tests.hostile import picture


def _wait(process: "subprocess.Popen[str]", condition: Callable[[], object]) -> None:
    """Wait until a condition holds. There is no time-out but pytest's, which a busy machine does not reach."""
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)


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
    folder = tmp_path_factory.mktemp("crash")
    for number in range(12):
        file = folder / "photos" / f"{number % 2}" / f"{number}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        picture(seed=number).save(file)
    job = Job(folder / "photos", folder / "results", Path(model_file), os.environ)
    process = job.start("before")
    _wait(process, lambda: (job.results / "runs/before/_started.json").exists() and processes(process.pid, "worker"))
    processes(process.pid, "worker")[0].kill()
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
    watched = Watched(lambda: seconds[0])
    watched.read(folder.progress, folder.started)
    seconds[0] += 180
    watched.read(folder.progress, folder.started)
    assert "Its driver may have died" in (watched.warning() or "")
