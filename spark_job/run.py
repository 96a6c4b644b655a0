"""One run, from start to end."""

import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

from pyspark import SparkContext

from spark_job import __version__, features, pca, pipeline, plan, reuse, runs, sample, session
from spark_job.archives import Photos
from spark_job.errors import RunError
from spark_job.features import FeatureTask, Rejections
from spark_job.findings.kinds import mixed_labels
from spark_job.findings.search import search
from spark_job.findings.stage import Found, judge
from spark_job.manifest import Counts, Manifest, PcaRecord
from spark_job.moments import FittedPca, check_count
from spark_job.network import MOBILENET_V2, Network, weights
from spark_job.plan import Input, Plan
from spark_job.progress import Stages
from spark_job.report import page
from spark_job.report.cases import Chapter, chapters
from spark_job.report.map import Point
from spark_job.report.text import in_one_line
from spark_job.reuse import Reuse
from spark_job.runs import RunFolder
from spark_job.sample import Census, Sample
from spark_job.settings import Settings
from spark_job.storage import open_store
from spark_job.storage.base import Store
from spark_job.tables import Table

_LIBRARIES = (
    *("pyspark", "tensorflow", "tensorflow-cpu", "ai-edge-litert"),
    *("numpy", "pyarrow", "pillow", "obstore", "faiss-cpu"),
)


def run(
    settings: Settings,
    source: Input,
    stages: Stages,
    network: Network = MOBILENET_V2,
    start: Callable[[], SparkContext] = session.start,
) -> Manifest:
    """Compute the features of every photo of the input, reduce them with PCA, and publish both.

    Parameters
    ----------
    settings
        What to compute.
    source
        The input of the settings, opened.
    stages
        Times the stages, and shows their progress.
    network
        The network that computes the features.
    start
        Returns the Spark context.

    Raises
    ------
    UserError
        If the settings cannot be carried out.
    RunError
        If too many photos were rejected, or if the counts do not account for every photo.
    """
    started = datetime.now(UTC)
    output = open_store(settings.output)
    folder = RunFolder(output, settings.run_id)
    with stages.stage("model"):
        model = weights.load(settings.weights, settings.engine, network)
    with stages.stage("spark"):
        context = start()
    folder.claim(_iso(started), model.digest)
    with folder.failure_left(), stages.written(folder.write_progress):
        with stages.stage("plan"):
            listed, left_out = plan.make(context, source, folder.table(runs.PLAN))
            found = listed.photos
            check_count(settings.components, found, network.feature_count)
            todo = Reuse(listed)
            if not settings.recompute:
                todo = _reusable(context, listed, folder, model.digest, stages)
        task = FeatureTask.prepare(context, source.store.uri, model)
        with stages.stage("features", todo.new.photos, lambda: task.done.value):
            rejections = _compute(context, todo, task, folder, settings.max_rejected)
        reduced = _reduce(context, source.store, folder, settings, stages)
        manifest = Manifest(
            run_id=settings.run_id,
            started=_iso(started),
            finished=_iso(datetime.now(UTC)),
            input=source.store.uri,
            output=output.uri,
            settings=asdict(settings),
            counts=Counts(found, reduced.census.computed, reduced.census.reused, rejections.counts.total()),
            rejected=dict(sorted(rejections.counts.items())),
            labels=dict(sorted(reduced.census.labels.items())),
            model=model.record,
            pca=_pca_record(settings, reduced.fitted, reduced.sample),
            seconds={name: round(seconds, 3) for name, seconds in stages.seconds.items()},
            images_per_second=round(todo.new.photos / stages.seconds["features"], 1),
            versions=_versions(context),
            reused_from=max(todo.reused, key=todo.reused.__getitem__, default=None),
            reused=dict(sorted(todo.reused.items())),
            retries=task.retries.value,
            left_out=dict(left_out.most_common()),
            findings=reduced.found.in_order,
            mixed_labels=mixed_labels(reduced.found.votes),
        )
        ratios = reduced.fitted.explained_variance_ratio.tolist()
        folder.publish(manifest, page.render(manifest, ratios, reduced.points, rejections.examples, reduced.chapters))
        return manifest


def _reusable(context: SparkContext, listed: Plan, folder: RunFolder, model_digest: str, stages: Stages) -> Reuse:
    """Find the photos that earlier runs have computed. Say which files of earlier runs are damaged."""
    files = runs.reusable(folder.output, model_digest, stages.say)
    if not files:
        return Reuse(listed)
    new, reused = folder.table(runs.NEW), folder.table(runs.REUSED)
    found = reuse.find(context, listed, folder.output.uri, files, new, reused)
    for (run_id, name), error in sorted(found.damaged.items()):
        file = f"{RunFolder(folder.output, run_id).uri}/{runs.FEATURES}/{name}"
        stages.say(f"The photos in {file} are computed again, because it cannot be read ({error}).")
    return found


