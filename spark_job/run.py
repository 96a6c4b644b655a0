"""One run, from start to end."""

import platform
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema

from spark_job import __version__, features, pca, pipeline, plan, runs, sample, session, tables
from spark_job.errors import RunError
from spark_job.features import FeatureTask
from spark_job.manifest import Counts, Manifest, PcaRecord
from spark_job.moments import FittedPca, check_count
from spark_job.network import MOBILENET_V2, Network, weights
from spark_job.plan import Plan
from spark_job.progress import Stages
from spark_job.report import page
from spark_job.report.map import Point
from spark_job.runs import RunFolder
from spark_job.sample import Sample
from spark_job.settings import Settings
from spark_job.storage import open_store
from spark_job.storage.base import Store

_REJECTED_SHOWN = 50
_LIBRARIES = ("pyspark", "tensorflow", "tensorflow-cpu", "ai-edge-litert", "numpy", "pyarrow", "pillow", "obstore")


def run(settings: Settings, stages: Stages, network: Network = MOBILENET_V2) -> Manifest:
    """Compute the features of every image of the input, reduce them with PCA, and publish both.

    Parameters
    ----------
    settings
        What to compute, and from what.
    stages
        Times the stages, and shows their progress.
    network
        The network that computes the features.

    Raises
    ------
    UserError
        If the settings cannot be carried out.
    RunError
        If too many images were rejected, or if the counts do not account for every image.
    """
    started = datetime.now(UTC)
    source, output = open_store(settings.input), open_store(settings.output)
    folder = RunFolder(output, settings.run_id)
    plan.check(source)
    with stages.stage("model"):
        model = weights.load(settings.weights, settings.engine, network)
    with stages.stage("spark"):
        spark = session.start(output.uri)
    folder.claim(_iso(started), model.digest)
    with folder.failure_left(), stages.written(folder.write_progress):
        with stages.stage("plan"):
            todo = _plan(spark, source, folder, [] if settings.recompute else runs.reusable(output, model.digest))
            check_count(settings.components, todo.found, network.feature_count)
        task = FeatureTask.prepare(spark, source.uri, model)
        with stages.stage("features", todo.to_compute, lambda: task.done.value):
            rejected = _compute(spark, todo, task, folder, settings.max_rejected)
        reduced = _reduce(spark, source, folder, settings, stages, has_rejected=bool(rejected))
        manifest = Manifest(
            run_id=settings.run_id,
            started=_iso(started),
            finished=_iso(datetime.now(UTC)),
            input=source.uri,
            output=output.uri,
            settings=asdict(settings),
            counts=Counts(todo.found, reduced.computed, reduced.reused, sum(rejected.values())),
            rejected=rejected,
            labels=reduced.labels,
            model=model.record,
            pca=_pca_record(settings, reduced.fitted, reduced.sample),
            seconds={name: round(seconds, 3) for name, seconds in stages.seconds.items()},
            images_per_second=round(todo.to_compute / stages.seconds["features"], 1),
            versions=_versions(spark),
            reused_from=max(todo.reused_from, key=todo.reused_from.__getitem__, default=None),
            reused=todo.reused_from,
            retries=task.retries.value,
        )
        ratios = reduced.fitted.explained_variance_ratio.tolist()
        folder.publish(manifest, page.render(manifest, ratios, reduced.points, reduced.examples))
        return manifest


def _plan(spark: SparkSession, source: Store, folder: RunFolder, earlier: list[RunFolder]) -> Plan:
    known = None
    if earlier:
        run_id = F.regexp_extract("_metadata.file_path", f"/{runs.RUNS}/([^/]+)/{runs.FEATURES}/", 1).alias("run_id")
        known = _read(spark, runs.FEATURES, tables.FEATURES_SCHEMA, *earlier).select("*", run_id)
    return plan.make(spark, source, known, folder.table(runs.PLAN))


def _read(spark: SparkSession, name: str, schema: pa.Schema, *folders: RunFolder) -> DataFrame:
    """Return a table of one or several runs. Without the schema, Spark would start a job to find it."""
    return spark.read.schema(from_arrow_schema(schema)).parquet(*(folder.uri(name) for folder in folders))


