"""What counts as a finding: pure functions of neighbours and measures. docs/findings.md explains the limits."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from spark_job.findings import Kind
from spark_job.pack import SHARD_NAME

ALIKE = 0.984
"""The correlation of miniatures from which photos are near duplicates."""

WRONG_LABEL = 0.7
OUTLIER = 0.35
_FEWEST_VOTES = 3
_MIXED_PAIRS = 3
_DARK, _BRIGHT, _BLURRED, _EMPTY = 0.32, 0.95, 0.15, 3.0
_MOST_ENTROPY = 8 + np.log2(3)  # three colours with 256 equally frequent values


@dataclass(frozen=True)
class Finding:
    """One photo and what was found about it: a row of FINDINGS_SCHEMA, and up to three photos to compare it with.

    ``score`` is from 0 to 1, and higher is more certain.
    """

    kind: Kind
    path: str
    label: str | None
    score: float
    group: int | None = None
    other_path: str | None = None
    suggested_label: str | None = None
    detail: str = ""
    compare: tuple[str, ...] = ()

    @property
    def rank(self) -> tuple[int, float, str]:
        """Sorts findings by kind, and those of one kind by certainty: the most certain first."""
        return list(Kind).index(self.kind), -self.score, self.path


@dataclass(frozen=True)
class Copy:
    """A pair of photos that are copies of each other; ``same`` is ``bytes``, ``pixels`` or None."""

    path: str
    label: str | None
    other_path: str
    other_label: str | None
    likeness: float
    same: str | None


def copies(photo: Mapping[str, Any]) -> Iterator[Copy]:
    """Yield the copies of a photo among its neighbours (a row of NEIGHBOURS_SCHEMA)."""
    for other in photo["neighbours"]:
        if other["same"] or other["likeness"] >= ALIKE:
            alike = 1.0 if other["same"] else float(other["likeness"])
            yield Copy(photo["path"], photo["label"], other["path"], other["label"], alike, other["same"])


def wrong_label(photo: Mapping[str, Any], label_sizes: Mapping[str, int]) -> Finding | None:
    """Return a finding if the nearest photos agree on another label than the photo's own.

    A label with few photos cannot win a vote of ten, so no more photos vote than the label has others. With fewer than
    three there is no vote.
    """
    label = photo["label"]
    if not label:
        return None
    voters = photo["neighbours"][: max(0, label_sizes.get(label, 0) - 1)]
    if len(voters) < _FEWEST_VOTES:
        return None
    votes = Counter(voter["label"] for voter in voters if voter["label"] and voter["label"] != label)
    if not votes:
        return None
    suggested, most = votes.most_common(1)[0]
    own = sum(voter["label"] == label for voter in voters)
    score = (0.9 * votes.total() + 0.1 * most) / len(voters)  # the second term orders those that are equal by the first
    if score < WRONG_LABEL or most <= own:
        return None
    compare = tuple(voter["path"] for voter in voters if voter["label"] == suggested)[:3]
    return Finding(
        Kind.WRONG_LABEL,
        photo["path"],
        label,
        score,
        other_path=compare[0],
        suggested_label=suggested,
        detail=f"{most} of the {len(voters)} nearest photos are {suggested}, {own} are {label}",
        compare=compare,
    )


def outlier(photo: Mapping[str, Any], typical: float, label_sizes: Mapping[str, int]) -> Finding | None:
    """Return a finding if a photo is far from its neighbours, and they have other labels.

    ``typical`` is the median of the mean distances of all photos from their neighbours. Where all photos have one label
    or a photo has none, only the distance counts.
    """
    others = photo["neighbours"]
    mean = sum(other["distance"] for other in others) / max(1, len(others))
    if typical <= 0 or mean <= typical:
        return None
    foreign = 1.0
    if photo["label"] and len(label_sizes) > 1:
        foreign = sum(other["label"] != photo["label"] for other in others) / len(others)
    score = foreign * (1 - typical / mean)
    if score < OUTLIER:
        return None
    detail = f"{mean / typical:.1f} times as far from its nearest photos as is usual"
    return Finding(
        Kind.OUTLIER,
        photo["path"],
        photo["label"],
        score,
        other_path=others[0]["path"],
        detail=detail,
        compare=(others[0]["path"],),
    )


def poor(photo: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield what is wrong with the pixels of a photo (a row with the columns of QUALITY_SCHEMA)."""
    low, high = photo["brightness_low"], photo["brightness_high"]
    sharpness, entropy = photo["sharpness"], photo["entropy"]
    found = [
        (high < _DARK, Kind.DARK, 1 - high, f"99 % of the photo is darker than {high:.2f} of white"),
        (low > _BRIGHT, Kind.BRIGHT, low, f"95 % of the photo is brighter than {low:.2f} of white"),
        (entropy < _EMPTY, Kind.EMPTY, 1 - entropy / _MOST_ENTROPY, f"the entropy is {entropy:.1f} bits"),
        (
            sharpness < _BLURRED and entropy >= _EMPTY,
            Kind.BLURRED,
            1 - sharpness,
            f"the steepest edge is {sharpness:.2f} of the range of brightness",
        ),
    ]
    for is_found, kind, score, detail in found:
        if is_found:
            yield Finding(kind, photo["path"], photo["label"], float(score), detail=detail)


