"""Photos that take the decoders' different paths: formats, modes, sizes, an orientation, and two broken files."""

from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from tests.hostile import encoded, picture


def draw(folder: Path) -> None:
    """Write the photos to two folders, which are their labels."""
    for label, files in (("good", _good()), ("broken", _broken())):
        (folder / label).mkdir(parents=True)
        for name, data in files.items():
            (folder / label / name).write_bytes(data)


def _good() -> dict[str, bytes]:
    sideways = Image.Exif()
    sideways[ExifTags.Base.Orientation] = 6
    return {
        "large-sideways.jpg": encoded(_noisy(1, (1600, 1200)), "JPEG", quality=90, exif=sideways),
        "progressive.jpg": encoded(_noisy(2, (640, 480)), "JPEG", quality=80, progressive=True),
        "cmyk.jpg": encoded(_noisy(3, (320, 240)).convert("CMYK"), "JPEG"),
        "grey.jpg": encoded(_noisy(4, (100, 100)).convert("L"), "JPEG"),
        "palette.png": encoded(_noisy(5, (320, 240)).quantize(64), "PNG"),
        "transparent.png": encoded(_transparent(6, (320, 240)), "PNG"),
        "16-bits.png": encoded(picture("I;16", (320, 240)), "PNG"),
        "lossy.webp": encoded(_noisy(7, (640, 480)), "WEBP", quality=80),
        "lossless.webp": encoded(_transparent(8, (240, 320)), "WEBP", lossless=True),
    }


def _broken() -> dict[str, bytes]:
    whole = encoded(_noisy(9, (640, 480)), "JPEG")
    return {"truncated.jpg": whole[: len(whole) // 2], "text.png": b"6 lemons\n1 pineapple\n"}


def _noisy(seed: int, size: tuple[int, int]) -> Image.Image:
    """Return a picture with large shapes and noise, so that it has all frequencies."""
    shapes = np.asarray(picture("RGB", size, seed)).astype(float)
    noise = np.random.default_rng(seed).normal(0, 12, shapes.shape)
    return Image.fromarray(np.clip(shapes + noise, 0, 255).astype(np.uint8))


def _transparent(seed: int, size: tuple[int, int]) -> Image.Image:
    photo = _noisy(seed, size)
    photo.putalpha(picture("L", size, seed + 1))
    return photo
