"""The summary that a run prints on the terminal."""

from spark_job.duration import duration
from spark_job.manifest import Manifest, describe, describe_left_out
from spark_job.report.text import in_one_line
from spark_job.runs import REPORT, RUNS


def summary(manifest: Manifest) -> str:
    """Return the main facts of a run, one per line."""
    return "\n".join(f"{name:<10}{value}" for name, value in _lines(manifest).items())


def mixed_labels(manifest: Manifest) -> str:
    """Return which labels are mixed most, such as ``Apple / Pear 12.0%``."""
    return ", ".join(f"{in_one_line(pair)} {share:.1%}" for pair, share in manifest.mixed_labels.items())


def _lines(manifest: Manifest) -> dict[str, str]:
    counts, pca = manifest.counts, manifest.pca
    lines = {
        "run": manifest.run_id,
        "photos": f"{counts.found:,} found = {counts.computed:,} computed + {counts.reused:,} reused "
        f"+ {counts.rejected:,} rejected",
    }
    if manifest.reused:
        lines["reused"] = ", ".join(f"{count:,} from {run_id}" for run_id, count in manifest.reused.items())
    if manifest.rejected:
        lines["rejected"] = describe(manifest.rejected)
    if manifest.left_out:
        lines["left out"] = describe_left_out(manifest.left_out)
    if manifest.retries:
        lines["retries"] = f"{manifest.retries:,} reads were repeated"
    if found := {kind: count for kind, count in manifest.findings.items() if count}:
        lines["findings"] = describe(found)
    if mixed := mixed_labels(manifest):
        lines["mixed"] = mixed
    lines["PCA"] = f"{pca.components:,} components keep {pca.variance_kept:.1%} of the variance"
    if pca.one_nn_accuracy_features is not None and pca.one_nn_accuracy_components is not None:
        lines["1-NN"] = (
            f"{pca.one_nn_accuracy_features:.1%} on features, {pca.one_nn_accuracy_components:.1%} after PCA"
        )
    lines["time"] = ", ".join(f"{stage} {duration(seconds)}" for stage, seconds in manifest.seconds.items())
    if counts.computed:
        lines["speed"] = f"{manifest.images_per_second:,.0f} photos/s"
    meaning = " (random: the features mean nothing)" if manifest.model.meaningless else ""
    lines["weights"] = f"{manifest.model.weights}, on {manifest.model.engine}{meaning}"
    lines["report"] = f"{manifest.output}/{RUNS}/{manifest.run_id}/{REPORT}"
    return lines
