"""Kill processes of a run at random moments and check what is left: ``python -m benchmarks.crashes --trials 60``.

Each trial starts a run on a few photos, sends SIGKILL to one of its processes, and checks what the documents promise:

- A reader always finds the last published run, and that run is complete.
- A run that died has a marker and no manifest.
- The next run finishes.
"""

import argparse
import contextlib
import os
import random
import signal
import tempfile
import time
from collections import Counter
from pathlib import Path

import psutil

from benchmarks.measure import cluster
from spark_job import demo
from spark_job.network import weights
from tests.crashing import Job, processes

VICTIMS = ("worker", "daemon", "executor", "driver", "JVM", "everything")


def main() -> None:
    """Run the trials and print how each ended."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--victims", nargs="+", choices=VICTIMS, default=VICTIMS)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as place:
        job = _job(Path(place))
        seconds = min(_seconds(job, f"first-{number}") for number in range(2))
        print(f"a run takes {seconds:.1f} s", flush=True)
        ends: Counter[str] = Counter()
        for number in range(options.trials):
            victim = options.victims[number % len(options.victims)]
            after = rng.uniform(0.1, 0.8) * seconds
            end = _trial(job, f"trial-{number}", victim, after, rng)
            ends[f"{victim}: {end}"] += 1
            print(f"{number:3} {victim:10} after {after:4.1f} s: {end}", flush=True)
        job.run("last")
        assert _latest(job) == "last"
        for end, count in sorted(ends.items()):
            print(f"{count:4} {end}")


def _job(place: Path) -> Job:
    demo.draw(place / "photos", photos_per_label=8)
    model = place / "model.zip"
    model.write_bytes(weights.load("random", "litert").to_bytes())
    return Job(place / "photos", place / "results", model, os.environ)


def _seconds(job: Job, run_id: str) -> float:
    began = time.monotonic()
    job.run(run_id)
    return time.monotonic() - began


def _latest(job: Job) -> str:
    manifest = job.latest()
    assert manifest is not None
    return manifest.run_id


def _trial(job: Job, run_id: str, victim: str, after: float, rng: random.Random) -> str:
    """Kill a victim after some seconds and return how the run ended."""
    before, run = _latest(job), job.results / "runs" / run_id
    process = job.start(run_id, **(cluster(executors=2) if victim == "executor" else {}))
    time.sleep(after)
    killed = False
    while not killed and process.poll() is None:
        killed = _kill(process.pid, victim, rng)
        time.sleep(0.02)
    assert _latest(job) in (before, run_id)
    errors = process.communicate()[1]
    with contextlib.suppress(ProcessLookupError):  # what is left of the run
        os.killpg(process.pid, signal.SIGKILL)
    if process.returncode == 0:
        assert _latest(job) == run_id
        return "finished anyway" if killed else "had already finished"
    assert killed, errors
    published = (run / "manifest.json").exists()
    assert _latest(job) in ((before, run_id) if published else (before,))
    assert (run / "_started.json").exists() or not run.exists()
    return "died after publishing" if published else "died, nothing published"


def _kill(run: int, victim: str, rng: random.Random) -> bool:
    """Send SIGKILL to one process of this kind; return False if there is none now."""
    with contextlib.suppress(psutil.Error, ProcessLookupError):
        if victim == "everything":
            os.killpg(run, signal.SIGKILL)
            return True
        if found := [psutil.Process(run)] if victim == "driver" else processes(run, victim):
            rng.choice(found).kill()
            return True
    return False


if __name__ == "__main__":
    main()
