"""Take nodes away from runs on a real YARN at random moments: ``python -m benchmarks.nodes --trials 20``.

Each trial starts a YARN of two nodes on this machine and a run on it, as a step of EMR does. During the feature stage
it disturbs the run, and then checks what the documents promise:

- A run that lost an executor or a node without the driver publishes a result that accounts for every photo once.
- A run that lost its driver publishes nothing.
- The longest pause, the time without a new file of features, is below two minutes.
"""

import argparse
import json
import random
import signal
import subprocess
import tempfile
import time
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import pyarrow.parquet as pq

from benchmarks import photos
from benchmarks.on_yarn import Job, build
from tests.local_aws.yarn import DISTURBANCES

_LONGEST_PAUSE = 120.0
_TRIAL_SECONDS = 600


def check(job: Job, images: int, *, published: bool) -> None:
    """Check that the run has published a complete result, or nothing."""
    manifest = job.run / "manifest.json"
    if not published:
        assert not manifest.exists(), "a run without a driver has published a result"
        return
    counts = json.loads(manifest.read_text())["counts"]
    assert counts == {"found": images, "computed": images, "reused": 0, "rejected": 0}, counts
    for table in ("features", "pca"):
        paths = pq.read_table(job.run / table, columns=["path"])["path"].to_pylist()
        assert len(paths) == len(set(paths)) == images, (table, len(paths), len(set(paths)))


def _parts(job: Job) -> list[float]:
    """Return when each file of features was written, in order."""
    return sorted(file.stat().st_mtime for file in (job.run / "features").glob("part-*.parquet"))


def disturb(job: Job, images: int, name: str, delay: float) -> tuple[float, float]:
    """Run one trial. Return the longest pause of the feature stage, and the seconds from the disturbance to the end."""
    with job.yarn() as yarn:
        process = job.submit(yarn)
        deadline = time.monotonic() + _TRIAL_SECONDS
        while not _parts(job):
            assert process.poll() is None, (job.folder / "submit.log").read_text()[-2000:]
            assert time.monotonic() < deadline, "the run did not begin"
            time.sleep(0.1)
        time.sleep(delay)
        began = time.time()
        DISTURBANCES[name](yarn)
        try:
            code = process.wait(deadline - time.monotonic())
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the run stood still: {len(_parts(job))} files of features") from None
        finally:
            process.send_signal(signal.SIGKILL)
        seconds = time.time() - began
    survives = name != "driver's node lost"
    assert (code == 0) == survives, code
    check(job, images, published=survives)
    written = [began, *(moment for moment in _parts(job) if moment > began)]
    pauses = [after - before for before, after in pairwise(written)]
    return max(pauses, default=0.0), seconds


def main() -> None:
    """Run the trials, and print a line for each and a summary for each kind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--images", type=int, default=4_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kinds", nargs="+", choices=DISTURBANCES, default=list(DISTURBANCES), metavar="KIND")
    options = parser.parse_args()
    rng = random.Random(options.seed)
    files = build()
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as place:
        source = photos.small(Path(place, "photos"), options.images)
        for number in range(options.trials):
            name, delay = options.kinds[number % len(options.kinds)], rng.uniform(0, options.images / 400)
            folder = Path(place, f"trial-{number}")
            folder.mkdir()
            pause, seconds = disturb(Job(source, files, folder), options.images, name, delay)
            found[name].append((pause, seconds))
            print(
                f"{number:3} {name:18} {delay:4.1f} s into the stage: longest pause {pause:5.1f} s, end after "
                f"{seconds:5.1f} s",
                flush=True,
            )
            assert pause < _LONGEST_PAUSE
    for name, ends in found.items():
        pauses, rests = zip(*ends, strict=True)
        print(f"{name:18} {len(ends)} trials: pauses up to {max(pauses):.0f} s, end after up to {max(rests):.0f} s")


if __name__ == "__main__":
    main()
