"""One run, from top to bottom."""

import platform
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from spark_job import __version__, features, parts, pca, plan, publish, report, sample, session, weights
from spark_job.errors import RunError
from spark_job.manifest import Counts, Manifest, PcaRecord
from spark_job.model import FEATURES, Model
from spark_job.moments import Components, check_count
from spark_job.objects import Store
from spark_job.plan import Plan
from spark_job.progress import Stages
from spark_job.publish import RunFolder
from spark_job.settings import Settings
from spark_job.store import open_store

_REJECTED_SHOWN = 50
_LIBRARIES = ("pyspark", "tensorflow", "tensorflow-cpu", "ai-edge-litert", "numpy", "pyarrow", "pillow", "obstore")


def run(settings: Settings, stages: Stages) -> Manifest:
    """Compute, reduce and publish the features of every image of the input.

    Raises
    ------
    UserError
        If what the settings ask for cannot be done.
    RunError
        If too many images were rejected, or the images do not add up.
    """
    started = datetime.now(UTC)
    source, output = open_store(settings.input), open_store(settings.output)
    folder = RunFolder(output, settings.run_id)
    plan.check(source)
    with stages.stage("model"):
        network = weights.load(settings.weights, settings.engine)
    with stages.stage("spark"):
        spark = session.start(output.uri)
    with stages.stage("plan"):
        earlier = None if settings.recompute else _reusable(output, network)
        todo = _plan(spark, source, output, earlier)
        check_count(settings.components, todo.found, FEATURES)
        folder.claim(_iso(started))
    work = features.Work.on(spark, source.uri, network)
    with stages.stage("features", todo.to_compute, lambda: work.done.value):
        features.compute_parts(todo.new, todo.to_compute, work, output.uri, folder.path)
        rejected = _rejected(spark, folder, todo.found, settings.max_rejected)
        table = _features(spark, todo, folder)
        counts = _count(table, todo, rejected)
    with stages.stage("pca"):
        components = pca.fit(table, settings.components, settings.standardize)
        pca.pipeline(spark, components).save(folder.uri("model"))
    with stages.stage("projection"):
        pca.project(table, spark.sparkContext.broadcast(components)).write.parquet(folder.uri("pca"))
    with stages.stage("report"):
        drawn = sample.draw(table, components)
        points = drawn.points(source)
        record = _pca_record(settings, components, drawn)
        labels = _count_by(table, "label")
        examples = _examples(spark, folder)
    manifest = Manifest(
        run_id=settings.run_id,
        started=_iso(started),
        finished=_iso(datetime.now(UTC)),
        input=source.uri,
        output=output.uri,
        settings=asdict(settings),
        counts=counts,
        rejected=rejected,
        labels=labels,
        model=network.record,
        pca=record,
        seconds={name: round(seconds, 3) for name, seconds in stages.seconds.items()},
        images_per_second=round(todo.to_compute / stages.seconds["features"], 1),
        versions=_versions(spark),
        reused_from=earlier,
        retries=work.retries.value,
    )
    folder.publish(manifest, report.render(manifest, components.ratio.tolist(), points, examples))
    return manifest


def _reusable(output: Store, network: Model) -> str | None:
    """Return the id of the last published run, if its features are those that this model would compute."""
    last = publish.latest(output)
    return last.run_id if last and last.model.digest == network.digest else None


def _plan(spark: SparkSession, source: Store, output: Store, earlier: str | None) -> Plan:
    photos = plan.list_images(spark, source)
    table = spark.read.parquet(RunFolder(output, earlier).uri("features")) if earlier else None
    return plan.make(photos, table, source)


def _rejected(spark: SparkSession, folder: RunFolder, found: int, allowed: float) -> dict[str, int]:
    """Return the rejected images by reason, or fail the run; the table stays to be read either way."""
    where = folder.uri("rejected")
    reasons = _count_by(spark.read.parquet(where), "reason")
    rejected = sum(reasons.values())
    if rejected > allowed * found or rejected == found:
        spread = ", ".join(f"{count:,} {reason}" for reason, count in reasons.items())
        raise RunError(
            f"{rejected:,} of {found:,} images were rejected ({spread}), more than the allowed share of {allowed:g}; "
            f"see {where} for each, then mend the images or allow more with --max-rejected."
        )
    return reasons


def _features(spark: SparkSession, todo: Plan, folder: RunFolder) -> DataFrame:
    """Add the features of the earlier run to the new ones, and return the table as it is read back."""
    where = folder.uri("features")
    if todo.reused is not None:
        todo.reused.select(*parts.FEATURES).write.mode("append").parquet(where)
    return spark.read.parquet(where)


def _count(table: DataFrame, todo: Plan, rejected: dict[str, int]) -> Counts:
    """Count what was written, against what the plan said there was; a photo that is there twice counts once."""
    reused = todo.reused.count() if todo.reused is not None else 0
    return Counts(todo.found, table.select("path").distinct().count() - reused, reused, sum(rejected.values()))


def _count_by(table: DataFrame, column: str) -> dict[str, int]:
    rows = table.groupBy(F.coalesce(column, F.lit("")).alias("key")).count().orderBy("key").collect()
    return {row["key"]: row["count"] for row in rows}


def _pca_record(settings: Settings, components: Components, drawn: sample.Sample) -> PcaRecord:
    return PcaRecord(
        components=components.k,
        variance_kept=components.variance_kept,
        standardized=settings.standardize,
        agreement_features=drawn.agreement_features,
        agreement_components=drawn.agreement_components,
        agreement_sample=len(drawn.paths),
    )


def _examples(spark: SparkSession, folder: RunFolder) -> list[report.RejectedImage]:
    rows = spark.read.parquet(folder.uri("rejected")).orderBy("reason", "path").limit(_REJECTED_SHOWN).collect()
    return [report.RejectedImage(row.path, row.reason, row.detail) for row in rows]


def _versions(spark: SparkSession) -> dict[str, str]:
    versions = {"fruits": __version__, "python": platform.python_version(), "spark": spark.version}
    for library in _LIBRARIES:
        try:
            versions[library] = version(library)
        except PackageNotFoundError:  # a cluster without TensorFlow, a machine with the other build of it
            continue
    return versions


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")
