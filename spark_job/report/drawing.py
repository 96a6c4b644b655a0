"""Axes and bars for the drawings of the report.

Frames and places are in SVG units, and y grows downwards.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate

MOST_BARS = 30


@dataclass(frozen=True)
class Frame:
    """The area of the plot within a drawing of ``width`` x ``height``."""

    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float


@dataclass(frozen=True)
class Scale:
    """A linear scale from values to places: ``value`` lies at ``place``, and ``value`` + 1 lies ``unit`` further."""

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


@dataclass(frozen=True)
class Bar:
    """A bar of a table; ``start`` and ``length`` are percentages of the width of its column."""

    name: str
    value: float
    start: float
    length: float


def bars(counts: Mapping[str, int], most: int = MOST_BARS) -> list[Bar]:
    """Return bars for the largest counts, in descending order; the largest takes the full width."""
    largest = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:most]
    return [Bar(name, value, 0.0, 100 * value / max(largest[0][1], 1)) for name, value in largest]


def stages(seconds: Mapping[str, float]) -> list[Bar]:
    """Return one bar per stage, each starting where the previous one ends; together they take the full width."""
    total = sum(seconds.values()) or 1.0
    starts = accumulate(seconds.values(), initial=0.0)
    return [
        Bar(name, value, 100 * start / total, 100 * value / total)
        for (name, value), start in zip(seconds.items(), starts, strict=False)
    ]
