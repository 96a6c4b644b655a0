"""Whole runs in this process, with a real Spark. Most tests read the history of one output."""

import dataclasses
import io
import os
import shutil
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image
from pyspark.sql import SparkSession
from rich.console import Console

from spark_job import reuse, runs
from spark_job.errors import RunError, UserError
from spark_job.manifest import Manifest
from spark_job.network.model import CompiledNetwork
from spark_job.plan import open_input
from spark_job.progress import Stages
from spark_job.report.summary import summary
from spark_job.run import run
from spark_job.runs import RunFolder
from spark_job.settings import Settings
from spark_job.storage import open_store
from spark_job.storage.base import Store
from tests.hostile_archives import written


@dataclass(frozen=True)
class Job:
    """Photos, an output, and the runs that a test makes with them."""

    folder: Path
    model_file: str

    @property
    def photos(self) -> Path:
        return self.folder / "photos"

    @property
    def results(self) -> Path:
        """A folder whose parents have the names of those of a run, which must not confuse the reuse."""
        return self.folder / "runs" / "mine" / "features"

    @property
    def output(self) -> Store:
        return open_store(str(self.results))

    def run(self, run_id: str, log: io.StringIO | None = None, **changes: Any) -> Manifest:
        """Run with random weights, and with the settings that a test changes."""
        settings = Settings(
            str(self.photos), str(self.results), weights=self.model_file, components=3, max_rejected=0.2, run_id=run_id
        )
        changed = dataclasses.replace(settings, **changes)
        return run(changed, open_input(changed.input), Stages(Console(file=log or io.StringIO())))

    def draw(self, name: str, seed: int) -> None:
        """Make a photo of noise."""
        file = self.photos / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(_noise(seed, "PNG" if name.endswith(".png") else "JPEG"))

    def manifest(self, run_id: str) -> Manifest:
        return Manifest.from_json((self.results / "runs" / run_id / "manifest.json").read_text())

    def table(self, run_id: str, name: str) -> pd.DataFrame:
        return pd.read_parquet(self.results / "runs" / run_id / name).set_index("path").sort_index()


def _noise(seed: int, kind: str = "JPEG") -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (40, 50, 3), np.uint8)).save(out, kind)
    return out.getvalue()