def _compute(context: SparkContext, todo: Reuse, task: FeatureTask, folder: RunFolder, allowed: float) -> Rejections:
    """Write the features of all photos. Return what was rejected."""
    table = folder.table(runs.FEATURES)
    rejections = features.compute(context, todo.new, task, table, folder.table(runs.REJECTED))
    _check_rejected(rejections, todo.new.photos + todo.reused.total(), allowed, folder)
    reuse.copy(context, todo.reused.total(), folder.output.uri, folder.table(runs.REUSED), table)
    return rejections


def _check_rejected(rejections: Rejections, found: int, allowed: float, folder: RunFolder) -> None:
    """Raise RunError if too many photos were rejected. The table of rejected photos stays, so that it can be read."""
    rejected = rejections.counts.total()
    if rejected <= allowed * found and rejected < found:
        return
    counts = ", ".join(f"{count:,} {reason}" for reason, count in sorted(rejections.counts.items()))
    problem = f"{rejected:,} of {found:,} photos were rejected ({counts})"
    most = rejections.counts.most_common(1)[0][0]
    # The examples are the first 50 by reason, so they may have none of the most frequent reason.
    example = next((one for one in rejections.examples if one.reason == most), rejections.examples[0])
    about = in_one_line(f"{example.path}: {example.detail}")
    lists = f"One of them is {about}. {folder.uri}/{runs.REJECTED} lists all with the reasons."
    if rejected == found:
        raise RunError(f"{problem}, so there is nothing to publish. {lists}")
    raise RunError(
        f"{problem}, more than the allowed share of {allowed:g}. {lists} Fix the photos, or allow more with "
        "--max-rejected."
    )


@dataclass(frozen=True)
class _Reduced:
    """What a run learns from its features table."""

    fitted: FittedPca
    sample: Sample
    points: list[Point]
    census: Census
    found: Found
    chapters: list[Chapter]


def _reduce(context: SparkContext, source: Store, folder: RunFolder, settings: Settings, stages: Stages) -> _Reduced:
    """Fit PCA, write the model and the projection, find what is to be looked at, and draw a sample of the photos."""
    table, photos = folder.table(runs.FEATURES), folder.table(runs.PHOTOS)
    with stages.stage("pca"):
        fitted = pca.fit(context, table, settings.components, settings.standardize)
        pipeline.save(fitted, folder.output, f"{folder.path}/{runs.MODEL}")
    with stages.stage("projection"):
        pca.project(context, table, fitted, folder.table(runs.PCA), photos)
        census = _count(context, table)
    with stages.stage("neighbours"):
        neighbours = folder.table(runs.NEIGHBOURS)
        searched = search(context, photos, census.photos, folder.table(runs.CELLS), neighbours)
        if searched.photos != census.photos:
            raise RunError(
                f"{searched.photos:,} of {census.photos:,} photos have neighbours, so the run is not published. "
                "Run again."
            )
    with stages.stage("findings"):
        found = judge(
            context, photos, neighbours, census.labels, searched.typical_distance, folder.table(runs.FINDINGS)
        )
    with stages.stage("report"):
        drawn = sample.draw(context, table, census, fitted)
        shown = Photos(source)
        return _Reduced(fitted, drawn, drawn.points(shown), census, found, chapters(found.in_order, found.cases, shown))


def _count(context: SparkContext, table: Table) -> Census:
    """Count the photos of the features table. Raise RunError if one of them is there twice."""
    census = sample.count(context, table)
    if census.repeated:
        raise RunError(
            f"{census.repeated:,} photos would be in the result twice, so it is not published. If a zip file and a "
            "folder have the same name, rename one. Otherwise run again."
        )
    return census


def _pca_record(settings: Settings, fitted: FittedPca, drawn: Sample) -> PcaRecord:
    return PcaRecord(
        components=fitted.k,
        variance_kept=fitted.variance_kept,
        standardized=settings.standardize,
        one_nn_accuracy_features=drawn.one_nn_accuracy_features,
        one_nn_accuracy_components=drawn.one_nn_accuracy_components,
        one_nn_sample=len(drawn.paths),
    )


def _versions(context: SparkContext) -> dict[str, str]:
    versions = {"fruits": __version__, "python": platform.python_version(), "spark": context.version}
    for library in _LIBRARIES:
        try:
            versions[library] = version(library)
        except PackageNotFoundError:  # clusters have no TensorFlow, and laptops have only one of its two builds
            continue
    return versions


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")
