"""One run, from top to bottom."""

import platform
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema

from spark_job import __version__, features, parts, pca, plan, publish, sample, session, weights
from spark_job.errors import RunError
from spark_job.manifest import Counts, Manifest, PcaRecord
from spark_job.model import FEATURES, Model
from spark_job.moments import Components, check_count
from spark_job.objects import Store
from spark_job.plan import Plan
from spark_job.progress import Stages
from spark_job.publish import RunFolder
from spark_job.report import page
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
        context = spark.sparkContext
    with stages.stage("plan"):
        earlier = None if settings.recompute else _reusable(output, network)
        todo = _plan(spark, source, output, earlier)
        check_count(settings.components, todo.found, FEATURES)
        folder.claim(_iso(started))
    work = features.Work.on(spark, source.uri, network)
    with stages.stage("features", todo.to_compute, lambda: work.done.value):
        written = folder.table("features")
        rejected = features.compute(todo.new, todo.to_compute, work, written, folder.table("rejected"))
        _check_rejected(rejected, todo.found, settings.max_rejected, folder)
        if todo.reused is not None:
            features.reuse(todo.reused, written)
    with stages.stage("pca"):
        components = pca.fit(context, written, settings.components, settings.standardize)
    with ThreadPoolExecutor() as pool:
        # Both take Spark's driver a while, in which the executors can do the rest.
        saved = pool.submit(pca.pipeline(spark, components).save, folder.uri("model"))
        counted = pool.submit(_labels, spark, folder)
        with stages.stage("projection"):
            pca.project(context, written, components, folder.table("pca"))
        with stages.stage("report"):
            drawn = sample.draw(context, written, components)
            points = drawn.points(source)
            record = _pca_record(settings, components, drawn)
            examples = _examples(spark, folder) if rejected else []
            labels = counted.result()
            reused = todo.found - todo.to_compute
            counts = Counts(todo.found, sum(labels.values()) - reused, reused, sum(rejected.values()))
            saved.result()
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
    folder.publish(manifest, page.render(manifest, components.ratio.tolist(), points, examples))
    return manifest


def _reusable(output: Store, network: Model) -> str | None:
    """Return the id of the last published run, if its features are those that this model would compute."""
    last = publish.latest(output)
    return last.run_id if last and last.model.digest == network.digest else None


def _plan(spark: SparkSession, source: Store, output: Store, earlier: str | None) -> Plan:
    photos = plan.list_images(spark, source)
    known = _table(spark, RunFolder(output, earlier), "features", parts.FEATURES) if earlier else None
    return plan.make(photos, known, source)


def _table(spark: SparkSession, folder: RunFolder, name: str, schema: pa.Schema) -> DataFrame:
    """Return a table of a run; Spark would find its columns out as well, and start a job for it."""
    return spark.read.schema(from_arrow_schema(schema)).parquet(folder.uri(name))


def _check_rejected(reasons: dict[str, int], found: int, allowed: float, folder: RunFolder) -> None:
    """Fail the run if too many images were rejected; the table stays to be read."""
    rejected = sum(reasons.values())
    if rejected > allowed * found or rejected == found:
        spread = ", ".join(f"{count:,} {reason}" for reason, count in reasons.items())
        raise RunError(
            f"{rejected:,} of {found:,} images were rejected ({spread}), more than the allowed share of {allowed:g}; "
            f"see {folder.uri('rejected')} for each, then mend the images or allow more with --max-rejected."
        )


def _labels(spark: SparkSession, folder: RunFolder) -> dict[str, int]:
    """Count what was written, by label; a photo that is there twice counts once."""
    photos = _table(spark, folder, "features", parts.FEATURES).select("path", "label").distinct()
    rows = photos.groupBy(F.coalesce("label", F.lit("")).alias("label")).count().collect()
    return {row["label"]: row["count"] for row in sorted(rows)}


def _pca_record(settings: Settings, components: Components, drawn: sample.Sample) -> PcaRecord:
    return PcaRecord(
        components=components.k,
        variance_kept=components.variance_kept,
        standardized=settings.standardize,
        agreement_features=drawn.agreement_features,
        agreement_components=drawn.agreement_components,
        agreement_sample=len(drawn.paths),
    )


def _examples(spark: SparkSession, folder: RunFolder) -> list[page.RejectedImage]:
    table = _table(spark, folder, "rejected", parts.REJECTED)
    rows = table.orderBy("reason", "path").limit(_REJECTED_SHOWN).collect()
    return [page.RejectedImage(row.path, row.reason, row.detail) for row in rows]


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
