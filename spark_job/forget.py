"""Prunes the runs of an output before they expire: if a photo must be erased today, every run that knows it must go."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from spark_job import runs
from spark_job.errors import UserError
from spark_job.runs import RunFolder
from spark_job.storage.base import Removed, Store


@dataclass(frozen=True)
class Run:
    """A run of an output. ``started`` is in ISO 8601, and empty if it is unknown."""

    run_id: str
    started: str
    published: bool


def choose(known: Sequence[Run], latest: str, keep: int, now: datetime) -> list[Run]:
    """Return the runs to remove.

    These are all published runs but the last ``keep``, and unpublished runs that started more than three days ago. A
    younger run may still be in progress, or about to become the latest.

    Parameters
    ----------
    known
        All runs of the output.
    latest
        The id of the run that ``latest.json`` points at. Runs that started after it stay.
    keep
        How many published runs stay, the latest included.
    now
        The current time.
    """
    newest_first = sorted(known, key=lambda run: run.started, reverse=True)
    ids = [run.run_id for run in newest_first if run.published]
    ids = ids[ids.index(latest) :]
    too_old = (now - runs.MAX_DURATION).isoformat()
    return [
        run
        for run in newest_first
        if run.run_id not in ids[:keep] and (run.run_id in ids[keep:] or run.started < too_old)
    ]


def forget(output: Store, run_ids: Sequence[str], keep: int) -> dict[Run, Removed]:
    """Remove the given runs or, if none are given, those that :func:`choose` returns.

    Returns
    -------
    dict of Run to Removed
        What was removed, by run.

    Raises
    ------
    UserError
        If the output has no published run, or if an id is unknown or belongs to the latest run.
    """
    last = runs.latest(output)
    if last is None:
        raise UserError(f"There is no published run in {output.uri}; nothing was removed.")
    known = {run_id: _run(RunFolder(output, run_id)) for run_id in output.folders(runs.RUNS)}
    for run_id in run_ids:
        if run_id == last.run_id:
            raise UserError(f"The run {run_id} is the latest. Delete the photos, run again, then forget this run.")
        if run_id not in known:
            raise UserError(f"There is no run {run_id} in {output.uri}. Its runs are {', '.join(known)}.")
    chosen = [known[run_id] for run_id in run_ids] or choose([*known.values()], last.run_id, keep, datetime.now(UTC))
    return {run: RunFolder(output, run.run_id).remove() for run in chosen}


def _run(folder: RunFolder) -> Run:
    return Run(folder.run_id, folder.started, folder.is_published)
