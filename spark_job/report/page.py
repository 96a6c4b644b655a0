"""The HTML page of a run, made from its numbers and sampled photos.

Python computes where things go; the template ``report.html.j2`` draws them.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

from spark_job.manifest import Manifest, describe_left_out
from spark_job.report.cases import MEANINGLESS, Chapter
from spark_job.report.drawing import bars, stages
from spark_job.report.map import Point, photo_map
from spark_job.report.summary import mixed_labels
from spark_job.report.template import render_template
from spark_job.report.text import label_name
from spark_job.report.variance import variance_curve
from spark_job.runs import RUNS
from spark_job.tables import RejectedPhoto


def render(
    manifest: Manifest,
    explained_variance_ratio: Sequence[float],
    points: Sequence[Point],
    rejected: Sequence[RejectedPhoto],
    chapters: Sequence[Chapter] = (),
) -> str:
    """Return the page of one run.

    Parameters
    ----------
    manifest : Manifest
        The run.
    explained_variance_ratio : sequence of float
        The ratios of all components, not only of those kept, in descending order.
    points : sequence of Point
        Sampled photos; about 2,000 points and 60 thumbnails keep the page small.
    rejected : sequence of RejectedPhoto
        Examples; ``manifest.rejected`` counts all rejected photos.

    chapters : sequence of Chapter
        What was found, with photos.

    Returns
    -------
    str
        HTML that loads nothing: it contains its styles, scripts and images.
    """
    photos = {label_name(label): count for label, count in manifest.labels.items()}
    return render_template(
        "report.html.j2",
        manifest=manifest,
        seconds_total=_seconds_between(manifest.started, manifest.finished),
        map=photo_map(points, photos),
        curve=variance_curve(explained_variance_ratio, manifest.pca.components),
        first_shares=[*explained_variance_ratio[:2], 0.0, 0.0][:2],
        labels=bars(photos),
        stages=stages(manifest.seconds),
        reasons=bars(manifest.rejected),
        rejected=rejected,
        left_out=describe_left_out(manifest.left_out),
        chapters=chapters,
        meaningless=MEANINGLESS,
        mixed_labels=mixed_labels(manifest),
        chance=accuracy_by_chance(photos),
        run_path=f"{manifest.output.rstrip('/')}/{RUNS}/{manifest.run_id}",
    )


def _seconds_between(started: str, finished: str) -> float:
    return (datetime.fromisoformat(finished) - datetime.fromisoformat(started)).total_seconds()


def accuracy_by_chance(labels: Mapping[str, int]) -> float | None:
    """Return the probability that two different photos picked at random have the same label."""
    photos = sum(labels.values())
    if photos < 2:
        return None
    return sum(n * (n - 1) for n in labels.values()) / (photos * (photos - 1))
