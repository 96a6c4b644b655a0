"""The chart of the cumulative explained variance."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from spark_job.report.drawing import Frame, Scale

SHARES = (0.80, 0.90, 0.95, 0.99)


@dataclass(frozen=True)
class Kept:
    """The number of components that keep a share of the variance, and the place of both on the curve."""

    share: float
    components: int
    x: float
    y: float


@dataclass(frozen=True)
class VarianceCurve:
    """The drawn curve. ``line`` and ``area`` are SVG paths; ``area`` ends at the number of components of the run."""

    frame: Frame
    x_ticks: list[tuple[float, float]]
    y_ticks: list[tuple[float, float]]
    line: str
    area: str
    chosen: Kept
    shares: list[Kept]


def variance_curve(explained_variance_ratio: Sequence[float], components: int) -> VarianceCurve | None:
    """Lay out the curve and mark the components that the run kept; return None if the photos do not vary."""
    total = cumulative(explained_variance_ratio)
    if total[-1] <= 0:
        return None
    count = len(explained_variance_ratio)
    frame = Frame(width=760, height=340, left=52, right=744, top=30, bottom=300)
    x = Scale(0, frame.left, (frame.right - frame.left) / count)
    y = Scale(0, frame.bottom, frame.top - frame.bottom)
    places = [f"{x(k):.1f} {y(ratio):.1f}" for k, ratio in enumerate(total)]

    def kept(share: float, k: int) -> Kept:
        return Kept(share, k, x(k), y(total[k]))

    chosen = min(components, count)
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
    """Return the running sums of ratios, starting with 0 and limited to 1; NaN and infinity count as 0."""
    return [min(total, 1.0) for total in accumulate((r if math.isfinite(r) else 0.0 for r in ratios), initial=0.0)]


def components_for(share: float, total: Sequence[float]) -> int | None:
    """Return the smallest k with ``total[k] >= share``, or None; a tolerance allows for the rounding of a long sum."""
    return next((k for k, kept in enumerate(total) if kept >= share - 1e-9), None)
