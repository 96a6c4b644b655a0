"""What the results of a trial mean: whether they are complete, and how long everything took. It does not call AWS."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa

from cdk_app import assumptions
from cdk_app.emr_cluster import CORES, instance_types
from cdk_app.prices import Nodes
from cdk_app.stage_settings import StageSettings
from spark_job import runs
from spark_job.demo import BROKEN
from spark_job.network import MOBILENET_V2

#: The tables with one row per photo.
TABLES = (runs.FEATURES, runs.PCA, runs.NEIGHBOURS, runs.REJECTED)
_FILES = (runs.REPORT, runs.MANIFEST)
_CREATE, _TERMINATE, _ENDED = "Create cluster", "Terminate cluster", "Add up the cost"

Json = dict[str, Any]


@dataclass(frozen=True)
class Published:
    """What a run has left in the results bucket.

    Attributes
    ----------
    sizes
        The size of each file, in bytes, by its path in the folder of the run.
    report, manifest, summary
        The contents of these files; empty if there is no file.
    tables
        Those of `TABLES`, by name.
    """

    sizes: Mapping[str, int]
    report: bytes
    manifest: Json
    summary: Json
    tables: Mapping[str, pa.Table]


@dataclass(frozen=True)
class Times:
    """When the execution first entered each state, when EMR started and ended the job, and the cluster's last state."""

    entered: Mapping[str, datetime]
    job_started: datetime
    job_ended: datetime
    cluster_state: str


@dataclass(frozen=True)
class Row:
    """A value that the trial measured, beside the one that the documents assume. None is unknown."""

    name: str
    unit: str
    measured: float | None
    assumed: float | None


def problems(output: Json, published: Published, times: Times, photos: Collection[str]) -> list[str]:
    """Compare the output of an execution and its files with the photos of the demo.

    Parameters
    ----------
    output
        The output of the execution.
    published
        What the run has left.
    times
        Of its state only the cluster's is compared.
    photos
        The paths of all photos in the input, those that are broken included.

    Returns
    -------
    list of str
        A sentence for everything that is wrong.
    """
    missing = [name for name in _FILES if not published.sizes.get(name)]
    missing += [f"{name}/" for name in (*TABLES, runs.FINDINGS, runs.MODEL) if not _holds(published.sizes, f"{name}/")]
    missing += [] if published.summary else ["summary"]
    found = [f"The run has no {name}." for name in missing]
    if not times.cluster_state.startswith("TERMINATED"):
        found.append(f"The cluster is still {times.cluster_state}.")
    if missing:
        return found
    computed = len(photos) - len(BROKEN)
    counts = {"found": len(photos), "computed": computed, "reused": 0, "rejected": len(BROKEN)}
    for where, given in (
        ("The output of the execution", output["images"]),
        (runs.MANIFEST, published.manifest["counts"]),
        ("The summary", published.summary["counts"]),
    ):
        found += _differs(f"{where} counts", given, counts)
    paths = {name: sorted(table["path"].to_pylist()) for name, table in published.tables.items()}
    good = sorted(set(photos) - set(BROKEN))
    for name in TABLES:
        expected = sorted(BROKEN) if name == runs.REJECTED else good
        if paths[name] != expected:
            wrong = sorted(set(paths[name]) ^ set(expected))
            found.append(f"The table {name} has {len(paths[name])} rows, not {len(expected)}: {', '.join(wrong[:3])}.")
    for name, width in ((runs.FEATURES, MOBILENET_V2.feature_count), (runs.PCA, output["components"])):
        column = published.tables[name][name]
        widths = {len(row) for row in column}
        found += _differs(f"The numbers per photo in {name} are", sorted(widths), [width])
    if b"<html" not in published.report:
        found.append(f"{runs.REPORT} is not a page of HTML.")
    return found


def _holds(paths: Iterable[str], folder: str) -> bool:
    return any(path.startswith(folder) for path in paths)


def _differs(what: str, given: object, expected: object) -> list[str]:
    return [] if given == expected else [f"{what} {given}, not {expected}."]


def rows(output: Json, summary: Json, times: Times, settings: StageSettings) -> list[Row]:
    """Return what the trial measured, beside what the documents assume.

    The times are those of EMR and of the state machine, so they do not depend on how often this command looks.
    """
    nodes = Nodes(
        settings.region,
        tuple(instance_types(settings.architecture, settings.region)),
        count=1 + settings.core_nodes + settings.spot_nodes,
        spot=settings.spot_nodes,
    )
    minutes = (
        assumptions.START_MINUTES
        + assumptions.JOB_MINUTES
        + assumptions.TAIL_SECONDS / 60
        + assumptions.TERMINATION_MINUTES
    )
    hourly = nodes.usd_per_hour
    cluster = output["cluster"]
    vcpus = CORES * (cluster["nodes"] - 1)
    start = (times.job_started - times.entered[_CREATE]).total_seconds() / 60
    job = (times.job_ended - times.job_started).total_seconds() / 60
    tail = (times.entered[_TERMINATE] - times.job_ended).total_seconds()
    termination = (times.entered[_ENDED] - times.entered[_TERMINATE]).total_seconds() / 60
    return [
        Row("start of the cluster", "min", start, assumptions.START_MINUTES),
        Row("job", "min", job, assumptions.JOB_MINUTES),
        Row("photos/s per vCPU", "", summary["images_per_second"] / vcpus, assumptions.PHOTOS_PER_SECOND),
        Row("tail", "s", tail, assumptions.TAIL_SECONDS),
        Row("termination", "min", termination, assumptions.TERMINATION_MINUTES),
        Row("whole run", "min", cluster["minutes"], minutes),
        Row("nodes", "", cluster["nodes"], nodes.count),
        Row("cost", "USD", cluster["usd"], None if hourly is None else hourly * minutes / 60),
    ]


def table(measured: Iterable[Row]) -> str:
    """Return the rows as a table in Markdown."""
    lines = [f"| {row.name} | {_value(row.measured, row.unit)} | {_value(row.assumed, row.unit)} |" for row in measured]
    return "\n".join(["| | measured | assumed |", "|---|---|---|", *lines])


def _value(value: float | None, unit: str) -> str:
    if value is None:
        return "unknown"
    digits = 2 if unit == "USD" else 1
    return f"{round(value, digits):g} {unit}".strip()
