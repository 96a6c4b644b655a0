"""Compare the job with Daft and Ray Data, and print a table: ``make bench-peers PEERS='--images 5000 --rounds 3'``.

The tools take turns, so that a machine that is slow for a while slows all of them. Processor time depends less on what
else the machine does than wall time.
"""

import argparse
import contextlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil

from benchmarks import photos
from benchmarks.measure import ROOT, bucket, environ, finished, job
from spark_job.network import weights

PEERS = ROOT / ".cache" / "peers" / "bin" / "python"
_SAMPLED_EVERY = 0.2
_AFTER_FEATURES = ("pca", "projection", "neighbours", "findings", "report")


@dataclass(frozen=True)
class Cost:
    """Seconds that a command took: on the wall and, if known, of all cores."""

    wall: float
    processor: float | None = None

    def __str__(self) -> str:
        return f"{self.wall:.1f} s" + (f" ({self.processor:.0f} s)" if self.processor else "")


def measured(command: list[str], environment: dict[str, str]) -> Cost:
    """Run a command, and add up the processor time of all processes that it starts, directly or not."""
    spent: dict[int, float] = {}
    began = time.perf_counter()
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environ(environment), stdout=log, stderr=log)
        while process.poll() is None:
            with contextlib.suppress(psutil.Error):
                root = psutil.Process(process.pid)
                for one in (root, *root.children(recursive=True)):
                    with contextlib.suppress(psutil.Error):
                        spent[one.pid] = sum(one.cpu_times()[:2])
            time.sleep(_SAMPLED_EVERY)
        wall = time.perf_counter() - began
        if process.returncode:
            log.seek(0)
            raise RuntimeError(f"{command} failed:\n{log.read().decode()[-5000:]}")
    return Cost(wall, sum(spent.values()))


@dataclass(frozen=True)
class Bench:
    """The folder to work in, the model, the photos, and the environment to read them."""

    folder: Path
    model: Path
    source: str
    environment: dict[str, str]

    def ours(self) -> list[Cost]:
        """Run the job; return what it took, and what it took until the features were written."""
        with self._output() as output:
            whole = measured([sys.executable, *job(self.source, output, self.model)], self.environment)
            seconds = finished(output).seconds
        return [whole, Cost(whole.wall - sum(seconds[stage] for stage in _AFTER_FEATURES))]

    def peer(self, module: str) -> list[Cost]:
        """Run a peer twice: the whole job, and features only."""
        return [self._peer(module), self._peer(module, "--features-only")]

    def _peer(self, module: str, *options: str) -> Cost:
        with self._output() as output:
            command = [str(PEERS), "-m", f"benchmarks.peers.{module}", self.source, str(output), str(self.model)]
            return measured([*command, *options], self.environment)

    @contextlib.contextmanager
    def _output(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(dir=self.folder) as output:
            yield Path(output)


def compare(bench: Bench, what: str, rounds: int, peers: list[str]) -> Iterator[str]:
    """Yield a row of the table for each tool: median of its times, and the median ratio to ours."""
    tools: dict[str, Callable[[], list[Cost]]] = {"this project": bench.ours}
    tools |= {peer: partial(bench.peer, f"{peer}_job") for peer in peers}
    taken = [{name: run() for name, run in tools.items()} for _ in range(rounds)]
    for name in tools:
        costs = [_median([turn[name][part] for turn in taken]) for part in (0, 1)]
        ratios = [
            statistics.median(turn[name][part].wall / turn["this project"][part].wall for turn in taken)
            for part in (0, 1)
        ]
        yield f"| {what} | {name} | {costs[0]} | {ratios[0]:.2f} | {costs[1]} | {ratios[1]:.2f} |"


def _median(costs: list[Cost]) -> Cost:
    processor = [cost.processor for cost in costs if cost.processor]
    return Cost(statistics.median(cost.wall for cost in costs), statistics.median(processor) if processor else None)


def main() -> None:
    """Measure on local photos, then on photos 50 ms away."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, nargs="+", default=[5_000, 50_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", nargs="+", default=["daft", "ray"])
    parser.add_argument("--where", nargs="+", choices=["local", "distant"], default=["local", "distant"])
    parser.add_argument("--weights", default="random", help="as in fruits run (default: %(default)s)")
    options = parser.parse_args()
    print("| photos | tool | whole job: wall (processor) | ratio | features only | ratio |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as place:
        model = Path(place) / "model.zip"
        model.write_bytes(weights.load(options.weights, "litert").to_bytes())
        for count in options.images:
            folder = photos.small(Path(place) / f"{count}", count)
            for where in options.where:
                distant: contextlib.AbstractContextManager[dict[str, str]] = contextlib.nullcontext({})
                if where == "distant":
                    distant = bucket(folder, 0.05)
                with distant as environment:
                    source = "s3://photos" if where == "distant" else str(folder)
                    bench = Bench(Path(place), model, source, environment)
                    for row in compare(bench, f"{count:,}, {where}", options.rounds, options.peers):
                        print(row, flush=True)


if __name__ == "__main__":
    main()
