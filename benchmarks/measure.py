"""What every benchmark is made of: pairs of measurements in turn, and the row that they become."""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from spark_job.manifest import Manifest

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    what: str
    figure: str
    against: str
    ratio: float
    target: str


def paired(ours: Callable[[], float], theirs: Callable[[], float], rounds: int) -> tuple[float, float, float]:
    """Measure two things in turn, and return the median of each and of their ratio, theirs over ours.

    A machine that is slower for a while is slower for both halves of a pair, so that ratios hold where times do not.
    """
    pairs = [(ours(), theirs()) for _ in range(rounds)]
    medians = [statistics.median(column) for column in zip(*pairs, strict=True)]
    return medians[0], medians[1], statistics.median(other / own for own, other in pairs)


def run_job(photos: str, output: Path, model: Path, *arguments: str) -> tuple[float, Manifest]:
    """Run the job as a person does; return its wall seconds, start-up included, and its manifest."""
    seconds = run(
        *("-m", "spark_job", "run", "--input", photos, "--output", str(output)),
        *("--weights", str(model), "--components", "100", *arguments),
    )
    pointer = json.loads((output / "latest.json").read_text())
    return seconds, Manifest.from_json((output / pointer["manifest"]).read_text())


def run(*arguments: str) -> float:
    """Run Python with some arguments and return the wall seconds."""
    began = time.perf_counter()
    _python(*arguments)
    return time.perf_counter() - began


def ask(*arguments: str) -> float:
    """Run Python with some arguments and return the number that it prints last."""
    return float(_python(*arguments).split()[-1])


def _python(*arguments: str) -> str:
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)} failed:\n{done.stderr}")
    return done.stdout
