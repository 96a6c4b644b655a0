"""The backgrounds that the fruit lies on, in linear light."""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

from spark_job.demo.scene import Array, ink, mix, noise, step

Rng = np.random.Generator
Shape = tuple[int, int]
"""Height and width in pixels."""


def studio(rng: Rng, shape: Shape) -> Array:
    """Return the white of a light box, a little darker towards the corners."""
    down, over = (np.linspace(-1, 1, size, dtype=np.float32) for size in shape)
    away = np.hypot(down[:, None] - np.float32(rng.uniform(-0.4, 0.2)), over[None, :])
    return mix(ink("#fbfbf9"), ink("#d5d6d8"), step(away, 0.3, 1.8))


def paper(rng: Rng, shape: Shape) -> Array:
    """Return coloured paper, lit from one side."""
    colour = ink(rng.choice(["#8fc1d4", "#f0b7a4", "#b9a5d6", "#f2d98a", "#9fd0b0", "#46586b"]))
    down, over = (np.linspace(0, 1, size, dtype=np.float32) for size in shape)
    slant = np.float32(rng.uniform(-0.5, 0.5))
    return mix(colour, colour * np.float32(0.55), down[:, None] * 0.6 + (over[None, :] - 0.5) * slant + 0.2)


def wood(rng: Rng, shape: Shape) -> Array:
    """Return the boards of a table."""
    light, dark = (
        ink(code) for code in rng.choice([["#c99a63", "#8a5a2e"], ["#e0c49a", "#b58d5c"], ["#8a5f42", "#4d2f1e"]])
    )
    grain = 0.6 * noise(rng, shape, 90, 4) + 0.4 * noise(rng, shape, 300, 10)
    board = np.linspace(0, rng.uniform(2.5, 4.5), shape[0], dtype=np.float32) + np.float32(rng.uniform(0, 1))
    tone = rng.uniform(-0.2, 0.2, 8)[board.astype(int)].astype(np.float32)
    gap = step(np.abs(board % 1 - 0.5), 0.485, 0.498)
    return mix(light, dark, grain + tone[:, None]) * (1 - 0.75 * gap)[:, None]


def cloth(rng: Rng, shape: Shape) -> Array:
    """Return a chequered table-cloth."""
    colour = ink(rng.choice(["#c9343c", "#3566a8", "#3c8a5c", "#d88a2c"]))
    count, turn = rng.uniform(5, 8), rng.uniform(-0.5, 0.5)
    down, over = (np.arange(size, dtype=np.float32) * np.float32(count / min(shape)) for size in shape)
    one = over[None, :] * np.cos(turn) + down[:, None] * np.sin(turn)
    other = down[:, None] * np.cos(turn) - over[None, :] * np.sin(turn)
    checks = sum(step(np.abs(axis % 1 - 0.5), 0.23, 0.27) for axis in (one, other))
    weave = 0.12 * noise(rng, shape, 160, 160) + 0.2 * noise(rng, shape, 5, 5)
    return mix(ink("#f4f0e8"), colour, 0.5 * checks) * (1.02 - weave)


def grass(rng: Rng, shape: Shape) -> Array:
    """Return a lawn that is drawn blade by blade."""
    height, width = shape
    lawn = Image.new("RGB", (width, height), "#39591f")
    pen = ImageDraw.Draw(lawn)
    roots = rng.uniform(-0.05, 1.1, (1100, 2)) * [width, height]
    tips = roots + rng.normal([0, -0.11], [0.05, 0.03], (1100, 2)) * height
    for root, tip, tone in zip(roots.tolist(), tips.tolist(), rng.uniform(0, 1, 1100).tolist(), strict=True):
        pen.line([*root, *tip], (int(60 + 70 * tone), int(105 + 75 * tone), int(35 + 30 * tone)), width=height // 110)
    level: Array = np.asarray(lawn.reduce(2).resize(lawn.size)).transpose(2, 0, 1) / np.float32(255)
    return level * level


def stone(rng: Rng, shape: Shape) -> Array:
    """Return a worktop with veins."""
    light, dark = (ink(code) for code in rng.choice([["#e9e6e1", "#a9a6a3"], ["#77797c", "#3d4043"]]))
    cloud = noise(rng, shape, 5, 5) + 0.4 * noise(rng, shape, 14, 14)
    vein = step(np.abs(cloud - 0.7), 0.12, 0)
    return mix(light, dark, 0.2 * vein + 0.25 * noise(rng, shape, 120, 120) + 0.2 * cloud)


BACKGROUNDS: tuple[Callable[[Rng, Shape], Array], ...] = (studio, wood, cloth, grass, paper, stone)
