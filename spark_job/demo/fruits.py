"""The kinds of fruit, and how each is drawn from its parts."""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

import numpy as np

from spark_job.demo.scene import Array, Colour, Patch, Scene, ink, mix, step

LEAF, TWIG, BARK = ink("#4f8a2c"), ink("#7a9440"), ink("#6b4a2c")


def twig(patch: Patch, bend: float = 0.15, width: float = 0.17, colour: Colour = BARK) -> None:
    """Draw a stem along the patch."""
    rho, along, _ = patch.limb(bend, [width, width * 0.8, width * 0.8, width, width * 1.5])
    patch.paint(rho, mix(colour, colour * np.float32(0.6), step(along, 0.6, 1)), gloss=0.1)


def leaf(patch: Patch, width: float = 0.56, bend: float = 0.25, colour: Colour = LEAF) -> None:
    """Draw a pointed leaf with its veins along the patch."""
    rho, along, across = patch.limb(bend, [width * part for part in (0.1, 0.6, 0.9, 1, 0.93, 0.75, 0.42, 0.02)])
    veins = step(np.abs(across), 0.08, 0.02) + 0.4 * step(np.abs(np.sin(9 * (along - 0.35 * np.abs(across)))), 0.2, 0)
    shade = patch.scene.vary(colour) * (1 + 0.12 * np.sign(across))
    patch.paint(rho, mix(shade, shade * np.float32(1.9), 0.5 * veins), gloss=0.18, dome=0.45)


def around(patch: Patch, width: float, height: float) -> tuple[Array, Array]:
    """Return longitude and latitude on a ball seen from the side, in [-1, 1]."""
    down = np.clip(patch.y / height, -1, 1)
    over = patch.x / width / np.sqrt(np.maximum(1 - down * down, 0.05))
    return np.arcsin(np.clip(over, -1, 1)) * np.float32(2 / np.pi), np.arcsin(down) * np.float32(2 / np.pi)


def apple(scene: Scene, skin: Colour, blush: Colour, freckles: float) -> None:
    """Draw an apple with streaks, freckles, its stem and a leaf."""
    patch = scene.patch()
    wide = scene.rng.uniform(0.98, 1.06)
    rho = patch.outline([0.74, 0.93, 1.04 * wide, wide, 0.95, 0.93, 0.86])
    across, _ = around(patch, 1.05, 1.05)
    colour = mix(scene.vary(skin), scene.vary(blush), scene.streaks(across, 90) * patch.noise(4) ** 2)
    colour = mix(colour, ink("#f3e6b0"), freckles * step(patch.noise(110), 0.95, 1.05))
    hollow = np.exp(-((patch.x / 0.3) ** 2) - ((patch.y + 0.66) / 0.13) ** 2)
    colour = mix(colour, ink("#5c5a1c"), 0.85 * hollow)
    patch.paint(rho, colour, gloss=0.5)
    twig(scene.sprout(0, -0.62, -1.4 + scene.rng.normal(0, 0.15), 0.55), bend=-0.25)
    leaf(scene.sprout(0.03, -0.85, -0.45 + scene.rng.normal(0, 0.2), scene.rng.uniform(0.6, 0.8)))


def avocado(scene: Scene) -> None:
    """Draw half an avocado with its stone."""
    patch = scene.patch(reach=1.6)
    rho = patch.outline([1.25, 1.08, 0.86, 0.8, 0.83, 0.88, 0.92, 0.93, 0.93])
    colour = mix(ink("#f1e79a"), ink("#c9d25c"), step(rho, 0.45, 0.82))
    colour = mix(colour, ink("#7fa336"), step(rho, 0.8, 0.92))
    colour = mix(colour, scene.vary(ink("#2c3a1c")), step(rho, 0.92, 0.945))
    patch.paint(rho, colour, gloss=0.12, dome=0.3, bump=0.02 * patch.noise(40) * step(rho, 0.9, 1))
    pit = scene.patch(0, 0.22, scale=scene.rng.uniform(0.4, 0.46))
    brown = mix(ink("#6d3d1c"), ink("#94592b"), pit.noise(6))
    pit.paint(pit.oval(1, 1.06), brown, gloss=0.5)