@pytest.fixture(scope="module")
def history(
    spark: SparkSession,  # noqa: ARG001 - starts Spark
    model: CompiledNetwork,
    model_file: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Job:
    """An output after five runs on photos that change. One of the runs died before it was published."""
    job = Job(tmp_path_factory.mktemp("history"), model_file)
    for number in range(12):
        job.draw(f"{'Apple' if number % 2 else 'Pear'}/{number}.jpg", seed=number)
    (job.photos / "Pear" / "half.jpg").write_bytes((job.photos / "Pear" / "0.jpg").read_bytes()[:700])
    (job.photos / "empty.png").touch()
    job.run("1-first")
    job.run("2-same")

    (job.photos / "Pear" / "0.jpg").unlink()
    job.draw("Pear/2.jpg", seed=99)
    os.utime(job.photos / "Pear" / "4.jpg", (1, 1))
    job.draw("Kiwi/new.png", seed=100)
    job.run("3-changed")
    pointer = (job.results / runs.LATEST).read_bytes()

    job.draw("Kiwi/newer.jpg", seed=101)
    job.run("4-dead")
    (job.results / "runs" / "4-dead" / runs.MANIFEST).unlink()
    (job.results / runs.LATEST).write_bytes(pointer)
    RunFolder(job.output, "died at once").claim(job.manifest("1-first").started, model.digest)
    job.run("5-after")
    return job


@pytest.fixture
def job(history: Job, tmp_path: Path) -> Job:
    """A copy of the history that a test can change."""
    copy = tmp_path / "copy"
    shutil.copytree(history.folder, copy)
    return Job(copy, history.model_file)


def _vectors(column: "pd.Series[Any]") -> NDArray[np.float64]:
    return np.array(column.to_list(), np.float64)


def test_the_first_run_computes_every_photo_and_rejects_the_others_with_their_reasons(history: Job) -> None:
    made = history.manifest("1-first")
    assert (made.counts.found, made.counts.computed, made.counts.reused, made.counts.rejected) == (14, 12, 0, 2)
    assert (made.labels, made.reused_from) == ({"Apple": 6, "Pear": 6}, None)
    assert made.rejected == {"empty": 1, "truncated": 1}
    rejected = history.table("1-first", "rejected")
    assert list(rejected.columns) == ["label", "size", "reason", "detail"]
    assert rejected["label"].to_dict() == {"Pear/half.jpg": "Pear", "empty.png": None}


def test_a_run_without_new_photos_gives_the_same_result(history: Job) -> None:
    made = history.manifest("2-same")
    assert (made.counts.computed, made.counts.reused, made.reused) == (0, 12, {"1-first": 12})
    for name, column in (("features", "features"), ("pca", "pca")):
        one, other = (history.table(run_id, name) for run_id in ("1-first", "2-same"))
        assert list(one.index) == list(other.index)
        np.testing.assert_allclose(_vectors(one[column]), _vectors(other[column]), rtol=1e-4, atol=1e-5)


def test_a_run_computes_only_new_changed_and_touched_photos(history: Job) -> None:
    made = history.manifest("3-changed")
    assert (made.counts.found, made.counts.computed, made.counts.reused) == (14, 3, 9)
    assert (made.reused_from, made.reused) == ("2-same", {"2-same": 9})
    before, after = history.table("2-same", "features"), history.table("3-changed", "features")
    assert set(before.index) - set(after.index) == {"Pear/0.jpg"}
    assert set(after.index) - set(before.index) == {"Kiwi/new.png"}
    same = sorted(set(before.index) & set(after.index) - {"Pear/2.jpg", "Pear/4.jpg"})
    np.testing.assert_array_equal(_vectors(before.loc[same, "features"]), _vectors(after.loc[same, "features"]))
    old, new = (_vectors(table.loc[["Pear/2.jpg"], "features"]) for table in (before, after))
    assert not np.allclose(old, new)


def test_a_run_takes_over_what_a_dead_run_computed(history: Job) -> None:
    """The photos of the published run count once, although the dead run has them too."""
    made = history.manifest("5-after")
    assert (made.counts.computed, made.reused) == (0, {"3-changed": 12, "4-dead": 1})
    assert history.table("5-after", "features").index.is_unique
    assert runs.latest(history.output) == made


def test_photos_of_a_damaged_file_are_computed_again(job: Job) -> None:
    job.draw("Kiwi/newest.jpg", seed=200)
    job.run("6-damaged")
    (file,) = (job.results / "runs" / "6-damaged" / "features").glob("part-*")
    file.write_bytes(file.read_bytes()[:-100])
    log = io.StringIO()
    made = job.run("7-again", log)
    assert (made.counts.computed, made.counts.reused) == (1, 13)
    assert job.table("7-again", "features").index.is_unique
    (line,) = [line for line in log.getvalue().splitlines() if "part-" in line]
    assert line.startswith(f"The photos in {file} are computed again, because it cannot be read (")


def test_recomputing_reuses_nothing(job: Job) -> None:
    made = job.run("again", recompute=True)
    assert (made.counts.computed, made.counts.reused, made.reused_from) == (13, 0, None)


def test_a_run_that_loses_photos_is_not_published(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    before = runs.latest(job.output)
    for number in range(4):
        job.draw(f"Kiwi/{number}.jpg", seed=200 + number)
    monkeypatch.setattr(reuse, "copy", lambda *_: None)
    with pytest.raises(RunError, match=r"does not account for every photo .*found=19, computed=4, reused=0"):
        job.run("wrong")
    assert runs.latest(job.output) == before


def test_too_many_rejected_images_fail_the_run_and_can_be_read(job: Job) -> None:
    before = runs.latest(job.output)
    with pytest.raises(RunError, match="2 of 15 photos were rejected") as caught:
        job.run("bad", max_rejected=0.13)
    assert "\n" not in str(caught.value)
    assert len(job.table("bad", "rejected")) == 2
    assert not (job.results / "runs" / "bad" / "manifest.json").exists()
    assert RunFolder(job.output, "bad").failure == str(caught.value)
    assert runs.latest(job.output) == before


def test_a_run_id_can_be_used_once(job: Job) -> None:
    """The second run leaves the folder of the first one as it is. It does not even mark it as failed."""
    before = {file: file.read_bytes() for file in job.results.rglob("*") if file.is_file()}
    with pytest.raises(UserError, match="The run 1-first exists already"):
        job.run("1-first", recompute=True)
    assert {file: file.read_bytes() for file in job.results.rglob("*") if file.is_file()} == before


def test_more_components_than_images_are_refused_before_anything_is_computed(job: Job) -> None:
    with pytest.raises(UserError, match="16 components are more than 15 photos"):
        job.run("wide", components=16)
    assert not {"features", "manifest.json"} & {path.name for path in (job.results / "runs" / "wide").iterdir()}


def test_photos_are_read_from_a_bucket(history: Job, job: Job, s3: str) -> None:
    store = open_store(f"{s3}/in")
    for file in history.photos.rglob("*.jpg"):
        store.write(str(file.relative_to(history.photos)), file.read_bytes())
    first = job.run("bucket", input=f"{s3}/in", recompute=True)
    assert (first.counts.computed, set(first.labels)) == (12, {"Apple", "Kiwi", "Pear"})
    assert job.run("again", input=f"{s3}/in").reused == {"bucket": 12}


def test_an_archive_that_is_written_again_computes_only_its_new_photo(
    spark: SparkSession,  # noqa: ARG001 - starts Spark
    model_file: str,
    tmp_path: Path,
) -> None:
    job = Job(tmp_path, model_file)
    photos = {f"Training/{'Apple' if number % 2 else 'Pear'}/{number}.jpg": _noise(number) for number in range(12)}
    job.photos.mkdir()
    (job.photos / "fruits.zip").write_bytes(written(photos | {"Kiwi/half.jpg": _noise(0)[:700]}))
    (job.photos / "cut.zip").write_bytes(written(photos)[:-100])
    (job.photos / "shard.tar").touch()
    job.draw("Kiwi/loose.png", seed=99)
    first = job.run("first")
    assert (first.counts.found, first.counts.computed, first.labels) == (15, 13, {"Apple": 6, "Kiwi": 1, "Pear": 6})
    assert (first.rejected, first.left_out) == ({"damaged": 1, "truncated": 1}, {".tar": 1})
    assert set(job.table("first", "rejected").index) == {"cut.zip", "fruits.zip/Kiwi/half.jpg"}
    assert "fruits pack" in summary(first)
    report = (job.results / "runs" / "first" / "report.html").read_text()
    assert report.count("data:image/jpeg") >= 13

    (job.photos / "fruits.zip").write_bytes(written(photos | {"Kiwi/new.jpg": _noise(98)}, zipfile.ZIP_DEFLATED))
    second = job.run("second", input=str(job.photos / "fruits.zip"))
    assert (second.counts.found, second.counts.computed, second.reused) == (13, 1, {"first": 12})
    assert second.input == str(job.photos)
    one, other = (
        job.table(run_id, "features").loc["fruits.zip/Training/Apple/1.jpg"] for run_id in ("first", "second")
    )
    np.testing.assert_array_equal(one["features"], other["features"])
    assert one["crc"] == other["crc"] == zlib.crc32(photos["Training/Apple/1.jpg"])
