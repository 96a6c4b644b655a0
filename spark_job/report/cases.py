"""The findings that the report shows, with their photos."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from spark_job.archives import Photos
from spark_job.findings import MEANINGS, Kind
from spark_job.findings.kinds import Finding
from spark_job.network.images import thumbnail_if_possible

_READERS = 16
MEANINGLESS = (Kind.WRONG_LABEL, Kind.OUTLIER)
"""The kinds that mean nothing with random weights; the others come from the pixels."""


@dataclass(frozen=True)
class Picture:
    """A photo of a case; ``jpeg`` is a small version of it, or None if the photo is gone."""

    path: str
    jpeg: bytes | None


@dataclass(frozen=True)
class Case:
    """A finding, its photo, and the photos to compare it with."""

    finding: Finding
    photo: Picture
    others: list[Picture]


@dataclass(frozen=True)
class Chapter:
    """The cases of one kind; ``count`` is the number of all findings of this kind."""

    kind: Kind
    count: int
    cases: list[Case]

    @property
    def meaning(self) -> str:
        """What the kind means, in one sentence."""
        return MEANINGS[self.kind]


def _pictures(source: Photos, paths: Sequence[str]) -> dict[str, Picture]:
    """Return photos by their path, small enough for a page."""

    def picture(path: str) -> Picture:
        return Picture(path, thumbnail_if_possible(lambda: source.read(path).data))

    with ThreadPoolExecutor(_READERS) as pool:
        return dict(zip(paths, pool.map(picture, paths), strict=True))


def chapters(counts: dict[str, int], findings: Sequence[Finding], source: Photos) -> list[Chapter]:
    """Return the findings by kind, in their order, with their photos. Kinds without findings are left out."""
    shown = _pictures(source, sorted({path for finding in findings for path in _paths(finding)}))
    return [Chapter(kind, counts[kind], _cases(kind, findings, shown)) for kind in Kind if counts.get(kind)]


def _cases(kind: Kind, findings: Sequence[Finding], shown: dict[str, Picture]) -> list[Case]:
    return [
        Case(finding, shown[finding.path], [shown[path] for path in finding.compare])
        for finding in findings
        if finding.kind == kind
    ]


def _paths(finding: Finding) -> list[str]:
    return [finding.path, *finding.compare]
