"""Kill processes of a run at random moments and check what is left: ``python -m benchmarks.crashes --trials 60``.

Each trial starts a run on a few photos, sends SIGKILL to one of its processes, and checks what the documents promise:

- A reader always finds the last published run, and that run is complete.
- A run that died has a marker and no manifest.
- The next run finishes.
- ``forget`` removes the runs that died.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pyarrow.parquet as pq

from benchmarks.measure import ROOT, cluster, job
from spark_job import demo
from spark_job.manifest import Manifest
from spark_job.network import weights
from spark_job.runs import latest
from spark_job.storage import open_store

VICTIMS = ("worker", "daemon", "executor", "driver's Python", "driver's JVM", "everything")


def main() -> None:
    """Run the trials and print how each ended."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--victims", nargs="+", choices=VICTIMS, default=VICTIMS)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as place:
        folder = Folder(Path(place))
        seconds = min(folder.timed_run(f"first-{number}") for number in range(2))
        print(f"a run takes {seconds:.1f} s", flush=True)
        ends: Counter[str] = Counter()
        for number in range(options.trials):
            victim = options.victims[number % len(options.victims)]
            after = rng.uniform(0.1, 0.8) * seconds
            began = time.monotonic()
            end = folder.trial(f"trial-{number}", victim, after, rng)
            ends[f"{victim}: {end}"] += 1
            print(f"{number:3} {victim:15} after {after:4.1f} s: {end}", flush=True)
            if end == "had already finished":  # the machine is faster than before
                seconds = time.monotonic() - began
        folder.run("last")
        folder.check_latest("last")
        print(f"forget removed all {folder.forget_leftovers()} unpublished runs")
        for end, count in sorted(ends.items()):
            print(f"{count:4} {end}")


class Folder:
    """Photos, a model file and an output folder for the runs."""

    def __init__(self, place: Path) -> None:
        self.photos, self.output, self.model = place / "photos", place / "results", place / "model.zip"
        demo.draw(self.photos, photos_per_label=8)
        self.model.write_bytes(weights.load("random", "litert").to_bytes())
        self.cluster = cluster(executors=2)

    def timed_run(self, run_id: str) -> float:
        """Return the seconds that an undisturbed run takes."""
        began = time.monotonic()
        self.run(run_id)
        self.check_latest(run_id)
        return time.monotonic() - began

    def start(self, run_id: str, on_cluster: bool = False) -> "subprocess.Popen[str]":
        """Start a run that computes everything."""
        arguments = ("--components", "5", "--recompute", "--run-id", run_id)
        environment = dict(os.environ)
        if on_cluster:
            environment |= self.cluster
        return subprocess.Popen(
            [sys.executable, *job(str(self.photos), self.output, self.model, *arguments)],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, run_id: str) -> None:
        """Run to the end."""
        process = self.start(run_id)
        errors = process.communicate()[1]
        assert process.returncode == 0, errors

    def trial(self, run_id: str, victim: str, after: float, rng: random.Random) -> str:
        """Kill a victim after some seconds and return how the run ended."""
        before = self.check_latest()
        process = self.start(run_id, on_cluster=victim == "executor")
        time.sleep(after)
        self.check_latest(before, run_id)
        killed = False
        while not killed and process.poll() is None:
            killed = _kill(process, victim, rng)
            time.sleep(0.02)
        self.check_latest(before, run_id)
        errors = process.communicate()[1]
        _reap(process)
        if process.returncode == 0:
            self.check_latest(run_id)
            return "finished anyway" if killed else "had already finished"
        self.check_latest(before, run_id)  # the driver may die after publishing
        assert killed, errors
        published = (self.output / "runs" / run_id / "manifest.json").exists()
        return "died after publishing" if published else "died, nothing published"

    def check_latest(self, *expected: str) -> str:
        """Find the latest run as a reader does, check that it is complete, and return its id."""
        manifest = latest(open_store(str(self.output)))
        assert manifest is not None
        assert not expected or manifest.run_id in expected, (manifest.run_id, expected)
        _check_complete(
            self.output, manifest, {str(path.relative_to(self.photos)) for path in self.photos.rglob("*.*")}
        )
        return manifest.run_id

    def forget_leftovers(self) -> int:
        """Backdate the runs that died, let forget remove them, and return how many there were."""
        dead = [run for run in (self.output / "runs").iterdir() if not (run / "manifest.json").exists()]
        for run in dead:
            marker = run / "_started.json"
            assert marker.exists(), f"{run} has no marker, so forget cannot recognise it"
            marker.write_text(json.dumps({**json.loads(marker.read_text()), "started": "2020-01-01T00:00:00+00:00"}))
        command = [sys.executable, "-m", "spark_job", "forget", "--output", str(self.output), "--keep", "999"]
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        assert not any(run.exists() for run in dead)
        self.check_latest()
        return len(dead)


def _check_complete(output: Path, manifest: Manifest, names: set[str]) -> None:
    folder = output / "runs" / manifest.run_id
    assert manifest.counts.add_up
    tables = {
        name: pq.read_table(folder / name, columns=["path"])["path"].to_pylist()
        for name in ("features", "rejected", "pca")
    }
    assert sorted(tables["features"] + tables["rejected"]) == sorted(names)
    assert sorted(tables["pca"]) == sorted(tables["features"])
    assert (folder / "report.html").read_text().rstrip().endswith("</html>")
    assert datetime.fromisoformat(manifest.started) <= datetime.now(UTC)


def _kill(process: "subprocess.Popen[str]", victim: str, rng: random.Random) -> bool:
    """Send SIGKILL to one process of this kind; return False if there is none now."""
    with contextlib.suppress(psutil.Error, ProcessLookupError):
        if victim == "everything":
            os.killpg(process.pid, signal.SIGKILL)
            return True
        if victim == "driver's Python":
            process.kill()
            return True
        found = [child for child in psutil.Process(process.pid).children(recursive=True) if _is(child, victim)]
        if found:
            rng.choice(found).kill()
            return True
    return False


def _is(process: psutil.Process, victim: str) -> bool:
    try:
        line, parent = " ".join(process.cmdline()), process.parent()
    except psutil.Error:  # it has ended, or is a zombie
        return False
    if victim == "executor":
        return "CoarseGrainedExecutorBackend" in line
    if victim == "driver's JVM":
        return "SparkSubmit" in line and "java" in line
    if "spark_job.daemon" not in line:
        return False
    is_worker = parent is not None and "spark_job.daemon" in " ".join(parent.cmdline())
    return is_worker == (victim == "worker")


def _reap(process: "subprocess.Popen[str]") -> None:
    """Kill the remaining processes of a run, which are all in the session that the trial created."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
