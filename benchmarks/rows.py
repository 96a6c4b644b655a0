"""The benchmarks, one function each. A row has what is measured, what it is compared with, and the target."""

import math
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from benchmarks import fit, on_yarn, photos
from benchmarks.listing import slowest_task
from benchmarks.measure import (
    Row,
    bucket,
    cluster,
    computing,
    job,
    paired,
    printed_numbers,
    run,
    run_job,
    workers_peak,
)
from cdk_app import bundle
from cdk_app.stage_settings import StageSettings
from spark_job.settings import Engine
from spark_job.storage.ranges import KEYS_PER_PAGE

Measure = Callable[[], float]


@dataclass(frozen=True)
class Bench:
    """The folder to work in, the model, and the size of the benchmarks."""

    folder: Path
    weights: str
    model: Path
    images: int
    rounds: int

    def compute(self, source: str, **environment: str) -> float:
        """Compute all features of a source and return the images per second of the feature stage."""
        with TemporaryDirectory(dir=self.folder) as output:
            return run_job(source, Path(output), self.model, "--components", "2", **environment)[1].images_per_second

    def loops(self, source: str, *options: str, **environment: str) -> float:
        """Compute them in bare loops and return the images per second."""
        return printed_numbers("-m", "benchmarks.bare", source, str(self.model), *options, **environment)[0]

    def compare(self, what: str, ours: Measure, other: str, theirs: Measure, least: float | None) -> Row:
        """Compare two measurements of images per second."""
        our_time, their_time, ratio = paired(lambda: 1 / ours(), lambda: 1 / theirs(), self.rounds)
        return Row(what, f"{1 / our_time:,.0f} photos/s", f"{other}, {1 / their_time:,.0f}", ratio, least=least)


def features(bench: Bench) -> list[Row]:
    """Compare the feature stage with bare loops of the same decoder and model."""
    folder = str(photos.small(bench.folder / "small", bench.images))
    what = f"feature stage, {bench.images:,} photos"
    return [bench.compare(what, lambda: bench.compute(folder), "bare loops", lambda: bench.loops(folder), least=0.95)]


def whole(bench: Bench) -> list[Row]:
    """Compare a whole run with the usual notebook."""
    count = bench.images // 2
    folder = str(photos.small(bench.folder / "half", count))
    ours, theirs, ratio = paired(
        lambda: run_job(folder, bench.folder / "whole", bench.model, "--recompute")[0],
        lambda: run("-m", "benchmarks.notebook", folder, str(bench.folder / "notebook"), bench.weights),
        bench.rounds,
    )
    return [Row(f"whole run, {count:,} photos", f"{ours:.1f} s", f"the usual notebook, {theirs:.1f} s", ratio, 4.5)]


