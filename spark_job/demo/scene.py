"""A picture that is being drawn: its shapes, light and paint.

Every shape is a field ``rho`` over a patch of pixels: 0 in the middle, 1 at the edge. The gradient of ``rho`` is the
direction in which the surface leans, and ``rho`` is how far it leans. So one field gives the edge, the shading and the
highlight.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

Array = npt.NDArray[np.floating[Any]]
Colour = Array
"""Linear light, of shape (3, 1, 1), or (3, height, width) if it changes from pixel to pixel."""


def ink(code: str) -> Colour:
    """Return ``#rrggbb`` as linear light, with a gamma of 2 (its inverse is one cheap square root)."""
    level: Array = np.frombuffer(bytes.fromhex(code[1:]), np.uint8).reshape(3, 1, 1) / np.float32(255)
    return level * level


def mix(one: Colour, other: Colour, share: Array | float) -> Colour:
    """Blend from ``one`` (a share of 0 or less) to ``other`` (a share of 1 or more)."""
    return one + (other - one) * np.clip(np.asarray(share, np.float32), 0, 1)


def step(value: Array, start: float, end: float) -> Array:
    """Rise smoothly from 0 at ``start`` to 1 at ``end`` (which may be the smaller of the two)."""
    share = np.clip((value - start) / (end - start), 0, 1)
    return share * share * (3 - 2 * share)


def _eighth_power(value: Array) -> Array:
    """Raise to the eighth power by squaring, which is several times as fast as ``**``."""
    square: Array = value * value
    fourth = square * square
    return fourth * fourth


def noise(rng: np.random.Generator, shape: tuple[int, int], rows: int, columns: int) -> Array:
    """Return smooth noise in about [0, 1]: ``rows`` x ``columns`` random values, interpolated to ``shape``."""
    coarse = Image.fromarray(rng.random((rows, columns), np.float32))
    return np.asarray(coarse.resize(shape[::-1], Image.Resampling.BICUBIC))


@dataclass(frozen=True)
class Light:
    """The light of a scene.

    ``direction`` is where the lamp is, as a unit vector (right, down, to the viewer). ``ambient`` is the amount of
    light that comes from everywhere.
    """

    direction: tuple[float, float, float]
    colour: Colour
    ambient: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Light":
        """Choose a light from the upper left or right, between the white of noon and the yellow of a kitchen lamp."""
        vector = np.array([rng.choice([-1, 1]) * rng.uniform(0.25, 0.7), rng.uniform(-0.75, -0.4), 0.75])
        x, y, z = vector / np.linalg.norm(vector)
        warmth = rng.uniform(-0.05, 0.13)
        tint = np.array([1 + warmth, 1, 1 - 1.3 * warmth], np.float32).reshape(3, 1, 1)
        return cls((float(x), float(y), float(z)), tint * np.float32(rng.uniform(0.85, 1.15)), rng.uniform(0.26, 0.4))

    def fall_on(self, colour: Colour, across: Array, down: Array, gloss: float) -> Array:
        """Return the lit colour, with its highlight, of a surface that leans by (across, down)."""
        x, y, z = (np.float32(value) for value in self.direction)
        up = np.sqrt(np.maximum(1 - across * across - down * down, 0))
        lamp = np.maximum((across * x + down * y + up * z) * np.float32(0.85) + np.float32(0.15), 0)
        around = np.float32(self.ambient) * (np.float32(0.8) - np.float32(0.35) * down + np.float32(0.2) * up)
        half = np.float32(1 / np.sqrt(2 + 2 * z))
        sheen = _eighth_power(np.clip((across * x + down * y + up * (z + 1)) * half, 0, 1))
        highlight = np.float32(gloss) * (np.float32(0.12) * sheen + _eighth_power(sheen))
        lit: Array = (colour * (lamp + around) + highlight) * self.colour
        return lit


