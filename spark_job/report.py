"""The report: one run's numbers and sampled images in, one self-contained HTML page out.

Python computes where things go (in SVG units, y downwards); the template ``report.html.j2`` draws them.
"""

import base64
import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from itertools import accumulate
from typing import Any

import jinja2

from spark_job.manifest import Manifest

NO_LABEL = "(no label)"
SHAPES = ("circle", "square", "triangle")
COLOURS = 7  # safe for colour-blind readers (after Okabe and Ito); times three shapes, 21 labels can be told apart
SHARES = (0.80, 0.90, 0.95, 0.99)
LONGEST_NAME = 120  # characters of a path on the map: 2,000 of them must not outweigh the page
MOST_BARS = 30
THUMBNAIL, PITCH = 40.0, 43.0  # SVG units; from one thumbnail to the next


@dataclass(frozen=True)
class Point:
    """One sampled image on the map: its first two components and, for some, a small JPEG."""

    path: str
    label: str | None
    x: float
    y: float
    thumbnail: bytes | None


@dataclass(frozen=True)
class RejectedImage:
    """One image that could not be used, and why."""

    path: str
    reason: str
    detail: str


def render(
    manifest: Manifest, variance: Sequence[float], points: Sequence[Point], rejected: Sequence[RejectedImage]
) -> str:
    """Return the page of one run.

    Parameters
    ----------
    manifest : Manifest
        The run.
    variance : sequence of float
        Explained variance ratio of every component, descending, not only of those kept.
    points : sequence of Point
        Sampled images; some 2,000 points and 60 thumbnails keep the page light.
    rejected : sequence of RejectedImage
        Examples; how many there are in all is in ``manifest.rejected``.

    Returns
    -------
    str
        HTML that loads nothing: styles, scripts and images are inside.
    """
    images = {_name(label): count for label, count in manifest.labels.items()}
    return page(
        "report.html.j2",
        manifest=manifest,
        seconds_total=_seconds_between(manifest.started, manifest.finished),
        map=fruit_map(points, images),
        curve=variance_curve(variance, manifest.pca.components),
        first_shares=[*variance[:2], 0.0, 0.0][:2],
        labels=bars(images),
        stages=stages(manifest.seconds),
        reasons=bars(manifest.rejected),
        rejected=rejected,
        chance=agreement_by_chance(images),
        run_path=f"{manifest.output.rstrip('/')}/runs/{manifest.run_id}",
    )


def page(template: str, **content: Any) -> str:
    """Return a page made from a template of this package."""
    return _environment().get_template(template).render(content)


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("spark_job", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "count": "{:,}".format,
        "share": share,
        "duration": duration,
        "moment": moment,
        "setting": setting,
        "python": repr,
        "sql": lambda text: "'" + text.replace("'", "''") + "'",
        "units": lambda number: f"{number:.1f}".removesuffix(".0"),
    }
    return environment


# Numbers as text


def share(ratio: float, digits: int = 1) -> str:
    """Return a ratio as a percentage.

    >>> share(0.9034)
    '90.3\u202f%'
    """
    return f"{100 * ratio:.{digits}f}\u202f%"


def duration(seconds: float) -> str:
    """Return seconds in the two units that a person would use.

    >>> [duration(s) for s in (0.26, 8.24, 72, 3725)]
    ['0.3 s', '8.2 s', '1 min 12 s', '1 h 02 min']
    """
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes_left = divmod(minutes, 60)
    if hours:
        return f"{hours:,} h {minutes_left:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def moment(iso: str) -> str:
    """Return an ISO 8601 time of UTC as people write it.

    >>> moment("2026-11-22T05:03:53Z")
    '22 November 2026, 05:03 UTC'
    """
    when = datetime.fromisoformat(iso)
    return f"{when.day} {when:%B %Y, %H:%M} UTC"


def setting(value: Any) -> str:
    """Return a setting's value as people write it.

    >>> [setting(v) for v in (None, True, 0.9, "s3://b/in", ["jpg"])]
    ['none', 'yes', '0.9', 's3://b/in', '["jpg"]']
    """
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _seconds_between(started: str, finished: str) -> float:
    return (datetime.fromisoformat(finished) - datetime.fromisoformat(started)).total_seconds()


# Axes


@dataclass(frozen=True)
class Frame:
    """The plot's area within a drawing of ``width`` x ``height``."""

    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float


@dataclass(frozen=True)
class Scale:
    """A straight line from values to places: ``value`` lies at ``place``, one more lies ``unit`` further."""

    value: float
    place: float
    unit: float

    def __call__(self, value: float) -> float:
        """Return the place of a value."""
        return self.place + (value - self.value) * self.unit

    def ticks(self, start: float, end: float, about: int) -> list[tuple[float, float]]:
        """Return (value, place) of the round values between two places."""
        ends = sorted(self.value + (place - self.place) / self.unit for place in (start, end))
        return [(value, self(value)) for value in ticks(ends[0], ends[1], about)]


