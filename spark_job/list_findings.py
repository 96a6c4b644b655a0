"""Lists the findings of a published run. It needs no Spark."""

import csv
import io
import json
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import pyarrow as pa
from rich import box
from rich.table import Table as TerminalTable
from rich.text import Text

from spark_job import runs, tables
from spark_job.archives import Photos
from spark_job.errors import UserError
from spark_job.findings import Kind
from spark_job.findings.kinds import Finding
from spark_job.manifest import Manifest
from spark_job.report.cases import MEANINGLESS, chapters
from spark_job.report.summary import mixed_labels
from spark_job.report.template import render_template
from spark_job.storage import open_store
from spark_job.tables import Table

_READERS = 8
COLUMNS = tables.FINDINGS_SCHEMA.names


@dataclass(frozen=True)
class Listed:
    """The chosen findings of a run by kind, the most certain first; ``total`` also counts those beyond the limit."""

    run: Manifest
    findings: list[Finding]
    total: int


def find(run: str, kind: Kind | None = None, min_score: float = 0.0, limit: int | None = None) -> Listed:
    """Return the findings of a run.

    Parameters
    ----------
    run
        An output, for its latest run, or the folder of one run.
    kind
        The kind to return; all by default.
    min_score
        The lowest score to return.
    limit
        The largest number of findings to return; all by default.

    Raises
    ------
    UserError
        If the run cannot be read, or if it was made by a version that did not look for findings.
    """
    folder, manifest = runs.find(run)
    table = Table(folder.uri, runs.FINDINGS)
    try:
        names = table.names()
        with ThreadPoolExecutor(_READERS) as pool:
            parts = list(pool.map(lambda name: _read(table, name), names))
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"The run in {folder.uri} is not complete: {error}.") from error
    if not names:
        raise UserError(f"The run {manifest.run_id} has no findings, because an older version made it. Run again.")
    found = [
        finding for finding in chain(*parts) if finding.score >= min_score and (kind is None or finding.kind == kind)
    ]
    found.sort(key=lambda finding: finding.rank)
    return Listed(manifest, found[:limit], len(found))


def _read(table: Table, name: str) -> list[Finding]:
    return [_finding(row) for batch in table.read(name) for row in batch.to_pylist()]


def _finding(row: dict[str, Any]) -> Finding:
    compare = (row["other_path"],) if row["other_path"] else ()
    return Finding(**row | {"kind": Kind(row["kind"])}, compare=compare)


def terminal_table(listed: Listed) -> TerminalTable:
    """Return the findings as a table for the terminal."""
    table = TerminalTable("kind", "score", "path", "suggestion", box=box.SIMPLE_HEAD, pad_edge=False)
    for finding in listed.findings:
        cells = finding.kind, f"{finding.score:.2f}", finding.path, suggestion(finding)
        table.add_row(*map(Text, cells))  # not markup
    return table


def suggestion(finding: Finding) -> str:
    """Return what a person may do about a finding, in a few words."""
    match finding.kind:
        case Kind.WRONG_LABEL:
            return f"label it {finding.suggested_label}?"
        case Kind.DUPLICATE | Kind.NEAR_DUPLICATE:
            return f"keep this or {finding.other_path}?"
        case Kind.LEAK:
            return f"{finding.detail}: {finding.other_path}"
    return finding.detail


def summary(listed: Listed) -> str:
    """Return how many findings were listed, which labels are mixed, and a warning if the weights were random."""
    lines = [f"{len(listed.findings):,} of {listed.total:,} findings of run {listed.run.run_id}"]
    if (mixed := mixed_labels(listed.run)) and not listed.run.model.meaningless:
        lines.append(f"Mixed labels: {mixed}")
    if listed.run.model.meaningless:
        lines.append(f"The weights were random, so {' and '.join(MEANINGLESS)} mean nothing.")
    return "\n".join(lines)


def to_json(listed: Listed) -> str:
    """Return the findings as an indented JSON array."""
    return json.dumps([_row(finding) for finding in listed.findings], indent=2, ensure_ascii=False)


def to_csv(listed: Listed) -> str:
    """Return the findings as CSV with a header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_row(finding) for finding in listed.findings)
    return text.getvalue().rstrip("\n")


def _row(finding: Finding) -> dict[str, object]:
    return {column: getattr(finding, column) for column in COLUMNS} | {"score": round(finding.score, 4)}


def page(listed: Listed) -> str:
    """Return the findings as one HTML page that loads nothing, with their photos."""
    counts = Counter(str(finding.kind) for finding in listed.findings)
    cases = _with_groups(listed.findings)
    return render_template(
        "findings.html.j2",
        manifest=listed.run,
        chapters=chapters(counts, cases, Photos(open_store(listed.run.input))),
        meaningless=MEANINGLESS,
    )


def _with_groups(findings: Sequence[Finding]) -> list[Finding]:
    """Return one finding for each group of copies and kind, with the other photos of the group to compare."""
    cases: dict[tuple[str, object], Finding] = {}
    for finding in findings:
        key = finding.kind, finding.path if finding.group is None else finding.group
        first = cases.setdefault(key, finding)
        if first is not finding:
            compare = dict.fromkeys([*first.compare, finding.path])
            cases[key] = replace(first, compare=tuple(compare)[:3])
    return list(cases.values())
