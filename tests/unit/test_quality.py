import io

import numpy as np
import pytest
from PIL import Image, ImageFilter

from spark_job.findings import Kind
from spark_job.findings.kinds import poor
from spark_job.network.images import picture
from spark_job.network.quality import Quality, measure

PHOTO = Image.fromarray(np.clip(np.random.default_rng(0).normal(128, 60, (20, 20, 3)), 0, 255).astype(np.uint8)).resize(
    (200, 200), Image.Resampling.NEAREST
)


def encoded(photo: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    photo.save(file, kind, **options)
    return file.getvalue()


def measured(data: bytes) -> Quality:
    return measure(data, picture(data, 224))


@pytest.mark.parametrize(
    ("photo", "kinds"),
    [
        (PHOTO, []),
        (PHOTO.point(lambda level: level // 5), [Kind.DARK]),
        (PHOTO.point(lambda level: 250 + level // 60), [Kind.BRIGHT]),
        (PHOTO.filter(ImageFilter.GaussianBlur(12)), [Kind.BLURRED]),
        (Image.new("RGB", (90, 90), (120, 90, 60)), [Kind.EMPTY]),
        (Image.new("RGB", (90, 90), "black"), [Kind.DARK, Kind.EMPTY]),
    ],
)
def test_poor_photos_are_found(photo: Image.Image, kinds: list[Kind]) -> None:
    row = measured(encoded(photo))._asdict() | {"path": "a.png", "label": None}
    found = list(poor(row))
    assert [finding.kind for finding in found] == kinds
    assert all(0 < finding.score <= 1 for finding in found)


def test_the_digest_of_the_pixels_does_not_depend_on_the_file() -> None:
    first = measured(encoded(PHOTO))
    for other in (encoded(PHOTO, compress_level=1), encoded(PHOTO, "WEBP", lossless=True)):
        second = measured(other)
        assert first.pixels_sha256 == second.pixels_sha256
        assert first.sha256 != second.sha256
    assert measured(encoded(PHOTO.rotate(90))).pixels_sha256 != first.pixels_sha256


@pytest.mark.parametrize("side", [32, 96, 224])
def test_any_network_gets_a_miniature_of_the_same_size(side: int) -> None:
    found = measure(encoded(PHOTO), picture(encoded(PHOTO), side))
    assert len(found.miniature) == 588
    assert (found.width, found.height) == (200, 200)
