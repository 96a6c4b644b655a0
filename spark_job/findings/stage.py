"""The stage `findings`: judges all photos, and writes what it finds."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark import SparkContext
from pyspark.broadcast import Broadcast

from spark_job import tables
from spark_job.findings import Kind, kinds
from spark_job.findings.copies import Groups
from spark_job.findings.kinds import Copy, Finding
from spark_job.tables import Table, text_hashes

_CASES = 12


@dataclass(frozen=True)
class Found:
    """The findings of a run: their number by kind, and the most certain cases of each kind.

    ``groups`` is the number of groups of copies. ``votes`` counts nearest photos, by the label of the photo and their
    own.
    """

    counts: "Counter[str]" = field(default_factory=Counter)
    cases: list[Finding] = field(default_factory=list)
    groups: int = 0
    votes: "Counter[tuple[str, str]]" = field(default_factory=Counter)

    @property
    def in_order(self) -> dict[str, int]:
        """The counts of all kinds, even of those that were not found."""
        return {str(kind): self.counts[kind] for kind in Kind}

    def __add__(self, other: "Found") -> "Found":
        cases = kinds.most_certain(self.cases + other.cases, _CASES)
        return Found(self.counts + other.counts, cases, self.groups + other.groups, self.votes + other.votes)

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
    found = sum([*poor, *(found for found, _ in judged)], Found())
    pairs = np.concatenate([pairs for _, pairs in judged])
    return found + _judge_copies(context, neighbours, Groups.of(pairs), findings) if len(pairs) else found


def _judge_copies(context: SparkContext, neighbours: Table, groups: Groups, findings: Table) -> Found:
    """Write the findings about copies: Spark brings the photos of each group together."""
    copies = neighbours.spread(context).flatMap(partial(_copies_by_group, neighbours, context.broadcast(groups)))
    by_group = copies.groupByKey(context.defaultParallelism)
    return sum(by_group.mapPartitionsWithIndex(partial(_write_groups, findings)).collect(), Found())


def _copies_by_group(neighbours: Table, groups: "Broadcast[Groups]", name: str) -> Iterator[tuple[int, Copy]]:
    copies = (copy for batch in neighbours.read(name) for photo in _photos(batch) for copy in kinds.copies(photo))
    best = kinds.best(copies)
    for copy, photo in zip(best.values(), text_hashes(best), strict=True):
        yield groups.value.number(photo), copy


def _write_groups(findings: Table, task: int, groups: Iterable[tuple[int, Iterable[Copy]]]) -> Iterator[Found]:
    found = [finding for number, copies in groups for finding in kinds.of_group(number, copies)]
    yield _write(findings, f"copies-{task:05d}.parquet", found)


def _judge_pixels(photos: Table, findings: Table, name: str) -> Found:
    columns = ["path", "label", "brightness_low", "brightness_high", "sharpness", "entropy"]
    rows = (row for batch in photos.read(name, columns) for row in batch.to_pylist())
    return _write(findings, f"pixels-{name}", [finding for row in rows for finding in kinds.poor(row)])


def _judge_neighbours(
    neighbours: Table, sizes: "Broadcast[dict[str, int]]", typical: float, findings: Table, name: str
) -> tuple[Found, NDArray[np.uint64]]:
    """Write what a vote and distances say about photos. Also return pairs that connect the photos that are copies."""
    found: list[Finding] = []
    copies: list[Copy] = []
    votes: Counter[tuple[str, str]] = Counter()
    for batch in neighbours.read(name):
        for photo in _photos(batch):
            judged = kinds.wrong_label(photo, sizes.value), kinds.outlier(photo, typical, sizes.value)
            found += [finding for finding in judged if finding]
            copies += kinds.copies(photo)
            if photo["label"]:
                votes.update((photo["label"], other["label"]) for other in photo["neighbours"] if other["label"])
    paths = chain.from_iterable((copy.path, copy.other_path) for copy in copies)
    pairs = Groups.of(text_hashes(paths).reshape(-1, 2)).forest
    return _write(findings, f"neighbours-{name}", found) + Found(votes=votes), pairs


def _photos(batch: pa.RecordBatch) -> Iterator[dict[str, Any]]:
    """Yield the rows of NEIGHBOURS_SCHEMA. This takes a fifth of the time of pyarrow's ``to_pylist``."""
    lists = batch.column("neighbours")
    names = [field.name for field in tables.NEIGHBOUR]
    values = [column.to_numpy(zero_copy_only=False).tolist() for column in lists.flatten().flatten()]
    others = (dict(zip(names, row, strict=True)) for row in zip(*values, strict=True))
    photos = (batch.column(name).to_pylist() for name in ("path", "label"))
    for path, label, count in zip(*photos, lists.value_lengths().to_pylist(), strict=True):
        yield {"path": path, "label": label, "neighbours": list(islice(others, count))}


def _write(table: Table, name: str, findings: Iterable[Finding]) -> Found:
    found = sorted(findings, key=lambda finding: finding.rank)
    columns = {
        column.name: pa.array([getattr(finding, column.name) for finding in found], column.type)
        for column in tables.FINDINGS_SCHEMA
    }
    table.write(name, pa.table(columns, tables.FINDINGS_SCHEMA).to_batches(), tables.FINDINGS_SCHEMA)
    return Found.of(found)