def ticks(low: float, high: float, about: int) -> list[float]:
    """Return increasing multiples of 1, 2 or 5 times a power of ten in [low, high], at most ``about`` + 1 of them.

    >>> ticks(-3, 11, about=5)
    [0.0, 5.0, 10.0]
    """
    if not low < high:
        return []
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next((factor * power for factor in (1, 2, 5) if factor * power >= rough), 10 * power)
    multiples = (n * step for n in range(math.ceil(low / step), math.floor(high / step) + 1))
    return [value for value in multiples if low <= value <= high]


# The map


@dataclass(frozen=True)
class Mark:
    """One image's dot."""

    path: str
    x: float
    y: float


@dataclass(frozen=True)
class LabelMarks:
    """A label's dots and how they look; ``colour`` is None for labels too many to be told apart."""

    label: str
    images: int
    colour: int | None
    shape: str
    marks: list[Mark]


@dataclass(frozen=True)
class Thumbnail:
    """A photo with its top left corner at (x, y), and a leader from its edge to its image's dot."""

    group: int
    path: str
    data_uri: str
    x: float
    y: float
    leader: tuple[float, float]
    dot: tuple[float, float]


@dataclass(frozen=True)
class FruitMap:
    """The first two components, drawn. ``groups`` is by size, largest first."""

    frame: Frame
    x_ticks: list[tuple[float, float]]
    y_ticks: list[tuple[float, float]]
    groups: list[LabelMarks]
    thumbnails: list[Thumbnail]
    thumbnail_size: float = THUMBNAIL


MAP_FRAME = Frame(width=880, height=600, left=40, right=868, top=30, bottom=560)


def fruit_map(points: Sequence[Point], images: Mapping[str, int]) -> FruitMap:
    """Lay out the map; ``images`` is how many images each label has, in the sample or not."""
    frame = MAP_FRAME
    x, y = equal_scales(points, frame)
    marks: dict[str, list[Mark]] = defaultdict(list)
    for point in points:
        marks[_name(point.label)].append(Mark(_tail(point.path), x(point.x), y(point.y)))
    sizes = {label: images.get(label, len(marks[label])) for label in marks}
    order = sorted(sizes, key=lambda label: (-sizes[label], label))
    groups = [LabelMarks(label, sizes[label], *look(rank), marks[label]) for rank, label in enumerate(order)]
    return FruitMap(
        frame=frame,
        x_ticks=x.ticks(frame.left, frame.right, about=8),
        y_ticks=y.ticks(frame.bottom, frame.top, about=6),
        groups=groups,
        thumbnails=_thumbnails(points, x, y, {label: rank for rank, label in enumerate(order)}),
    )


def _name(label: str | None) -> str:
    return label or NO_LABEL


def _tail(path: str) -> str:
    return path if len(path) <= LONGEST_NAME else "…" + path[1 - LONGEST_NAME :]


