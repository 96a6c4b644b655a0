"""What the results of a trial mean: whether they are complete, and how long everything took. It does not call AWS."""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from cdk_app.assumptions import JOB_MINUTES, PHOTOS_PER_SECOND, START_MINUTES, TAIL_SECONDS, TERMINATION_MINUTES
from cdk_app.emr_cluster import CORES, instance_types
from cdk_app.prices import Nodes
from cdk_app.stage_settings import StageSettings
from spark_job import runs
from spark_job.demo import BROKEN
from spark_job.network import MOBILENET_V2

_TABLES_OF_PHOTOS = (runs.FEATURES, runs.PCA, runs.NEIGHBOURS, runs.REJECTED)
_CREATE, _TERMINATE, _ENDED = "Create cluster", "Terminate cluster", "Add up the cost"
#: The question for Athena.
COUNTS = "SELECT counts.found, counts.computed, counts.reused, counts.rejected FROM runs WHERE run_id = '{}'"

Json = dict[str, Any]


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


def problems(photos: Collection[str], output: Json, run: Path, summary: Json, athena: object) -> list[str]:
    """Compare what a run has left with the photos of the demo.

    Parameters
    ----------
    photos
        The paths of all photos in the input, those that are broken included.
    output
        The output of the execution.
    run
        A copy of the folder of the run.
    summary
        The summary of the run.
    athena
        Athena's answer to `COUNTS`.

    Returns
    -------
    list of str
        A sentence for everything that is wrong.
    """
    wanted = (runs.REPORT, runs.MANIFEST, *_TABLES_OF_PHOTOS, runs.FINDINGS, runs.MODEL)
    if missing := [name for name in wanted if not (run / name).exists()]:
        return [f"The run has no {', '.join(missing)}."]
    good = set(photos) - set(BROKEN)
    counts = {"found": len(photos), "computed": len(good), "reused": 0, "rejected": len(BROKEN)}
    found = _differs("Athena counts", athena, [[str(count) for count in counts.values()]])
    manifest = json.loads((run / runs.MANIFEST).read_text())
    found += _differs(f"{runs.MANIFEST} counts", manifest["counts"], counts)
    found += _differs("The summary counts", summary.get("counts"), counts)
    found += _differs("The output of the execution counts", output["images"], counts)
    for name in _TABLES_OF_PHOTOS:
        paths = pq.read_table(run / name, columns=["path"])["path"].to_pylist()
        expected = set(BROKEN) if name == runs.REJECTED else good
        if wrong := set(paths) ^ expected:
            found.append(f"The table {name} has other photos than it should, such as {min(wrong)}.")
        found += _differs(f"The rows of the table {name} are", len(paths), len(expected))
    for name, width in ((runs.FEATURES, MOBILENET_V2.feature_count), (runs.PCA, output["components"])):
        widths = pc.list_value_length(pq.read_table(run / name, columns=[name])[name])
        found += _differs(f"The numbers per photo in {name} are", sorted(set(widths.to_pylist())), [width])
    if "<html" not in (run / runs.REPORT).read_text():
        found.append(f"{runs.REPORT} is not a page of HTML.")
    return found


def _differs(what: str, given: object, expected: object) -> list[str]:
    return [] if given == expected else [f"{what} {given}, not {expected}."]


def rows(output: Json, summary: Json, times: Times, settings: StageSettings) -> list[Row]:
    """Return what the trial measured, beside what the documents assume.

    The times are those of EMR and of the state machine, so they do not depend on how often this command looks.
    """
    types = tuple(instance_types(settings.architecture, settings.region))
    nodes = Nodes(settings.region, types, 1 + settings.core_nodes + settings.spot_nodes, settings.spot_nodes)
    hourly, cluster = nodes.usd_per_hour, output["cluster"]
    minutes = START_MINUTES + JOB_MINUTES + TAIL_SECONDS / 60 + TERMINATION_MINUTES
    speed = summary["images_per_second"] / (CORES * (cluster["nodes"] - 1))
    created, told, ended = (times.entered[state] for state in (_CREATE, _TERMINATE, _ENDED))
    return [
        Row("start of the cluster", "min", _minutes(created, times.job_started), START_MINUTES),
        Row("job", "min", _minutes(times.job_started, times.job_ended), JOB_MINUTES),
        Row("photos/s per vCPU", "", speed, PHOTOS_PER_SECOND),
        Row("tail", "s", 60 * _minutes(times.job_ended, told), TAIL_SECONDS),
        Row("termination", "min", _minutes(told, ended), TERMINATION_MINUTES),
        Row("whole run", "min", cluster["minutes"], minutes),
        Row("nodes", "", cluster["nodes"], nodes.count),
        Row("cost", "USD", cluster["usd"], None if hourly is None else hourly * minutes / 60),
    ]


def _minutes(begin: datetime, end: datetime) -> float:
    return (end - begin).total_seconds() / 60


def table(measured: Iterable[Row]) -> str:
    """Return the rows as a table in Markdown."""
    lines = [f"| {row.name} | {_value(row.measured, row.unit)} | {_value(row.assumed, row.unit)} |" for row in measured]
    return "\n".join(["| | measured | assumed |", "|---|---|---|", *lines])


def _value(value: float | None, unit: str) -> str:
    if value is None:
        return "unknown"
    digits = 2 if unit == "USD" else 1
    return f"{round(value, digits):g} {unit}".strip()