def banana(scene: Scene) -> None:
    """Draw a bunch of three bananas, which are more or less ripe."""
    ripeness = scene.rng.uniform(0, 1)
    for turn, y, bend in ((-0.2, -0.3, 0.85), (0.02, -0.02, 1), (0.22, 0.3, 1.1)):
        patch = scene.patch(0, y + 0.2, turn + scene.rng.normal(0, 0.04), reach=1.1, scale=1.375)
        widths = [0.05, 0.06, 0.07, 0.15, 0.2, 0.22, 0.23, 0.23, 0.22, 0.2, 0.17, 0.12, 0.06, 0.04]
        rho, along, across = patch.limb(bend, widths)
        skin = mix(scene.vary(ink("#e0c22e"), 0.03), ink("#f5d64a"), patch.noise(4))
        skin = mix(skin, ink("#a3b53a"), step(along, -0.55, -0.85) * 0.8 + step(along, 0.7, 0.95) * 0.5)
        spots = step(patch.noise(34), 0.8, 0.95) * ripeness
        skin = mix(skin, ink("#6b4416"), spots * 0.75 + step(along, 0.93, 0.97) + step(along, -0.94, -0.98))
        ridge = step(np.abs(across - 0.3), 0.07, 0)
        patch.paint(rho, mix(skin, ink("#b8962a"), 0.45 * ridge), gloss=0.12, bump=-0.09 * np.abs(across - 0.3))


def blueberry(scene: Scene) -> None:
    """Draw seven blueberries and two leaves."""
    leaf(scene.sprout(0.3, -0.5, -0.7, 0.9))
    leaf(scene.sprout(-0.4, -0.4, -2.4, 0.8))
    for x, y in ((-0.35, -0.55), (0.38, -0.5), (-0.85, 0), (0, -0.08), (0.83, 0.05), (-0.48, 0.5), (0.42, 0.52)):
        jitter = scene.rng.normal(0, 0.05, 2)
        patch = scene.patch(x + jitter[0], y + jitter[1], scale=scene.rng.uniform(0.42, 0.5), reach=1.5)
        bloom = patch.noise(5)
        colour = mix(scene.vary(ink("#28336e")), ink("#7f92c8"), 0.65 * bloom)
        patch.paint(patch.oval(1, 0.95), colour, gloss=0.14)
        tilt = scene.rng.normal([0, -0.25], 0.22)
        crown(scene, x + jitter[0] + tilt[0] * 0.45, y + jitter[1] + tilt[1] * 0.45)


def crown(scene: Scene, x: float, y: float) -> None:
    """Draw the star that the flower leaves on a blueberry."""
    patch = scene.patch(x, y, scene.rng.uniform(0, 6), scale=0.2, reach=1.6)
    rim = 0.78 + 0.24 * np.cos(5 * patch.angle)
    patch.paint(patch.oval() / rim, ink("#3d4a85"), gloss=0.05, dome=0.5)
    patch.paint(patch.oval() / (rim * 0.62), ink("#10142e"), gloss=0, dome=-0.6)


def cherry(scene: Scene) -> None:
    """Draw a pair of cherries on their stems."""
    red = scene.vary(ink("#9e0f1f"))
    leaf(scene.sprout(0.12, -1.15, 0.25 + scene.rng.normal(0, 0.15), 0.95), 0.5)
    for x, y, lean in ((-0.52, 0.5, 0.34), (0.55, 0.62, -0.26)):
        patch = scene.patch(x, y, lean * 0.4, scale=scene.rng.uniform(0.52, 0.58))
        rho = patch.outline([0.84, 0.98, 1.04, 1.02, 0.98, 0.96, 0.95])
        dip = np.exp(-((patch.x / 0.3) ** 2) - ((patch.y + 0.72) / 0.13) ** 2)
        colour = mix(red, ink("#d3303a"), 0.5 * patch.noise(4))
        patch.paint(rho, mix(colour, ink("#32040a"), 0.8 * dip), gloss=0.95)
        over, up = 0.08 - x, -0.8 - y
        twig(scene.sprout(x, y - 0.4, np.arctan2(up, over), np.hypot(up, over)), lean * 0.9, 0.036, TWIG)