def look(rank: int) -> tuple[int | None, str]:
    """Return the colour and shape of the label with the given rank by size."""
    if rank >= COLOURS * len(SHAPES):
        return None, SHAPES[0]
    return rank % COLOURS, SHAPES[rank // COLOURS]


def equal_scales(points: Sequence[Point], frame: Frame, margin: float = 16) -> tuple[Scale, Scale]:
    """Return scales with the same unit on both axes, so that distances on the map can be compared."""
    middles, units = [], []
    for values, room in (
        ([point.x for point in points], frame.right - frame.left),
        ([point.y for point in points], frame.bottom - frame.top),
    ):
        low, high = min(values, default=0.0), max(values, default=0.0)
        middles.append((low + high) / 2)
        units.append((room - 2 * margin) / (high - low) if high - low > 1e-9 else math.inf)
    unit = min(units) if math.isfinite(min(units)) else 100.0  # all at one place: any unit will do
    return (
        Scale(middles[0], (frame.left + frame.right) / 2, unit),
        Scale(middles[1], (frame.top + frame.bottom) / 2, -unit),
    )


def _thumbnails(points: Sequence[Point], x: Scale, y: Scale, ranks: Mapping[str, int]) -> list[Thumbnail]:
    dots = [(x(point.x), y(point.y)) for point in points]
    pictured = [(point, dot) for point, dot in zip(points, dots, strict=True) if point.thumbnail]
    corners = place_thumbnails([dot for _, dot in pictured], dots, MAP_FRAME)
    return [
        Thumbnail(
            group=ranks[_name(point.label)],
            path=_tail(point.path),
            data_uri="data:image/jpeg;base64," + base64.b64encode(point.thumbnail or b"").decode(),
            x=corner[0],
            y=corner[1],
            leader=(_clamp(dot[0], corner[0]), _clamp(dot[1], corner[1])),
            dot=dot,
        )
        for (point, dot), corner in zip(pictured, corners, strict=True)
        if corner
    ]


def _clamp(place: float, start: float) -> float:
    return min(max(place, start), start + THUMBNAIL)


def place_thumbnails(
    anchors: Iterable[tuple[float, float]],
    dots: Iterable[tuple[float, float]],
    frame: Frame,
    reach: float = 1.5 * THUMBNAIL,
) -> list[tuple[float, float] | None]:
    """Give each thumbnail a cell of a chessboard of its own, so that dots show between the photos.

    Parameters
    ----------
    anchors, dots : iterable of (x, y)
        The dots of the images that have thumbnails, and of all images.
    frame : Frame
        Where thumbnails may lie.
    reach : float
        The longest way from an anchor to the middle of its thumbnail.

    Returns
    -------
    list of (x, y) or None
        The top left corner of each thumbnail, in the order of the anchors; None where no cell in reach is free.
    """
    columns, rows = int((frame.right - frame.left) // PITCH), int((frame.bottom - frame.top) // PITCH)
    free = {
        (column, row): (frame.left + (column + 0.5) * PITCH, frame.top + (row + 0.5) * PITCH)
        for column in range(columns)
        for row in range(rows)
        if (column + row) % 2 == 0
    }
    hidden = Counter((int((x - frame.left) // PITCH), int((y - frame.top) // PITCH)) for x, y in dots)
    placed: list[tuple[float, float] | None] = []
    for anchor in anchors:
        # A dot that a photo hides counts as much as a little way further off.
        costs = {
            cell: (math.dist(middle, anchor) + hidden[cell], cell)
            for cell, middle in free.items()
            if math.dist(middle, anchor) <= reach
        }
        if costs:
            x, y = free.pop(min(costs, key=costs.__getitem__))
            placed.append((x - THUMBNAIL / 2, y - THUMBNAIL / 2))
        else:
            placed.append(None)
    return placed


# Variance


@dataclass(frozen=True)
class Kept:
    """How many components it takes to keep a share of the variance, and where that lies on the curve."""

    share: float
    components: int
    x: float
    y: float


@dataclass(frozen=True)
class VarianceCurve:
    """The cumulative explained variance, drawn; ``line`` is an SVG path, ``area`` that below it up to the run's k."""

    frame: Frame
    x_ticks: list[tuple[float, float]]
    y_ticks: list[tuple[float, float]]
    line: str
    area: str
    chosen: Kept
    shares: list[Kept]


def variance_curve(variance: Sequence[float], components: int) -> VarianceCurve | None:
    """Lay out the curve; None where images do not vary at all."""
    total = cumulative(variance)
    if total[-1] <= 0:
        return None
    frame = Frame(width=760, height=340, left=52, right=744, top=30, bottom=300)
    x = Scale(0, frame.left, (frame.right - frame.left) / len(variance))
    y = Scale(0, frame.bottom, frame.top - frame.bottom)
    places = [f"{x(k):.1f} {y(ratio):.1f}" for k, ratio in enumerate(total)]

    def kept(share: float, k: int) -> Kept:
        return Kept(share, k, x(k), y(total[k]))

    chosen = min(components, len(variance))
    needed = [(share, components_for(share, total)) for share in SHARES]
    return VarianceCurve(
        frame=frame,
        x_ticks=[tick for tick in x.ticks(frame.left, frame.right, about=8) if tick[0] == int(tick[0])],
        y_ticks=y.ticks(frame.bottom, frame.top, about=5),
        line="M" + "L".join(places),
        area="M" + "L".join(places[: chosen + 1]) + f"V{frame.bottom}H{frame.left}Z",
        chosen=kept(total[chosen], chosen),
        shares=[kept(share, k) for share, k in needed if k is not None],
    )


def cumulative(ratios: Iterable[float]) -> list[float]:
    """Return running sums, from 0, never above 1; what is not a number counts as 0."""
    return [min(total, 1.0) for total in accumulate((r if math.isfinite(r) else 0.0 for r in ratios), initial=0.0)]


def components_for(share: float, total: Sequence[float]) -> int | None:
    """Return the smallest k with ``total[k] >= share``, or None; forgives the rounding of a long sum."""
    return next((k for k, kept in enumerate(total) if kept >= share - 1e-9), None)


# Bars and figures


@dataclass(frozen=True)
class Bar:
    """A bar from ``start`` of ``length``, both in hundredths of the width at hand."""

    name: str
    value: float
    start: float
    length: float


def bars(counts: Mapping[str, int], most: int = MOST_BARS) -> list[Bar]:
    """Return the largest counts, descending, against the largest of them."""
    largest = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:most]
    return [Bar(name, value, 0.0, 100 * value / max(largest[0][1], 1)) for name, value in largest]


def stages(seconds: Mapping[str, float]) -> list[Bar]:
    """Return the stages one after the other, against all the time they took."""
    total = sum(seconds.values()) or 1.0
    starts = accumulate(seconds.values(), initial=0.0)
    return [
        Bar(name, value, 100 * start / total, 100 * value / total)
        for (name, value), start in zip(seconds.items(), starts, strict=False)
    ]


def agreement_by_chance(labels: Mapping[str, int]) -> float | None:
    """Return the probability that two different images picked blindly have the same label."""
    images = sum(labels.values())
    if images < 2:
        return None
    return sum(n * (n - 1) for n in labels.values()) / (images * (images - 1))