@dataclass(frozen=True)
class Patch:
    """A window of the scene, with each pixel's coordinates relative to the part that is painted there."""

    scene: "Scene"
    rows: slice
    columns: slice
    x: Array
    y: Array

    @property
    def angle(self) -> Array:
        """Angle from the top, clockwise, in (-pi, pi]."""
        return np.arctan2(self.x, -self.y)

    def noise(self, cells: int) -> Array:
        """Return smooth noise, about [0, 1], with ``cells`` values along each side."""
        height, width = self.x.shape
        return noise(self.scene.rng, (height, width), cells, cells)

    def oval(self, width: float = 1, height: float = 1) -> Array:
        """Return the field of an ellipse with these semi-axes."""
        return np.hypot(self.x / width, self.y / height)

    def outline(self, radii: Sequence[float]) -> Array:
        """Return the field of a symmetric shape from its radii at even angles between its top and its bottom.

        A sum of cosines passes through the radii, so the outline is smooth everywhere.
        """
        orders = np.arange(len(radii))
        series = np.linalg.solve(np.cos(np.outer(orders * np.pi / orders[-1], orders)), np.asarray(radii))
        angles = np.linspace(0, np.pi, 180)
        profile = (np.cos(np.outer(angles, orders)) * series).sum(axis=1)
        return self.oval() / np.interp(np.abs(self.angle), angles, profile).astype(np.float32)

    def limb(self, bend: float, widths: Sequence[float]) -> tuple[Array, Array, Array]:
        """Return the field of a bent limb, and the place along it and across it, both in [-1, 1].

        The limb reaches from x = -1 to 1. ``bend`` is its curvature (above 0: the ends rise). ``widths`` are its half
        widths at even steps.
        """
        radius = 1 / bend
        side = np.sign(radius)
        along = np.arctan2(self.x * side, (self.y + radius) * side) * radius
        offset = np.hypot(self.x, self.y + radius) * side - radius
        half = np.interp(along, np.linspace(-1, 1, len(widths)), widths).astype(np.float32)
        across = np.clip(offset / np.maximum(half, 1e-3), -4, 4)
        over = np.maximum(np.abs(along) - 1, 0) / max(widths[-1], widths[0], 0.02)
        return np.hypot(across, over), along, across

    def paint(self, rho: Array, colour: Colour, gloss: float = 0.3, dome: float = 1, bump: Array | float = 0) -> None:
        """Paint a shape over the scene, and darken the scene close to its edge.

        ``gloss`` is the strength of the highlight. ``dome`` is how far the surface leans at the edge (1: a ball, 0:
        flat, below 0: a hollow). ``bump`` is a relief on the surface, in the scene's units.
        """
        fall, run = np.gradient(rho)
        slope = np.sqrt(fall * fall + run * run) + np.float32(1e-6)
        cover = np.clip((1 - rho) / slope + 0.5, 0, 1) * (rho < 1.5)  # the field may have jumps further outside
        lean = np.minimum(rho, 1) * np.float32(dome) / slope
        across, down = run * lean, fall * lean
        if isinstance(bump, np.ndarray):
            fall, run = np.gradient(bump * np.float32(self.scene.unit))
            across, down = across - run, down - fall
        lit = self.scene.light.fall_on(colour, across, down, gloss)
        below = self.scene.colour[:, self.rows, self.columns]
        below *= 1 - 0.5 * step(rho, 1.35, 0.95)
        below += (lit - below) * cover
        known = self.scene.cover[self.rows, self.columns]
        known += (1 - known) * cover


