"""The map of a run: its sampled photos, placed by their first two components."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from spark_job.report.drawing import Frame, Scale
from spark_job.report.text import label_name

SHAPES = ("circle", "square", "triangle")
COLOURS = 7  # after Okabe and Ito, for colour-blind readers; with three shapes, 21 labels look different
LONGEST_PATH = 120  # characters; the map has 2,000 paths, which must not dominate the size of the page
THUMBNAIL, PITCH = 40.0, 43.0  # the side of a thumbnail, and the distance between neighbouring cells, in SVG units
_REACH = 1.5 * THUMBNAIL  # from a photo's dot to the middle of its thumbnail
_MARGIN = 16
MAP_FRAME = Frame(width=880, height=600, left=40, right=868, top=30, bottom=560)


@dataclass(frozen=True)
class Point:
    """One sampled photo: its first two components, and for some photos a small JPEG."""

    path: str
    label: str | None
    x: float
    y: float
    thumbnail: bytes | None


@dataclass(frozen=True)
class Mark:
    """The dot of one photo."""

    path: str
    x: float
    y: float


@dataclass(frozen=True)
class LabelMarks:
    """The dots of a label and how they look; ``colour`` is None for the smaller labels, which are all grey."""

    label: str
    photos: int
    colour: int | None
    shape: str
    marks: list[Mark]


@dataclass(frozen=True)
class Thumbnail:
    """A thumbnail, its top left corner at (x, y); a line leads from its middle to the ``dot`` of its photo."""

    group: int
    path: str
    jpeg: bytes
    x: float
    y: float
    dot: tuple[float, float]


@dataclass(frozen=True)
class PhotoMap:
    """The drawn map; ``groups`` starts with the largest label."""

    frame: Frame
    x_ticks: list[tuple[float, float]]
    y_ticks: list[tuple[float, float]]
    groups: list[LabelMarks]
    thumbnails: list[Thumbnail]
    thumbnail_size: float = THUMBNAIL


def photo_map(points: Sequence[Point], photos: Mapping[str, int]) -> PhotoMap:
    """Lay out the map; ``photos`` counts all photos of each label, not only the sampled ones."""
    frame = MAP_FRAME
    x, y = equal_scales(points)
    marks: dict[str, list[Mark]] = defaultdict(list)
    for point in points:
        marks[label_name(point.label)].append(Mark(_tail(point.path), x(point.x), y(point.y)))
    sizes = {label: photos.get(label, len(marks[label])) for label in marks}
    order = sorted(sizes, key=lambda label: (-sizes[label], label))
    groups = [LabelMarks(label, sizes[label], *look(rank), marks[label]) for rank, label in enumerate(order)]
    return PhotoMap(
        frame=frame,
        x_ticks=x.ticks(frame.left, frame.right, about=8),
        y_ticks=y.ticks(frame.bottom, frame.top, about=6),
        groups=groups,
        thumbnails=_thumbnails(points, x, y, {label: rank for rank, label in enumerate(order)}),
    )


def _tail(path: str) -> str:
    return path if len(path) <= LONGEST_PATH else "…" + path[1 - LONGEST_PATH :]


def look(rank: int) -> tuple[int | None, str]:
    """Return the colour and shape of the label with the given rank by size."""
    if rank >= COLOURS * len(SHAPES):
        return None, SHAPES[0]
    return rank % COLOURS, SHAPES[rank // COLOURS]


def equal_scales(points: Sequence[Point]) -> tuple[Scale, Scale]:
    """Return scales with the same unit on both axes, so that distances on the map can be compared."""
    frame = MAP_FRAME
    middles, units = [], []
    for values, room in (
        ([point.x for point in points], frame.right - frame.left),
        ([point.y for point in points], frame.bottom - frame.top),
    ):
        low, high = min(values, default=0.0), max(values, default=0.0)
        middles.append((low + high) / 2)
        units.append((room - 2 * _MARGIN) / (high - low) if high - low > 1e-9 else math.inf)
    unit = min(units) if math.isfinite(min(units)) else 100.0  # any unit will do if all points are at one place
    return (
        Scale(middles[0], (frame.left + frame.right) / 2, unit),
        Scale(middles[1], (frame.top + frame.bottom) / 2, -unit),
    )


def _thumbnails(points: Sequence[Point], x: Scale, y: Scale, ranks: Mapping[str, int]) -> list[Thumbnail]:
    dots = [(x(point.x), y(point.y)) for point in points]
    pictured = [(point, dot) for point, dot in zip(points, dots, strict=True) if point.thumbnail]
    corners = place_thumbnails([dot for _, dot in pictured], dots)
    return [
        Thumbnail(
            group=ranks[label_name(point.label)],
            path=_tail(point.path),
            jpeg=point.thumbnail or b"",
            x=corner[0],
            y=corner[1],
            dot=dot,
        )
        for (point, dot), corner in zip(pictured, corners, strict=True)
        if corner
    ]


def place_thumbnails(
    anchors: Iterable[tuple[float, float]], dots: Iterable[tuple[float, float]]
) -> list[tuple[float, float] | None]:
    """Give each thumbnail its own black square of a chessboard, so that dots show between the photos.

    Parameters
    ----------
    anchors, dots : iterable of (x, y)
        The dots of the photos that have thumbnails, and of all photos.

    Returns
    -------
    list of (x, y) or None
        The top left corner of each thumbnail, in the order of the anchors; None if no square within reach is free.
    """
    frame = MAP_FRAME
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
        # Each dot that the photo would hide costs as much as one unit of distance.
        costs = {
            square: (math.dist(middle, anchor) + hidden[square], square)
            for square, middle in free.items()
            if math.dist(middle, anchor) <= _REACH
        }
        if costs:
            x, y = free.pop(min(costs, key=costs.__getitem__))
            placed.append((x - THUMBNAIL / 2, y - THUMBNAIL / 2))
        else:
            placed.append(None)
    return placed
