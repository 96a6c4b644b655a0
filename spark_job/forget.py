"""Removing runs before they expire: for a photo that has to be gone today, from every run that knew it."""

import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from spark_job import publish
from spark_job.errors import UserError
from spark_job.objects import Removed, Store
from spark_job.publish import RunFolder

_UNDER_WAY = timedelta(hours=24)


@dataclass(frozen=True)
class Run:
    """A run as its folder shows it; ``published`` where it has a manifest."""

    run_id: str
    started: str
    published: bool


def choose(runs: Sequence[Run], latest: str, keep: int, now: datetime) -> list[Run]:
    """Return what is to go: published runs older than the latest, but for some, and all others that are a day old.

    A younger one may be under way, or about to become the latest.

    Parameters
    ----------
    runs
        All there are.
    latest
        The id of the run that ``latest.json`` points at.
    keep
        How many published runs stay, the latest among them.
    """
    newest_first = sorted(runs, key=lambda run: run.started, reverse=True)
    ids = [run.run_id for run in newest_first if run.published]
    ids = ids[ids.index(latest) :]
    yesterday = (now - _UNDER_WAY).isoformat()
    return [
        run
        for run in newest_first
        if run.run_id not in ids[:keep] and (run.run_id in ids[keep:] or run.started < yesterday)
    ]


def forget(output: Store, run_ids: Sequence[str], keep: int) -> dict[Run, Removed]:
    """Remove the runs of some ids, or, without ids, those that :func:`choose` chooses; return how much each was.

    Raises
    ------
    UserError
        If there is no published run, or an id is unknown or that of the latest run.
    """
    last = publish.latest(output)
    if last is None:
        raise UserError(f"There is no published run in {output.uri}; nothing was removed.")
    runs = {run_id: _run(output, run_id) for run_id in output.folders("runs")}
    for run_id in run_ids:
        if run_id == last.run_id:
            raise UserError(f"The run {run_id} is the latest; delete the photos, run again, then forget this one.")
        if run_id not in runs:
            raise UserError(f"There is no run {run_id} in {output.uri}; there are {', '.join(runs)}.")
    chosen = [runs[run_id] for run_id in run_ids] or choose([*runs.values()], last.run_id, keep, datetime.now(UTC))
    return {run: RunFolder(output, run.run_id).remove() for run in chosen}


def _run(output: Store, run_id: str) -> Run:
    """Return a run by its marker and its manifest; without a marker it is as old as can be."""
    folder = RunFolder(output, run_id).path
    started, published = "", False
    with contextlib.suppress(FileNotFoundError, ValueError, KeyError, TypeError):
        started = str(json.loads(output.read(f"{folder}/_started.json").data)["started"])
    with contextlib.suppress(FileNotFoundError):
        published = bool(output.read(f"{folder}/manifest.json"))
    return Run(run_id, started, published)
