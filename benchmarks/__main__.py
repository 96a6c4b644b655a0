"""Run the benchmarks and print one table: ``python -m benchmarks [NAME ...] [--rounds 3] [--images 8000]``."""

import argparse
import os
import platform
import tempfile
import time
from pathlib import Path

from benchmarks.rows import BENCHMARKS, Bench
from spark_job.network import weights


def main() -> None:
    """Run the named benchmarks, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*BENCHMARKS, []], metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument(
        "--rounds", type=int, default=3, help="pairs of measurements per benchmark (default: %(default)s)"
    )
    parser.add_argument(
        "--images",
        type=int,
        default=8_000,
        help="size of the main benchmark; the others scale with it (default: %(default)s)",
    )
    parser.add_argument("--weights", default="random", help="as in fruits run (default: %(default)s)")
    options = parser.parse_args()
    print(f"{_processor()}, {os.cpu_count()} cores, Python {platform.python_version()}, {time.strftime('%d %B %Y')}\n")
    print("| what | result | compared with | ratio | target | met |\n|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as place:
        model = Path(place) / "model.zip"
        model.write_bytes(weights.load(options.weights, "litert").to_bytes())
        bench = Bench(Path(place), options.weights, model, options.images, options.rounds)
        for name in options.names or BENCHMARKS:
            for row in BENCHMARKS[name](bench):
                print(row, flush=True)


def _processor() -> str:
    """Return the name of the processor, from Linux's /proc/cpuinfo."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


if __name__ == "__main__":
    main()