def _compute(
    spark: SparkSession, todo: Plan, task: FeatureTask, folder: RunFolder, max_rejected: float
) -> dict[str, int]:
    """Write the features of all images. Return the number of rejected images by reason."""
    table = folder.table(runs.FEATURES)
    rejected = features.compute(spark.sparkContext, todo, task, table, folder.table(runs.REJECTED))
    _check_rejected(rejected, todo.found, max_rejected, folder)
    if (reused := todo.reused) is not None:
        features.reuse(reused, table)
    return rejected


def _check_rejected(reasons: dict[str, int], found: int, allowed: float, folder: RunFolder) -> None:
    """Raise RunError if too many images were rejected. The table of rejected images stays, so that it can be read."""
    rejected = sum(reasons.values())
    if rejected > allowed * found or rejected == found:
        counts = ", ".join(f"{count:,} {reason}" for reason, count in reasons.items())
        raise RunError(
            f"{rejected:,} of {found:,} images were rejected ({counts}), more than the allowed share of {allowed:g}. "
            f"{folder.uri(runs.REJECTED)} lists them. Fix the images, or allow more with --max-rejected."
        )


def _count(spark: SparkSession, folder: RunFolder) -> tuple[dict[str, int], int, int]:
    """Count the photos of the features table: by label, computed, reused. A photo that is there twice counts once."""
    table = _read(spark, runs.FEATURES, tables.FEATURES_SCHEMA, folder)
    label = F.coalesce("label", F.lit("")).alias("label")
    is_reused = F.col("_metadata.file_name").startswith(features.REUSED_PREFIX).alias("is_reused")
    rows = table.select("path", label, is_reused).distinct().groupBy("label", "is_reused").count().collect()
    labels: dict[str, int] = {}
    for row in sorted(rows):
        labels[row["label"]] = labels.get(row["label"], 0) + row["count"]
    reused = sum(row["count"] for row in rows if row["is_reused"])
    return labels, sum(labels.values()) - reused, reused


@dataclass(frozen=True)
class _Reduced:
    """What a run learns from its features table."""

    fitted: FittedPca
    sample: Sample
    points: list[Point]
    examples: list[page.RejectedImage]
    labels: dict[str, int]
    computed: int
    reused: int


def _reduce(  # noqa: PLR0913 - each is a thing of the run
    spark: SparkSession, source: Store, folder: RunFolder, settings: Settings, stages: Stages, *, has_rejected: bool
) -> _Reduced:
    """Fit PCA, write the model and the projection, count the photos and draw a sample of them."""
    context, table = spark.sparkContext, folder.table(runs.FEATURES)
    with stages.stage("pca"):
        fitted = pca.fit(context, table, settings.components, settings.standardize)
    with ThreadPoolExecutor() as pool:
        # Both keep Spark's driver busy for a while, in which the executors can compute the projection.
        saved = pool.submit(pipeline.from_pca(spark, fitted).save, folder.uri(runs.MODEL))
        counted = pool.submit(_count, spark, folder)
        with stages.stage("projection"):
            pca.project(context, table, fitted, folder.table(runs.PCA))
        with stages.stage("report"):
            drawn = sample.draw(context, table, fitted)
            points = drawn.points(source)
            examples = _examples(spark, folder) if has_rejected else []
            saved.result()
            return _Reduced(fitted, drawn, points, examples, *counted.result())


def _pca_record(settings: Settings, fitted: FittedPca, drawn: Sample) -> PcaRecord:
    return PcaRecord(
        components=fitted.k,
        variance_kept=fitted.variance_kept,
        standardized=settings.standardize,
        one_nn_accuracy_features=drawn.one_nn_accuracy_features,
        one_nn_accuracy_components=drawn.one_nn_accuracy_components,
        one_nn_sample=len(drawn.paths),
    )


def _examples(spark: SparkSession, folder: RunFolder) -> list[page.RejectedImage]:
    table = _read(spark, runs.REJECTED, tables.REJECTED_SCHEMA, folder)
    rows = table.orderBy("reason", "path").limit(_REJECTED_SHOWN).collect()
    return [page.RejectedImage(row.path, row.reason, row.detail) for row in rows]


def _versions(spark: SparkSession) -> dict[str, str]:
    versions = {"fruits": __version__, "python": platform.python_version(), "spark": spark.version}
    for library in _LIBRARIES:
        try:
            versions[library] = version(library)
        except PackageNotFoundError:  # clusters have no TensorFlow, and laptops have only one of its two builds
            continue
    return versions


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")