def citrus(scene: Scene, radii: list[float], skin: Colour, flesh: Colour) -> None:
    """Draw a whole fruit with its pores, and half a fruit in front of it."""
    skin = scene.vary(skin, 0.04)
    whole = scene.patch(-0.3, -0.3, scene.rng.normal(1.3, 0.2), scale=0.92, reach=1.5)
    pores = whole.noise(90)
    whole.paint(whole.outline(radii), mix(skin * np.float32(0.88), skin, pores * 2), 0.3, bump=0.006 * pores)
    half = scene.patch(0.5, 0.42, scene.rng.normal(0, 0.1), scale=0.78)
    rho, angle = half.oval(1, 0.93), half.angle
    wedge = np.abs(np.sin(angle * 5 + scene.rng.uniform(0, 3))) * rho
    juice = mix(flesh, mix(flesh, ink("#fff3c4"), 0.6), scene.streaks(angle / np.pi, 150) * half.noise(30))
    pith = np.maximum(step(wedge, 0.13, 0.06), step(rho, 0.83, 0.87))
    face = mix(juice, ink("#fbeecb"), pith)
    half.paint(rho, mix(face, skin, step(rho, 0.92, 0.95)), 0.25, dome=0.22, bump=0.006 * half.noise(60))


def lemon(scene: Scene) -> None:
    """Draw a lemon and half a lemon."""
    citrus(scene, [1.2, 0.98, 0.83, 0.77, 0.75, 0.77, 0.83, 0.98, 1.12], ink("#f2cf1d"), ink("#f3dc62"))


def orange(scene: Scene) -> None:
    """Draw an orange and half an orange."""
    citrus(scene, [0.97, 1, 1, 0.97], ink("#f08412"), ink("#f79a1e"))
    button = scene.patch(-0.6, -0.72, scale=0.1)
    button.paint(button.oval() / (0.8 + 0.2 * np.cos(5 * button.angle)), ink("#5f7a2a"), gloss=0.05, dome=0.4)


def coconut(scene: Scene) -> None:
    """Draw a coconut and half a coconut."""
    husk = scene.vary(ink("#5d3d22"))
    whole = scene.patch(-0.35, -0.35, scene.rng.normal(-0.4, 0.2), scale=0.95)
    across, _ = around(whole, 1, 1)
    hair = 0.6 * scene.streaks(across, 130) + 0.4 * whole.noise(50)
    whole.paint(whole.oval(0.96, 1), mix(husk * np.float32(0.5), ink("#a87c4c"), hair), 0.05, bump=0.03 * hair)
    for x, y in ((-0.75, -0.75), (-0.5, -0.95), (-0.42, -0.68)):
        eye = scene.patch(x, y, scale=0.085)
        eye.paint(eye.oval(), ink("#20130b"), gloss=0, dome=-0.5)
    half = scene.patch(0.42, 0.42, scene.rng.normal(0, 0.1), scale=0.88)
    rho = half.oval(1, 0.9)
    shell = mix(husk, ink("#9a7145"), half.noise(50))
    half.paint(rho, mix(ink("#fbf8ef"), shell, step(rho, 0.87, 0.9)), 0.15, dome=0.25)
    half.paint(rho / 0.66, mix(ink("#f4efe2"), ink("#d9d2c2"), step(rho, 0.2, 0.66)), gloss=0.1, dome=-0.75)


def grape(scene: Scene) -> None:
    """Draw a bunch of grapes."""
    twig(scene.sprout(0, -0.8, -1.5, 0.6), colour=TWIG)
    leaf(scene.sprout(0.05, -0.95, -0.2, 0.95), 0.75)
    skin = scene.vary(ink("#5a2366"))
    for row, count in enumerate((4, 5, 4, 3, 2, 1)):
        for place in range(count):
            x, y = scene.rng.normal([(place - (count - 1) / 2) * 0.42, row * 0.34 - 0.66], 0.035)
            patch = scene.patch(x, y, scale=scene.rng.uniform(0.25, 0.285), reach=1.4)
            rho = patch.oval(0.98, 1.05)
            bloom = mix(skin, ink("#a58bc0"), 0.4 * patch.noise(3))
            patch.paint(rho, bloom * (0.75 + 0.5 * step(patch.y, -0.2, 1)), gloss=0.55)


