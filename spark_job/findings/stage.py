"""The stage `findings`: judges all photos, and writes what it finds."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial

import pyarrow as pa
from pyspark import SparkContext
from pyspark.broadcast import Broadcast

from spark_job import tables
from spark_job.findings import Kind, kinds
from spark_job.findings.kinds import Copy, Finding
from spark_job.tables import Table

_CASES = 12


@dataclass(frozen=True)
class Found:
    """The findings of a run: their number by kind, and the most certain cases of each kind.

    ``groups`` is the number of groups of copies.
    """

    counts: "Counter[str]" = field(default_factory=Counter)
    cases: list[Finding] = field(default_factory=list)
    groups: int = 0

    @property
    def in_order(self) -> dict[str, int]:
        """The counts of all kinds, even of those that were not found."""
        return {str(kind): self.counts[kind] for kind in Kind}

    def __add__(self, other: "Found") -> "Found":
        cases = kinds.most_certain(self.cases + other.cases, _CASES)
        return Found(self.counts + other.counts, cases, self.groups + other.groups)

    @classmethod
    def of(cls, findings: list[Finding]) -> "Found":
        """Count findings, and choose the cases."""
        counts = Counter(str(finding.kind) for finding in findings)
        groups = len({finding.group for finding in findings if finding.group is not None})
        return cls(counts, kinds.most_certain(findings, _CASES), groups)


def judge(  # noqa: PLR0913, PLR0917 - three tables and two numbers
    context: SparkContext,
    photos: Table,
    neighbours: Table,
    labels: Mapping[str, int],
    typical: float,
    findings: Table,
) -> Found:
    """Write all findings (FINDINGS_SCHEMA), and return their counts and cases.

    Parameters
    ----------
    context
        Where to run the tasks.
    photos, neighbours
        The photos (SEARCH_SCHEMA) and their neighbours (NEIGHBOURS_SCHEMA).
    labels
        The number of photos by label.
    typical
        The median of the mean distances of all photos from their neighbours.
    findings
        The table to write.
    """
    sizes = context.broadcast({label: count for label, count in labels.items() if label})
    poor = photos.spread(context).map(partial(_judge_pixels, photos, findings)).collect()
    judged = neighbours.spread(context).map(partial(_judge_neighbours, neighbours, sizes, typical, findings)).collect()
    copied = kinds.of_groups(copy for _, copies in judged for copy in copies)
    _write(findings, "copies-00000.parquet", copied)
    return sum([*poor, *(found for found, _ in judged)], Found.of(copied))


def _judge_pixels(photos: Table, findings: Table, name: str) -> Found:
    columns = ["path", "label", "brightness_low", "brightness_high", "sharpness", "entropy"]
    rows = (row for batch in photos.read(name, columns) for row in batch.to_pylist())
    return _write(findings, f"pixels-{name}", [finding for row in rows for finding in kinds.poor(row)])


def _judge_neighbours(
    neighbours: Table, sizes: "Broadcast[dict[str, int]]", typical: float, findings: Table, name: str
) -> tuple[Found, list[Copy]]:
    found: list[Finding] = []
    copies: list[Copy] = []
    for batch in neighbours.read(name):
        for photo in batch.to_pylist():
            judged = kinds.wrong_label(photo, sizes.value), kinds.outlier(photo, typical, sizes.value)
            found += [finding for finding in judged if finding]
            copies += kinds.copies(photo)
    return _write(findings, f"neighbours-{name}", found), copies


def _write(table: Table, name: str, findings: Iterable[Finding]) -> Found:
    found = sorted(findings, key=lambda finding: (list(Kind).index(finding.kind), finding.rank))
    columns = {
        column.name: pa.array([getattr(finding, column.name) for finding in found], column.type)
        for column in tables.FINDINGS_SCHEMA
    }
    table.write(name, pa.table(columns, tables.FINDINGS_SCHEMA).to_batches(), tables.FINDINGS_SCHEMA)
    return Found.of(found)