class Scene:
    """The fruit of one picture, without a background until :meth:`photograph` adds one.

    Parts are placed in units of about the fruit's radius, from its middle, with x to the right and y down.

    Parameters
    ----------
    size
        Width and height in pixels.
    rng
        The source of all randomness.
    zoom
        A factor for the usual size of the fruit.
    """

    def __init__(self, size: tuple[int, int], rng: np.random.Generator, zoom: float = 1) -> None:
        width, height = size
        self.rng = rng
        self.light = Light.draw(rng)
        self.unit = min(size) * 0.32 * zoom * rng.uniform(0.85, 1.12)
        self.centre = width / 2 + self.unit * rng.uniform(-0.2, 0.2), height / 2 + self.unit * rng.uniform(-0.15, 0.15)
        self.turn = float(np.clip(rng.normal(0, 0.25), -0.6, 0.6))
        self.colour: Array = np.zeros((3, height, width), np.float32)
        self.cover: Array = np.zeros((height, width), np.float32)

    def patch(self, x: float = 0, y: float = 0, turn: float = 0, reach: float = 1.3, scale: float = 1) -> Patch:
        """Return the window around a part at (x, y), turned clockwise, with everything within ``reach`` of its middle.

        ``scale`` is the unit of the part. ``reach`` and the coordinates of the patch are in this unit.
        """
        cosine, sine = np.cos(self.turn), np.sin(self.turn)
        column = self.centre[0] + self.unit * (x * cosine - y * sine)
        row = self.centre[1] + self.unit * (x * sine + y * cosine)
        unit = self.unit * scale
        height, width = self.cover.shape
        top, left = (int(np.clip(at - reach * unit, 0, size - 2)) for at, size in ((row, height), (column, width)))
        bottom = int(np.clip(row + reach * unit, top + 2, height))
        right = int(np.clip(column + reach * unit, left + 2, width))
        down = (np.arange(top, bottom, dtype=np.float32)[:, None] - np.float32(row)) / np.float32(unit)
        over = (np.arange(left, right, dtype=np.float32)[None, :] - np.float32(column)) / np.float32(unit)
        cosine, sine = (np.float32(value) for value in (np.cos(self.turn + turn), np.sin(self.turn + turn)))
        window = slice(top, bottom), slice(left, right)
        return Patch(self, *window, over * cosine + down * sine, down * cosine - over * sine)

    def sprout(self, x: float, y: float, turn: float, length: float) -> Patch:
        """Return the window around a limb that grows from (x, y) towards ``turn`` (0: right, -pi/2: up)."""
        half = length / 2
        return self.patch(x + np.cos(turn) * half, y + np.sin(turn) * half, turn, reach=1.15, scale=half)

    def streaks(self, place: Array, count: int) -> Array:
        """Return noise in [0, 1] that depends only on ``place``; it has ``count`` values between -1 and 1."""
        return np.interp(place, np.linspace(-1, 1, count), self.rng.random(count)).astype(np.float32)

    def vary(self, colour: Colour, amount: float = 0.08) -> Colour:
        """Change the colour a little in hue and brightness, because fruits of one kind differ."""
        return colour * (1 + self.rng.normal(0, amount, (3, 1, 1))).clip(0.7, 1.3).astype(np.float32)

    def photograph(self, background: Array) -> Image.Image:
        """Put the fruit and its shadow on a background of linear light, and return the picture."""
        picture = background * (self._unshaded() * (1 - self.cover)) + self.colour
        grain = self.rng.standard_normal(self.cover.shape, np.float32) * np.float32(self.rng.uniform(0.004, 0.014))
        developed = np.clip(np.sqrt(np.maximum(picture, 0)) + grain, 0, 1)
        return Image.fromarray(np.ascontiguousarray((developed * 255).astype(np.uint8).transpose(1, 2, 0)))

    def _unshaded(self) -> Array:
        """Return the share of light that reaches the ground around the long soft shadow and the short dark one."""
        height, width = self.cover.shape
        small = Image.fromarray((self.cover * 255).astype(np.uint8)).reduce(8)
        left: Array = np.ones((small.height, small.width), np.float32)
        for distance, blur, depth in ((0.45, 0.14, 0.5), (0.12, 0.05, 0.45)):
            over, down = (part * distance * self.unit / 8 for part in self.light.direction[:2])
            moved = small.transform(small.size, Image.Transform.AFFINE, (1, 0, over, 0, 1, down))
            cast = np.asarray(moved.filter(ImageFilter.GaussianBlur(blur * self.unit / 8))) / np.float32(255)
            left *= 1 - np.float32(depth) * cast
        return np.asarray(Image.fromarray(left).resize((width, height), Image.Resampling.BICUBIC))
