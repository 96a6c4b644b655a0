"""Run the benchmarks and print one table: ``python -m benchmarks [NAME ...] [--rounds 3] [--images 8000]``."""

import argparse
import os
import platform
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import fit, photos
from benchmarks.measure import Row, ask, paired, run, run_job
from spark_job import weights


@dataclass(frozen=True)
class Bench:
    """Where to work, with what, and how much."""

    folder: Path
    weights: str
    model: Path
    images: int
    rounds: int


def features(bench: Bench) -> list[Row]:
    """Hold the feature stage against bare loops of the same decoder and network."""
    folder = photos.small(bench.folder / "small", bench.images)
    output = bench.folder / "features"
    ours, bare, ratio = paired(
        lambda: 1 / run_job(str(folder), output, bench.model, "--recompute")[1].images_per_second,
        lambda: 1 / ask("-m", "benchmarks.bare", str(folder), str(bench.model)),
        bench.rounds,
    )
    figure = f"{1 / ours:,.0f} images/s"
    return [Row(f"feature stage, {bench.images:,} images", figure, f"bare loops, {1 / bare:,.0f}", ratio, ">= 0.95")]


def whole(bench: Bench) -> list[Row]:
    """Hold a whole run against the usual notebook."""
    count = bench.images // 2
    folder = photos.small(bench.folder / "half", count)
    ours, theirs, ratio = paired(
        lambda: run_job(str(folder), bench.folder / "whole", bench.model, "--recompute")[0],
        lambda: run("-m", "benchmarks.notebook", str(folder), str(bench.folder / "notebook"), bench.weights),
        bench.rounds,
    )
    return [
        Row(f"whole run, {count:,} images", f"{ours:.1f} s", f"the usual notebook, {theirs:.1f} s", ratio, ">= 4.5")
    ]


def phone(bench: Bench) -> list[Row]:
    """Hold the feature stage on phones' photos against bare loops that decode every pixel."""
    folder = photos.phone(bench.folder / "phone", bench.images // 20)
    ours, full, ratio = paired(
        lambda: (
            1
            / run_job(str(folder), bench.folder / "phones", bench.model, "--recompute", "--components", "5")[
                1
            ].images_per_second
        ),
        lambda: 1 / ask("-m", "benchmarks.bare", str(folder), str(bench.model), "--full-size"),
        bench.rounds,
    )
    figure = f"{1 / ours:,.0f} images/s"
    return [Row("feature stage, 12-megapixel photos", figure, f"decoding at full size, {1 / full:,.0f}", ratio, ">= 3")]


def pca(bench: Bench) -> list[Row]:
    """Hold PCA against pyspark's own."""
    rows = bench.images * 25 // 4
    table = fit.make(bench.folder / "table", rows)
    ours, theirs, ratio = paired(
        lambda: ask("-m", "benchmarks.fit", "ours", str(table)),
        lambda: ask("-m", "benchmarks.fit", "pyspark", str(table)),
        bench.rounds,
    )
    return [Row(f"PCA, {rows:,} x 1280 to 100", f"{ours:.1f} s", f"pyspark.ml, {theirs:.1f} s", ratio, ">= 12")]


def reuse(bench: Bench) -> list[Row]:
    """Hold a second run against the first, with nothing new and with a hundredth new."""
    folder = photos.small(bench.folder / "again", bench.images)
    fresh = bench.images // 100
    rows = []
    for new, target in ((0, "<= 0.10"), (fresh, "<= 0.12")):
        output = bench.folder / f"reuse-{new}"
        first, _ = run_job(str(folder), output, bench.model)
        for file in sorted(folder.rglob("*.jpg"))[:new]:
            os.utime(file)
        second, made = run_job(str(folder), output, bench.model)
        what = f"second run, {made.counts.featurised:,} of {made.counts.found:,} new"
        rows.append(Row(what, f"{second:.1f} s", f"the first run, {first:.1f} s", second / first, target))
    return rows


BENCHMARKS: dict[str, Callable[[Bench], list[Row]]] = {
    function.__name__: function for function in (features, whole, phone, pca, reuse)
}


def main() -> None:
    """Run those that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*BENCHMARKS, []], metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--rounds", type=int, default=3, help="pairs of measurements (default: %(default)s)")
    parser.add_argument("--images", type=int, default=8_000, help="how many, at most (default: %(default)s)")
    parser.add_argument("--weights", default="random", help="as in spark_job run (default: %(default)s)")
    options = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    print("| what | figure | against | ratio | target |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as place:
        model = Path(place) / "model.zip"
        model.write_bytes(weights.load(options.weights, "litert").to_bytes())
        bench = Bench(Path(place), options.weights, model, options.images, options.rounds)
        for name in options.names or BENCHMARKS:
            for row in BENCHMARKS[name](bench):
                print(f"| {row.what} | {row.figure} | {row.against} | {row.ratio:.2f} | {row.target} |", flush=True)


if __name__ == "__main__":
    main()