def best(copies: Iterable[Copy]) -> dict[str, Copy]:
    """Return the most certain copy of each photo; each pair counts for both of its photos."""
    found: dict[str, Copy] = {}
    for copy in copies:
        turned = Copy(copy.other_path, copy.other_label, copy.path, copy.label, copy.likeness, copy.same)
        for one in (copy, turned):
            if one.path not in found or _strength(one) > _strength(found[one.path]):
                found[one.path] = one
    return found


def of_group(number: int, copies: Iterable[Copy]) -> list[Finding]:
    """Return a finding for each photo of a group of copies, and another one if its copies are in other folders."""
    members = dict(sorted(best(copies).items()))
    parts = {_part(path) for path in members}
    findings = []
    for path, copy in members.items():
        others = dict.fromkeys([copy.other_path, *islice(members, 4)])  # the nearest one first, each once
        compare = tuple(other for other in others if other != path)[:3]
        about = [(Kind.DUPLICATE if copy.same else Kind.NEAR_DUPLICATE, _detail(copy))]
        if len(parts) > 1:
            about.append((Kind.LEAK, f"copies are in {' and in '.join(sorted(parts))}"))
        findings += [
            Finding(kind, path, copy.label, copy.likeness, number, copy.other_path, detail=detail, compare=compare)
            for kind, detail in about
        ]
    return findings


def _strength(copy: Copy) -> tuple[bool, float]:
    return copy.same is not None, copy.likeness


def _part(path: str) -> str:
    """Return the folder that holds the folders of labels, such as ``Training``; empty if there is none.

    Shards of ``fruits pack`` are no such folders: the photos of one folder may be in several.
    """
    return "/".join(folder for folder in path.split("/")[:-2] if not SHARD_NAME.fullmatch(folder))


def _detail(copy: Copy) -> str:
    what = f"the same {copy.same}" if copy.same else f"{copy.likeness:.2%} alike"
    if copy.label != copy.other_label:
        what += f", but the other's label is {copy.other_label or 'missing'}"
    return what


def mixed_labels(votes: Mapping[tuple[str, str], int]) -> dict[str, float]:
    """Return the three pairs of labels whose photos are most often nearest to each other: ``Apple / Pear`` and a share.

    ``votes`` counts nearest photos by the label of the photo and their own. The share is that of the other label among
    the nearest photos of both.
    """
    totals: Counter[str] = Counter()
    mixed: Counter[tuple[str, str]] = Counter()
    for (label, other), count in votes.items():
        totals[label] += count
        if label != other:
            mixed[min(label, other), max(label, other)] += count
    shares = {f"{one} / {other}": count / (totals[one] + totals[other]) for (one, other), count in mixed.items()}
    return dict(sorted(shares.items(), key=lambda pair: (-pair[1], pair[0]))[:_MIXED_PAIRS])


def most_certain(findings: Sequence[Finding], count: int) -> list[Finding]:
    """Return at most ``count`` findings of each kind, the most certain first, and only one of each group of copies."""
    shown: dict[Kind, dict[str, Finding]] = {kind: {} for kind in Kind}
    for finding in sorted(findings, key=lambda finding: finding.rank):
        cases = shown[finding.kind]
        if len(cases) < count:
            cases.setdefault(finding.path if finding.group is None else str(finding.group), finding)
    return [finding for cases in shown.values() for finding in cases.values()]