def kiwi(scene: Scene) -> None:
    """Draw a kiwi and half a kiwi."""
    fuzz = scene.vary(ink("#7b5a33"))
    whole = scene.patch(-0.35, -0.38, scene.rng.normal(-0.5, 0.2), scale=0.92)
    hair = whole.noise(90)
    whole.paint(whole.oval(1.12, 0.86), mix(fuzz * np.float32(0.7), ink("#a6834f"), hair), 0.04, bump=0.02 * hair)
    half = scene.patch(0.38, 0.36, scene.rng.uniform(0, 3), scale=0.9)
    rho, angle = half.oval(1, 0.95), half.angle
    rays = scene.streaks(angle / np.pi, 110)
    flesh = mix(scene.vary(ink("#6fa51f"), 0.05), ink("#b7d552"), 0.5 * rays + 0.6 * step(rho, 0.5, 0.25))
    flesh = mix(flesh, ink("#f0efc4"), step(rho, 0.32, 0.2))
    turn = (angle / np.pi + 1) * 17
    shift = scene.rng.uniform(-0.07, 0.07, 35)[turn.astype(int)]
    seeds = np.hypot((turn % 1 - 0.5) / 0.27, (rho - 0.43 - shift) / 0.065)
    flesh = mix(flesh, ink("#15110c"), step(seeds, 1, 0.75))
    half.paint(rho, mix(flesh, fuzz, step(rho, 0.94, 0.965)), 0.3, dome=0.2)


def pear(scene: Scene) -> None:
    """Draw a pear with its stem and a leaf."""
    patch = scene.patch(0, 0.25, reach=1.6)
    wide = scene.rng.uniform(0.97, 1.06)
    rho = patch.outline([1.3, 1.08, 0.78 * wide, 0.72 * wide, 0.79 * wide, 0.86 * wide, 0.88, 0.86, 0.82])
    green, gold = scene.vary(ink("#a9b93c"), 0.05), scene.vary(ink("#d9c850"), 0.05)
    colour = mix(green, gold, patch.noise(4))
    colour = mix(colour, ink("#c26a2e"), 0.5 * step(patch.x, 0.1, 0.9) * patch.noise(5))
    colour = mix(colour, ink("#7d6426"), 0.7 * step(patch.noise(70), 0.85, 1.05))
    patch.paint(rho, colour, gloss=0.25)
    twig(scene.sprout(0, -1, -1.45 + scene.rng.normal(0, 0.15), 0.45), bend=0.2)
    leaf(scene.sprout(0.03, -1.12, -0.25 + scene.rng.normal(0, 0.2), 0.7))


def pineapple(scene: Scene) -> None:
    """Draw a pineapple: the crown first, then the fruit."""
    for place in np.concatenate([np.linspace(-1, 1, 11), np.linspace(-0.75, 0.75, 8), np.linspace(-0.4, 0.4, 4)]):
        turn = -np.pi / 2 + place * 1.05 + scene.rng.normal(0, 0.06)
        length = scene.rng.uniform(1.05, 1.2) - 0.4 * abs(place)
        leaf(scene.sprout(place * 0.18, -0.28, turn, length), 0.19, 0.5 * place + 0.01, ink("#5b8a4a"))
    patch = scene.patch(0, 0.5, reach=1.2)
    rho = (np.abs(patch.x / 0.68) ** 2.3 + np.abs(patch.y / 0.92) ** 2.3) ** np.float32(1 / 2.3)
    across, down = around(patch, 0.72, 1.05)
    one, other = (across * 3.4 + down * 4.4, across * 3.4 - down * 4.4)
    scale = np.maximum(np.abs(one % 1 - 0.5), np.abs(other % 1 - 0.5)) * 2
    gold = mix(scene.vary(ink("#d99a2b"), 0.05), ink("#a8892f"), patch.noise(6))
    colour = mix(gold, ink("#5f4a1c"), step(scale, 0.66, 0.98))
    colour = mix(colour, ink("#6d3f14"), step(scale, 0.3, 0.12))
    patch.paint(rho, colour, gloss=0.15, bump=-0.05 * scale)


def strawberry(scene: Scene) -> None:
    """Draw a strawberry with its seeds and sepals."""
    patch = scene.patch(0, 0.05, reach=1.35)
    rho = patch.outline([0.78, 0.93, 1.0, 0.93, 0.9, 0.98, 1.14])
    across, down = around(patch, 1.02, 1.3)
    row = down * 7.5
    column = across * 4.2 + 0.5 * (np.floor(row) % 2)
    seed = np.hypot((column % 1 - 0.5) / 0.13, (row % 1 - 0.5) / 0.24)
    red = mix(scene.vary(ink("#cf1424"), 0.05), ink("#e8443a"), patch.noise(5))
    red = mix(red, ink("#f2c7a0"), 0.6 * step(patch.y, -0.62, -0.95))
    colour = mix(mix(red, red * np.float32(0.45), step(seed, 2.1, 1)), ink("#ecc75a"), step(seed, 1.1, 0.8))
    patch.paint(rho, colour, gloss=0.45, bump=-0.05 * step(seed, 2.6, 0.8))
    for turn in np.linspace(-0.35, np.pi + 0.35, 8):
        sepal = scene.sprout(0, -0.76, turn + scene.rng.normal(0, 0.1), scene.rng.uniform(0.5, 0.68))
        leaf(sepal, 0.45, scene.rng.normal(0.2, 0.15))
    twig(scene.sprout(0, -0.74, -1.3 + scene.rng.normal(0, 0.2), 0.5), colour=TWIG)


