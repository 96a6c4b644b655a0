"""Kill drivers at random moments and let the next run take over: ``python -m benchmarks.continuing --trials 20``.

Each trial starts a run in a new output, sends SIGKILL to all its processes during the feature stage, and runs again.
The next run must reuse every photo that the dead run had finished, and compute the others. Its wall time is compared
with that of an uninterrupted run for the same images: the time outside the feature stage, and the missing share of it.
An uninterrupted run is measured before every third trial.
"""

import argparse
import contextlib
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow.parquet as pq

from benchmarks import photos
from benchmarks.measure import ROOT, job, run_job
from spark_job import runs
from spark_job.network import weights
from spark_job.storage import open_store

_TRIALS_PER_WHOLE = 3


def main() -> None:
    """Run the trials and print one line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--images", type=int, default=4_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as place:
        folder, model = photos.small(Path(place, "photos"), options.images), Path(place, "model.zip")
        model.write_bytes(weights.load("random", "litert").to_bytes())
        ratios = []
        for number in range(options.trials):
            if number % _TRIALS_PER_WHOLE == 0:  # machines slow down and recover
                whole, made = run_job(str(folder), Path(place, f"whole-{number}"), model)
                features = made.seconds["features"]
                before = whole - features - made.seconds["pca"] - made.seconds["projection"] - made.seconds["report"]
            output = Path(place, f"killed-{number}")
            _kill(str(folder), output, model, before + rng.uniform(0.05, 0.95) * features)
            finished = _finished(output)
            wall, made = run_job(str(folder), output, model)
            assert made.counts.reused == finished, (made.counts, finished)
            assert made.counts.found == made.counts.computed + finished == options.images
            expected = whole - features * finished / options.images
            ratios.append(wall / expected)
            print(
                f"{number:3} the dead run finished {finished:,} of {options.images:,} images, and the next run reused "
                f"all of them; it took {wall:.1f} s, {ratios[-1]:.2f} of the uninterrupted rest ({expected:.1f} s)",
                flush=True,
            )
        print(f"median {statistics.median(ratios):.2f}, from {min(ratios):.2f} to {max(ratios):.2f}")


def _kill(source: str, output: Path, model: Path, after: float) -> None:
    """Start a run, and kill its driver and everything that it started after some seconds."""
    command = [sys.executable, *job(source, output, model, "--run-id", "dead")]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(after)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(0.5)  # until the processes of the session are gone


def _finished(output: Path) -> int:
    """Return how many images are in the complete files of the dead run."""
    folder = runs.RunFolder(open_store(str(output)), "dead")
    if not output.exists() or folder.is_published:
        raise RuntimeError("The run was killed too early or too late; try another --seed.")
    files = (output / folder.path / runs.FEATURES).glob("*.parquet")
    return sum(pq.read_metadata(file).num_rows for file in files)


if __name__ == "__main__":
    main()
