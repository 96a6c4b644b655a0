"""The metadata of a photo never reaches an output, and an erased photo leaves no byte behind."""

import dataclasses
import io
import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import ExifTags, Image
from pyspark.sql import SparkSession
from rich.console import Console

from spark_job.forget import forget
from spark_job.manifest import Manifest
from spark_job.plan import open_input
from spark_job.progress import Stages
from spark_job.run import run
from spark_job.settings import Settings
from spark_job.storage import open_store

SECRETS = [b"Canon-of-Ada", b"Ada Lovelace", b"48.8566N", b"at-home-comment", b"xmp-secret", b"icc-secret"]


def _tagged(kind: str, seed: int) -> bytes:
    """Return a photo whose metadata contains a camera, a name, a place, a colour profile, XMP and a comment."""
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Canon-of-Ada"
    exif[ExifTags.Base.Artist] = "Ada Lovelace"
    exif[ExifTags.Base.Orientation] = 6
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSMapDatum] = "48.8566N"
    image = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (60, 80, 3), np.uint8))
    options: dict[str, object] = {"exif": exif, "icc_profile": b"icc-secret" * 20, "xmp": b"<x>xmp-secret</x>"}
    if kind == "JPEG":
        options["comment"] = b"at-home-comment"
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def _output_bytes(output: Path) -> Iterator[tuple[str, bytes]]:
    """Yield every file of an output, and the decompressed bytes of every column of its tables."""
    for file in output.rglob("*"):
        if file.is_file():
            yield str(file), file.read_bytes()
            if file.suffix == ".parquet":
                for name, column in zip((table := pq.read_table(file)).column_names, table.columns, strict=True):
                    buffers = [buffer for chunk in column.chunks for buffer in chunk.buffers()]
                    yield f"{file}#{name}", b"".join(bytes(buffer) for buffer in buffers if buffer is not None)


def _run(folder: Path, model_file: str, run_id: str) -> Manifest:
    settings = Settings(
        str(folder / "photos"), str(folder / "results"), weights=model_file, components=2, max_rejected=0.5
    )
    return run(
        dataclasses.replace(settings, run_id=run_id), open_input(settings.input), Stages(Console(file=io.StringIO()))
    )


@pytest.fixture(scope="module")
def before(spark: SparkSession, model_file: str, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: ARG001 - starts Spark
    """A folder with photos that have metadata, and with a run on them. Two of the photos are broken."""
    folder = tmp_path_factory.mktemp("before")
    for seed, (label, kind) in enumerate(itertools.product(("Apple", "Pear"), ("JPEG", "PNG", "WEBP"))):
        (folder / "photos" / label).mkdir(parents=True, exist_ok=True)
        (folder / "photos" / label / f"{kind}-of-{label}.{kind.lower()}").write_bytes(_tagged(kind, seed))
    (folder / "photos" / "Pear" / "cut.jpg").write_bytes(_tagged("JPEG", 9)[:-700])
    (folder / "photos" / "Pear" / "head.jpg").write_bytes(_tagged("JPEG", 9)[:900])
    made = _run(folder, model_file, "before")
    assert (made.counts.computed, made.counts.rejected) == (6, 2)
    return folder


def test_metadata_reaches_no_output(before: Path) -> None:
    uploaded = b"".join(file.read_bytes() for file in (before / "photos").rglob("*.*"))
    assert all(secret in uploaded for secret in SECRETS)
    found = list(_output_bytes(before / "results"))
    assert any(name.endswith("#features") and len(data) > 5000 for name, data in found)
    assert any(b"Pear/cut.jpg" in data for name, data in found if name.endswith("#path"))
    assert not [(name, secret) for name, data in found for secret in (*SECRETS, b"Exif\0\0", b"GPS") if secret in data]


def test_an_erased_photo_leaves_nothing(before: Path, model_file: str, tmp_path: Path) -> None:
    folder = shutil.copytree(before, tmp_path / "copy")
    results, erased = folder / "results", "PNG-of-Apple"
    table = pq.read_table(results / "runs/before/features").to_pylist()
    [features] = [np.array(row["features"], np.float32) for row in table if erased in row["path"]]
    (folder / "photos" / "Apple" / f"{erased}.png").unlink()
    made = _run(folder, model_file, "after")
    assert (made.counts.reused, made.counts.computed) == (5, 0)

    def traces(where: Path) -> list[str]:
        marks = (erased.encode(), features.tobytes())
        return [name for name, data in _output_bytes(where) if any(mark in data for mark in marks)]

    assert traces(results / "runs" / "before")
    assert not traces(results / "runs" / "after")
    forget(open_store(str(results)), [], keep=1)
    assert not traces(results)