def tomato(scene: Scene) -> None:
    """Draw a tomato with its ribs and its green star."""
    patch = scene.patch()
    rho = patch.outline([0.8, 0.9, 1.0, 1.06, 0.98, 0.9, 0.86])
    ribs = np.cos(6 * np.arctan2(patch.x, (-patch.y - 0.42) * 2))
    near = np.exp(-((patch.x / 0.8) ** 2) - ((patch.y + 0.42) / 0.55) ** 2)
    red = mix(scene.vary(ink("#d62412"), 0.05), ink("#e8502a"), patch.noise(3))
    patch.paint(rho, mix(red, ink("#d98a2a"), 0.5 * near**3), gloss=0.85, bump=0.035 * ribs * near)
    for turn in np.arange(6) * np.pi / 3 + scene.rng.uniform(0, 1):
        length = 0.36 + 0.26 * abs(np.cos(turn))
        leaf(scene.sprout(0, -0.45, turn + scene.rng.normal(0, 0.12), length), 0.36, scene.rng.normal(0.2, 0.15))
    twig(scene.sprout(0, -0.45, -1.2 + scene.rng.normal(0, 0.3), 0.35), width=0.28, colour=TWIG)


def watermelon(scene: Scene) -> None:
    """Draw a slice of watermelon: the rind first, then the cut face, then the seeds."""
    for y, face in ((-0.48, False), (-0.6, True)):
        patch = scene.patch(0, y, reach=1.4)
        radius = np.hypot(patch.x, patch.y) / 1.3
        rho = np.maximum(radius, 1 - patch.y)
        dark = mix(ink("#17401d"), ink("#4f8f3a"), scene.streaks(patch.angle / np.pi, 30) * face)
        flesh = mix(scene.vary(ink("#e2343f"), 0.04), ink("#f26a62"), patch.noise(24))
        flesh = mix(flesh, ink("#f7e9d0"), step(radius, 0.8, 0.88))
        flesh = mix(flesh, ink("#a9cf7c"), step(radius, 0.88, 0.93))
        patch.paint(rho, mix(flesh, dark, step(radius, 0.935, 0.955)) if face else dark, 0.15, dome=0.1)
    for ring, count in ((0.45, 4), (0.78, 7)):
        for angle in (np.arange(count) + 0.5) * np.pi / count + scene.rng.normal(0, 0.06, count):
            x, y = ring * np.cos(angle), ring * np.sin(angle) - 0.58
            seed = scene.patch(x, y, angle - np.pi / 2, scale=0.062, reach=2)
            seed.paint(seed.outline([1.5, 0.75, 0.7, 0.85, 1]), ink("#1c120d"), gloss=0.6)


Drawing = Callable[[Scene], None]
FRUITS: Mapping[str, tuple[float, Drawing]] = MappingProxyType(
    {
        "Apple Granny Smith": (1, partial(apple, skin=ink("#86b62c"), blush=ink("#b4cf4e"), freckles=0.7)),
        "Apple Red": (1, partial(apple, skin=ink("#b3121f"), blush=ink("#e8a53c"), freckles=0.35)),
        "Avocado": (0.95, avocado),
        "Banana": (0.95, banana),
        "Blueberry": (0.95, blueberry),
        "Cherry": (0.95, cherry),
        "Coconut": (0.95, coconut),
        "Grape": (1, grape),
        "Kiwi": (0.95, kiwi),
        "Lemon": (0.95, lemon),
        "Orange": (0.95, orange),
        "Pear": (0.9, pear),
        "Pineapple": (0.97, pineapple),
        "Strawberry": (0.95, strawberry),
        "Tomato": (1, tomato),
        "Watermelon": (0.95, watermelon),
    }
)
"""Label -> the zoom of the scene and the function that draws the fruit."""
