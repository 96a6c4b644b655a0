"""The stages `neighbours` and `findings`, and the command `findings`, with a real Spark."""

import io
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageFilter, ImageOps
from pyspark.sql import SparkSession
from rich.console import Console

from spark_job import list_findings
from spark_job.errors import UserError
from spark_job.findings import Kind
from spark_job.findings.search import search
from spark_job.manifest import Manifest
from spark_job.plan import open_input
from spark_job.progress import Stages
from spark_job.run import run
from spark_job.settings import Settings
from spark_job.tables import SEARCH_SCHEMA, Table
from tests.example import WITHOUT_SPARK


def _execute(photos: Path, model_file: str) -> Manifest:
    settings = Settings(str(photos), str(photos.parent / "results"), weights=model_file, components=1)
    return run(settings, open_input(settings.input), Stages(Console(file=io.StringIO())))


def _photo(seed: int) -> Image.Image:
    blocks = np.random.default_rng(seed).integers(0, 256, (7, 7, 3), np.uint8)
    return Image.fromarray(blocks).resize((112, 112), Image.Resampling.NEAREST)


def _save(photo: Image.Image, file: Path, lossless: bool = False) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    photo.save(file, lossless=lossless)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos that differ, and copies, a mirrored, a dark and a blurred one among them."""
    folder = tmp_path_factory.mktemp("findings") / "photos"
    for number in range(24):
        _save(_photo(number), folder / "Training" / ("Apple" if number % 2 else "Pear") / f"{number:02d}.png")
    shutil.copy(folder / "Training" / "Pear" / "00.png", folder / "Training" / "Pear" / "copy.png")
    _save(_photo(1), folder / "Test" / "Apple" / "other-format.webp", lossless=True)
    _save(ImageOps.mirror(_photo(2)), folder / "Training" / "Pear" / "mirrored.jpg")
    _save(_photo(90).point(lambda level: level // 8), folder / "Training" / "Apple" / "dark.png")
    _save(_photo(91).filter(ImageFilter.GaussianBlur(9)), folder / "Training" / "Apple" / "blurred.png")
    return folder


@pytest.fixture(scope="module")
def made(spark: SparkSession, photos: Path, model_file: str) -> Manifest:  # noqa: ARG001 - starts Spark
    return _execute(photos, model_file)


def _paths(manifest: Manifest, kind: Kind) -> set[str]:
    return {finding.path.rpartition("/")[2] for finding in list_findings.find(manifest.output, kind).findings}


def test_a_run_finds_copies_and_poor_photos(made: Manifest) -> None:
    assert _paths(made, Kind.DUPLICATE) == {"00.png", "copy.png", "01.png", "other-format.webp"}
    assert _paths(made, Kind.NEAR_DUPLICATE) == {"02.png", "mirrored.jpg"}
    assert _paths(made, Kind.LEAK) == {"01.png", "other-format.webp"}
    assert _paths(made, Kind.DARK) == {"dark.png"}
    assert _paths(made, Kind.BLURRED) == {"blurred.png"}
    details = {finding.detail for finding in list_findings.find(made.output, Kind.DUPLICATE).findings}
    assert details == {"the same bytes", "the same pixels"}


def test_the_manifest_the_summary_and_the_report_count_findings(made: Manifest) -> None:
    assert made.findings["duplicate"] == 4
    assert made.findings["bright"] == 0
    assert json.loads(made.summary())["findings"] == made.findings
    report = (Path(made.output) / "runs" / made.run_id / "report.html").read_text()
    assert "What to look at" in report
    assert "With random weights, wrong label and outlier mean nothing" in report
    assert report.index("the same bytes") < report.index("Map of the photos")


def test_each_photo_has_its_neighbours(made: Manifest) -> None:
    rows = pq.read_table(Path(made.output) / "runs" / made.run_id / "neighbours").to_pylist()
    assert len(rows) == len({row["path"] for row in rows}) == made.counts.computed
    for row in rows:
        distances = [other["distance"] for other in row["neighbours"]]
        assert len({other["path"] for other in row["neighbours"]} - {row["path"]}) == 10
        assert distances == sorted(distances)


def test_the_command_lists_findings_without_spark(made: Manifest, tmp_path: Path) -> None:
    def listed(*options: str) -> str:
        command = [*WITHOUT_SPARK, "findings", "--run", made.output, *options]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    table = listed("--kind", "dark")
    assert "dark.png" in table
    assert "1 of 1 findings" in table
    assert {row["kind"] for row in json.loads(listed("--min-score", "1", "--json"))} == {"duplicate", "leak"}
    assert len(listed("--limit", "2", "--csv").splitlines()) == 3
    listed("--html", str(tmp_path / "page.html"))
    page = (tmp_path / "page.html").read_text()
    assert page.count("data:image/jpeg") >= 6
    assert "http" not in page.replace("http-equiv", "")


def test_a_run_without_findings_says_so(made: Manifest, tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(made.output, old)
    shutil.rmtree(old / "runs" / made.run_id / "findings")
    with pytest.raises(UserError, match="has no findings, because an older version made it"):
        list_findings.find(str(old))


@pytest.mark.parametrize("names", [["a.png", "b.png"], ["Fig/a.png", "Fig/b.png", "Fig/c.png"]])
def test_few_and_equal_photos(
    spark: SparkSession,  # noqa: ARG001 - starts Spark
    tmp_path: Path,
    model_file: str,
    names: list[str],
) -> None:
    for name in names:
        _save(_photo(0), tmp_path / "photos" / name)
    made = _execute(tmp_path / "photos", model_file)
    found = {kind: count for kind, count in made.findings.items() if count}
    assert found == {"duplicate": len(names)}


def test_a_search_in_cells_finds_what_an_exact_search_finds(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spark_job.findings.search._PHOTOS_PER_CELL", 300)
    rng = np.random.default_rng(4)
    vectors = (rng.normal(size=(60, 1, 12)) * 3 + rng.normal(size=(60, 100, 12))).reshape(-1, 12).astype(np.float32)
    photos = Table(str(tmp_path), "photos")
    for number, part in enumerate(np.array_split(np.arange(len(vectors)), 4)):
        known = {
            "path": [f"{row}.jpg" for row in part],
            "miniature": [rng.bytes(588) for _ in part],
            "vector": [vector.tobytes() for vector in vectors[part]],
        }
        columns = [pa.array(known.get(field.name, [None] * len(part)), field.type) for field in SEARCH_SCHEMA]
        rows = pa.record_batch(columns, schema=SEARCH_SCHEMA)
        photos.write(f"part-{number:05d}.parquet", [rows], SEARCH_SCHEMA)
    found = []
    for name, exact_up_to in (("exact", 10_000), ("divided", 1_000)):
        table = Table(str(tmp_path), name)
        searched = search(spark.sparkContext, photos, 6_000, Table(str(tmp_path), "cells"), table, exact_up_to)
        assert (searched.photos, len(searched.distances)) == (6_000, 6_000)
        read = pq.read_table(tmp_path / name).to_pylist()
        found.append({row["path"]: {other["path"] for other in row["neighbours"]} for row in read})
    exact, divided = found
    assert exact.keys() == divided.keys()
    assert np.mean([len(exact[path] & divided[path]) for path in exact]) >= 9.5