def distance(bench: Bench) -> list[Row]:
    """Compare a storage 50 ms away with a storage nearby, for the feature stage and for bare loops."""
    folder, few = photos.small(bench.folder / "distant", bench.images // 2), photos.small(bench.folder / "near", 1_000)
    zipped = photos.zipped(bench.folder / "zipped", folder)
    rows = []
    for what, there, measure, least in (
        ("feature stage, photos 50 ms away", folder, bench.compute, 0.9),
        ("feature stage, photos in a zip 50 ms away", zipped, bench.compute, 0.95),
        ("bare loops, photos 50 ms away", few, bench.loops, None),
    ):
        with bucket(there, 0.05) as far, bucket(there, 0) as near:
            away, here = partial(measure, "s3://photos", **far), partial(measure, "s3://photos", **near)
            rows.append(bench.compare(what, away, "without delay", here, least))
    return rows


def phone(bench: Bench) -> list[Row]:
    """Compare the feature stage on phone photos with bare loops that decode every pixel."""
    folder = str(photos.phone(bench.folder / "phone", bench.images // 20))
    what, full = "feature stage, 12-megapixel photos", partial(bench.loops, folder, "--full-size")
    return [bench.compare(what, lambda: bench.compute(folder), "decoding at full size", full, least=3)]


def measures(bench: Bench) -> list[Row]:
    """Compare measuring photos (digests, brightness, sharpness, miniature) with decoding them and the network."""
    files = [file.read_bytes() for file in photos.small(bench.folder / "measured", 200).rglob("*.jpg")]
    pairs = [computing(files, bench.model) for _ in range(bench.rounds)]
    computed, measured = (statistics.median(times) for times in zip(*pairs, strict=True))
    ratio = statistics.median(own / other for other, own in pairs)
    result, other = f"{1000 * measured:.2f} ms per photo", f"computing its features, {1000 * computed:.2f} ms"
    return [Row("measuring 100x100 photos", result, other, ratio, most=0.02)]


def pca(bench: Bench) -> list[Row]:
    """Compare PCA with pyspark's own."""
    rows = bench.images * 25 // 4
    table = str(fit.make(bench.folder / "table", rows))
    ours, theirs, ratio = paired(
        lambda: printed_numbers("-m", "benchmarks.fit", "ours", table)[0],
        lambda: printed_numbers("-m", "benchmarks.fit", "pyspark", table)[0],
        bench.rounds,
    )
    return [Row(f"PCA, {rows:,} x 1280 to 100", f"{ours:.1f} s", f"pyspark.ml, {theirs:.1f} s", ratio, least=12)]


def neighbours(bench: Bench) -> list[Row]:
    """Compare the search for neighbours with faiss alone, and measure its recall in cells. One core."""
    count = bench.images * 25 // 4
    one_core = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}

    def seconds(which: str, rows: int) -> list[float]:
        return printed_numbers("-m", "benchmarks.search", which, str(rows), **one_core)

    ours, theirs, ratio = paired(lambda: seconds("ours", count)[0], lambda: seconds("faiss", count)[0], bench.rounds)
    rows = [
        Row(f"search for neighbours, {count:,} x 128", f"{ours:.1f} s", f"faiss, {theirs:.1f} s", ratio, least=0.75)
    ]
    took, recall = seconds("cells", bench.images * 125)
    what = f"search in cells, {bench.images * 125:,} x 128: recall@10"
    return [*rows, Row(what, f"{recall:.3f} in {took:.0f} s", "exact search", recall, least=0.95)]


def findings(bench: Bench) -> list[Row]:
    """Compare the stages `neighbours` and `findings` with the feature stage, which keeps all cores busy as they do."""
    speed = bench.compute(str(photos.small(bench.folder / "half", bench.images // 2))) / psutil.cpu_count()
    rows, spent = [], {}
    for count, most in ((bench.images * 25 // 4, 0.06), (bench.images * 25, None), (bench.images * 125, 0.1)):
        searching, judging, memory = printed_numbers("-m", "benchmarks.findings", str(count))
        spent[count] = searching + judging
        what, seconds = f"neighbours and findings, {count:,} photos", f"{spent[count]:.0f} s of a core"
        features = count / speed
        rows += [
            Row(what, seconds, f"features, {features:,.0f} s", spent[count] / features, most=most),
            Row(f"{what}, peak memory of a worker", f"{memory:.0f} MB", "450 MB", memory / 450, most=1),
        ]
    _, large, largest = spent
    growth = math.log(spent[largest] / spent[large]) / math.log(largest / large)
    return [*rows, Row(f"{what}: exponent of growth", seconds, f"{large:,}, {spent[large]:.0f} s", growth, most=1.5)]


def reuse(bench: Bench) -> list[Row]:
    """Compare a second run with the first: with no new photos, and with 1 % new photos."""
    rows = []
    for new, most in ((0, 0.10), (bench.images // 100, 0.12)):
        seconds = []
        for turn in range(bench.rounds):
            folder = photos.small(bench.folder / f"again-{new}-{turn}", bench.images)
            output = bench.folder / f"reuse-{new}-{turn}"
            first, _ = run_job(str(folder), output, bench.model)
            for file in sorted(folder.rglob("*.jpg"))[:new]:
                file.touch()
            second, made = run_job(str(folder), output, bench.model)
            assert made.counts.computed == new
            seconds.append((second / first, second, first))
        ratio, second, first = sorted(seconds)[len(seconds) // 2]
        what = f"second run, {new:,} of {bench.images:,} new"
        rows.append(Row(what, f"{second:.1f} s", f"the first run, {first:.1f} s", ratio, most=most))
    return rows


def around(bench: Bench) -> list[Row]:
    """Compare the seconds that a run spends on anything but features with Spark without work."""
    count = bench.images * 5 // 8
    folder = str(photos.small(bench.folder / "around", count))

    def seconds() -> float:
        wall = run_job(folder, bench.folder / "around-output", bench.model, "--recompute")[0]
        return wall - count / bench.loops(folder)

    ours, idle, ratio = paired(seconds, lambda: run("-m", "benchmarks.idle"), bench.rounds)
    what = f"a run of {count:,} photos without the time of bare loops"
    return [Row(what, f"{ours:.1f} s", f"Spark with one row, {idle:.1f} s", 1 / ratio, most=1.5)]


def growth(bench: Bench) -> list[Row]:
    """Compare the time per image of large runs with that of a small run. The photos of large runs are links."""
    originals = photos.small(bench.folder / "originals", bench.images // 4)
    rows, first = [], None
    for count in (bench.images // 4, bench.images * 5 // 2, bench.images * 25):
        folder = photos.linked(bench.folder / f"growth-{count}", originals, count)
        with TemporaryDirectory(dir=bench.folder) as output:
            wall, made = run_job(str(folder), Path(output), bench.model)
        cost = 1000 / made.images_per_second
        first = first or cost
        rest = wall - made.seconds["features"]
        what = f"feature stage, {count:,} photos (the rest of the run: {rest:.0f} s)"
        rows.append(
            Row(what, f"{cost:.2f} ms per photo", f"{bench.images // 4:,}, {first:.2f} ms", cost / first, most=1.1)
        )
    return rows[1:]


def planning(bench: Bench) -> list[Row]:
    """Measure the time and the driver's memory that a plan of many objects in 200 labels takes."""
    originals = photos.small(bench.folder / "planned", 200)
    environment = cluster(1)
    rows, first = [], None
    for count in (bench.images * 125 // 4, bench.images * 125):
        folder = photos.linked(bench.folder / f"planned-{count}", originals, count, labels=200)
        found, seconds, held = printed_numbers("-m", "benchmarks.planning", str(folder), **environment)
        assert found == count
        first = first or (count, seconds)
        smaller = f"{first[0]:,} objects, {first[1]:.1f} s"
        linear = (seconds / count) / (first[1] / first[0])
        rows += [
            Row(f"planning {count:,} objects", f"{seconds:.1f} s", smaller, linear, most=1.1),
            Row(f"driver, planning {count:,} objects", f"{held:.0f} MB above idle", "300 MB", held / 300, most=1),
        ]
    return rows[2:]


def listing(bench: Bench) -> list[Row]:
    """Compare the pages that the slowest of eight tasks lists with all pages. Two cores could not show it in time."""
    keys = bench.images * 125
    slowest, pages = slowest_task(keys, tasks=8), -(-keys // KEYS_PER_PAGE)
    what = f"listing {keys:,} objects in one folder, the slowest of 8 tasks"
    return [Row(what, f"{slowest:,} pages", f"all tasks, {pages:,} pages", slowest / pages, most=0.2)]


def memory(bench: Bench) -> list[Row]:
    """Measure the peak memory of a Python worker with each engine."""
    folder = str(photos.small(bench.folder / "memory", bench.images))
    output = bench.folder / "memory-output"
    litert = workers_peak(*job(folder, output, bench.model, "--recompute"))
    few = str(photos.small(bench.folder / "few-for-memory", bench.images // 16))
    keras = workers_peak(*job(few, output, Path(bench.weights), "--recompute", "--engine", "tensorflow"))
    return [
        Row("peak memory of a worker, LiteRT", f"{litert:.0f} MB", "250 MB", litert / 250, most=1),
        Row("peak memory of a worker, TensorFlow", f"{keras:.0f} MB", f"LiteRT, {litert:.0f} MB", keras / litert),
    ]


def environment(bench: Bench) -> list[Row]:
    """Measure what a node downloads before its first task: environment, model and code."""

    def downloaded(engine: Engine) -> float:
        built = bundle.build(StageSettings.of(weights=bench.weights, engine=engine), bundle.ROOT / ".cache" / "bundle")
        files: Iterable[Path] = vars(built).values()
        return sum(file.stat().st_size for file in files) / 1e6

    ours, theirs = downloaded("litert"), downloaded("tensorflow")
    size = f"{ours:.0f} MB"
    return [
        Row("download per node, LiteRT", size, "150 MB", ours / 150, most=1),
        Row("download per node, LiteRT", size, f"TensorFlow, {theirs:.0f} MB", ours / theirs, most=0.25),
    ]


def executors(bench: Bench) -> list[Row]:
    """Compare two executors of one core each with one, on a YARN with a node for each."""
    folder = photos.small(bench.folder / "spread", 2 * bench.images)
    files = on_yarn.build()

    def speed(nodes: int) -> float:
        return on_yarn.run(folder, files, nodes).images_per_second

    what = f"two executors of one core on YARN, {2 * bench.images:,} photos"
    return [bench.compare(what, partial(speed, 2), "one", partial(speed, 1), least=1.9)]


BENCHMARKS: dict[str, Callable[[Bench], list[Row]]] = {
    function.__name__: function
    for function in (
        features,
        whole,
        distance,
        phone,
        measures,
        pca,
        neighbours,
        findings,
        reuse,
        around,
        growth,
        planning,
        listing,
        memory,
        environment,
        executors,
    )
}
