"""Tools of all benchmarks: paired measurements, and the row of the table that they give."""

import contextlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from spark_job.manifest import Manifest
from spark_job.network import MOBILENET_V2
from spark_job.network.images import picture
from spark_job.network.model import CompiledNetwork, extractor
from spark_job.network.quality import measure
from spark_job.runs import latest
from spark_job.storage import open_store
from tests.s3_stand_in import StandIn, environment

ROOT = Path(__file__).parents[1]
_SAMPLED_EVERY = 0.1
_CHUNK = 16  # as in spark_job.features


@dataclass(frozen=True)
class Row:
    """One row of the table. ``least`` or ``most`` is the target of the ratio, if there is one."""

    what: str
    result: str
    compared_with: str
    ratio: float
    least: float | None = None
    most: float | None = None

    def __str__(self) -> str:
        target, met = "", ""
        if self.least is not None:
            target, met = f">= {self.least:g}", _yes(self.ratio >= self.least)
        elif self.most is not None:
            target, met = f"<= {self.most:g}", _yes(self.ratio <= self.most)
        return f"| {self.what} | {self.result} | {self.compared_with} | {self.ratio:.2f} | {target} | {met} |"


def _yes(met: bool) -> str:
    return "yes" if met else "no"


def paired(ours: Callable[[], float], theirs: Callable[[], float], rounds: int) -> tuple[float, float, float]:
    """Measure two things in turn; return the median of each, and the median of their ratio, theirs over ours.

    A machine that is slow for a while slows both halves of a pair, so ratios are more stable than times.
    """
    pairs = [(ours(), theirs()) for _ in range(rounds)]
    medians = [statistics.median(column) for column in zip(*pairs, strict=True)]
    return medians[0], medians[1], statistics.median(other / own for own, other in pairs)


def computing(photos: list[bytes], model: Path) -> tuple[float, float]:
    """Compute and measure photos as a task does; return the processor time per photo of each, in seconds."""
    extract = extractor(CompiledNetwork.from_bytes(model.read_bytes()))
    began, measured = time.process_time(), 0.0
    for start in range(0, len(photos), _CHUNK):
        images = []
        for data in photos[start : start + _CHUNK]:
            decoded = picture(data, MOBILENET_V2.side)
            before = time.process_time()
            measure(data, decoded)
            measured += time.process_time() - before
            images.append(np.asarray(decoded.image))
        extract(images)
    return (time.process_time() - began - measured) / len(photos), measured / len(photos)


def run_job(photos: str, output: Path, model: Path, *arguments: str, **environment: str) -> tuple[float, Manifest]:
    """Run the job as a user does; return its wall time in seconds, with start-up, and its manifest."""
    return run(*job(photos, output, model, *arguments), **environment), finished(output)


def finished(output: Path) -> Manifest:
    """Return the manifest of the last run in an output."""
    made = latest(open_store(str(output)))
    assert made is not None
    return made


def job(photos: str, output: Path, model: Path, *arguments: str) -> list[str]:
    """Return the arguments with which Python runs the job."""
    command = ["-m", "spark_job", "run", "--input", photos, "--output", str(output), "--weights", str(model)]
    return [*command, "--components", "100", *arguments]


def run(*arguments: str, **environment: str) -> float:
    """Run Python with these arguments and return the wall time in seconds."""
    began = time.perf_counter()
    _finish(_python(arguments, environment))
    return time.perf_counter() - began


def printed_numbers(*arguments: str, **environment: str) -> list[float]:
    """Run Python with these arguments and return the numbers in the last line that it prints."""
    return [float(word) for word in _finish(_python(arguments, environment)).splitlines()[-1].split()]


def workers_peak(*arguments: str) -> float:
    """Run Python with these arguments and return the peak memory, in MB, of the largest of Spark's Python workers."""
    process = _python(arguments, {})
    peak = 0.0
    while process.poll() is None:
        peak = max(peak, largest_worker(process.pid))
        time.sleep(_SAMPLED_EVERY)
    _finish(process)
    return peak


def largest_worker(pid: int) -> float:
    """Return the peak memory, in MB, of the largest of the Python workers that a process has."""
    peak = 0.0
    for child in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.Error, OSError):
            if "spark_job.daemon" in child.cmdline():
                peak = max(peak, memory(child.pid, "VmHWM"))
    return peak


def memory(pid: int, field: str) -> float:
    """Return the memory of a process in MB (``VmRSS``), or its peak (``VmHWM``), from Linux's proc(5)."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(status[field].split()[0]) / 1000


def cluster(executors: int) -> dict[str, str]:
    """Return the environment for a Spark cluster on this machine, whose executors have one core each."""
    return {"PYSPARK_SUBMIT_ARGS": f"--master local-cluster[{executors},1,1024] pyspark-shell"}


@contextlib.contextmanager
def bucket(folder: Path, delay: float) -> Iterator[dict[str, str]]:
    """Serve a folder as ``s3://photos`` with a delay of some seconds, and yield the environment to read it."""
    s3 = StandIn(delay)
    for file in filter(Path.is_file, folder.rglob("*")):
        s3.put(f"photos/{file.relative_to(folder)}", file.read_bytes())
    with s3.serve() as url:
        yield environment(url)


def environ(settings: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a process, with some settings. It keeps bytecode, as a user's Python does."""
    return {**os.environ, "PYTHONDONTWRITEBYTECODE": "", **settings}


def _python(arguments: "list[str] | tuple[str, ...]", environment: Mapping[str, str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environ(environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _finish(process: "subprocess.Popen[str]") -> str:
    output, errors = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{process.args!r} failed:\n{errors}")
    return output
