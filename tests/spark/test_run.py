"""Whole runs in this process, with a real Spark."""

import dataclasses
import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image
from pyspark.ml import PipelineModel
from pyspark.ml.functions import array_to_vector
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from rich.console import Console

from spark_job import reuse, runs, tables
from spark_job.errors import RunError, UserError
from spark_job.manifest import Manifest
from spark_job.network import weights
from spark_job.network.model import CompiledNetwork
from spark_job.progress import Stages
from spark_job.run import run
from spark_job.runs import RunFolder
from spark_job.settings import Settings
from spark_job.storage import open_store
from tests import outcomes

Run = Callable[..., Manifest]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of twelve photos with two labels."""
    folder = tmp_path / "photos"
    for number in range(12):
        _write(folder / ("Apple" if number % 2 else "Pear") / f"{number}.jpg", seed=number)
    return folder


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path / "results"


@pytest.fixture
def run_job(spark: SparkSession, photos: Path, results: Path, model_file: str) -> Run:  # noqa: ARG001 - starts Spark
    """A function that runs on the photos with random weights and with the settings that a test changes."""

    def job(log: io.StringIO | None = None, **changes: object) -> Manifest:
        settings = Settings(str(photos), str(results), weights=model_file, components=3)
        return run(dataclasses.replace(settings, **changes), Stages(Console(file=log or io.StringIO())))  # type: ignore[arg-type]

    return job


def _silent() -> Stages:
    return Stages(Console(file=io.StringIO()))


def _write(file: Path, seed: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (40, 50, 3), np.uint8)).save(file)


def _features(results: Path, manifest: Manifest) -> pd.DataFrame:
    return pd.read_parquet(results / "runs" / manifest.run_id / "features").set_index("path").sort_index()


def _vectors(column: "pd.Series[Any]") -> NDArray[np.float64]:
    return np.array(column.to_list(), np.float64)


def test_a_run_on_real_photos(spark: SparkSession, real_photos: Path, real_weights: Path, results: Path) -> None:
    training = real_photos / "Training"
    made = run(Settings(str(training), str(results), weights=str(real_weights), components=100), _silent())
    folder = results / "runs" / made.run_id

    assert (made.counts.found, made.counts.computed, made.counts.rejected) == (1320, 1320, 0)
    assert (len(made.labels), set(made.labels.values())) == (33, {40})
    assert made.pca.components == 100
    assert 0.8 < made.pca.variance_kept < 0.95
    assert made.pca.one_nn_accuracy_components is not None
    assert made.pca.one_nn_accuracy_components > 0.95
    assert runs.latest(open_store(str(results))) == made
    assert "Apple Golden 1" in (folder / "report.html").read_text()

    by_pandas = pd.read_parquet(folder / "features")
    by_arrow = pq.read_table(folder / "pca")
    by_spark = spark.read.parquet(str(folder / "features"))
    assert list(by_pandas.columns) == ["path", "label", "size", "modified", "features"]
    assert by_arrow.column_names == ["path", "label", "pca"]
    assert len(by_pandas) == by_arrow.num_rows == by_spark.count() == 1320
    one = by_pandas.iloc[0]
    assert one["size"] == (training / one["path"]).stat().st_size
    assert one["modified"].timestamp() == pytest.approx((training / one["path"]).stat().st_mtime, abs=1e-5)
    assert {len(row) for row in by_pandas["features"]} == {1280}
    assert {len(row) for row in by_arrow["pca"].to_pylist()} == {100}

    assert _held_out_accuracy(spark, real_photos / "Test", real_weights, folder) >= 0.87


def _held_out_accuracy(spark: SparkSession, photos: Path, h5: Path, folder: Path) -> float:
    """Return the share of new photos whose label is that of the nearest photo of the run, by the saved pipeline."""
    unseen = outcomes.written(spark, open_store(str(photos)), weights.load(str(h5), "litert"), folder / "unseen")
    pipeline = PipelineModel.load(str(folder / "model"))
    rows = pipeline.transform(unseen.withColumn("features", array_to_vector(F.col("features")))).collect()
    queries = np.array([row.pca.toArray() for row in rows])
    known = pd.read_parquet(folder / "pca")
    base = _vectors(known["pca"])
    nearest = ((queries[:, None, :] - base[None]) ** 2).sum(axis=2).argmin(axis=1)
    return float((known["label"].to_numpy()[nearest] == np.array([row.label for row in rows])).mean())


def test_a_second_run_computes_only_what_is_new(run_job: Run, photos: Path, results: Path) -> None:
    first = run_job()
    (photos / "Pear" / "0.jpg").unlink()
    _write(photos / "Pear" / "2.jpg", seed=99)
    _write(photos / "Kiwi" / "new.png", seed=100)
    second = run_job()

    assert (first.counts.computed, first.counts.reused, first.reused_from) == (12, 0, None)
    assert (second.counts.found, second.counts.computed, second.counts.reused) == (12, 2, 10)
    assert second.reused_from == first.run_id
    assert second.reused == {first.run_id: 10}
    before, after = _features(results, first), _features(results, second)
    assert set(before.index) - set(after.index) == {"Pear/0.jpg"}
    assert set(after.index) - set(before.index) == {"Kiwi/new.png"}
    kept = sorted(set(before.index) & set(after.index) - {"Pear/2.jpg"})
    np.testing.assert_array_equal(_vectors(before.loc[kept, "features"]), _vectors(after.loc[kept, "features"]))
    changed = [_vectors(table.loc[["Pear/2.jpg"], "features"]) for table in (before, after)]
    assert not np.allclose(changed[0], changed[1])


def test_a_run_without_new_photos_gives_the_same_result(run_job: Run, results: Path) -> None:
    first, second = run_job(), run_job()
    assert (second.counts.computed, second.counts.reused) == (0, 12)
    for table in ("features", "pca"):
        one, other = (
            pd.read_parquet(results / "runs" / made.run_id / table).sort_values("path", ignore_index=True)
            for made in (first, second)
        )
        column = "features" if table == "features" else "pca"
        assert list(one["path"]) == list(other["path"])
        np.testing.assert_allclose(_vectors(one[column]), _vectors(other[column]), rtol=1e-4, atol=1e-5)


def test_other_weights_or_recompute_reuse_nothing(run_job: Run, model: CompiledNetwork, tmp_path: Path) -> None:
    run_job()
    assert run_job(recompute=True).counts.reused == 0
    other = tmp_path / "other.zip"
    other.write_bytes(dataclasses.replace(model, payload=model.payload + b"\0").to_bytes())
    made = run_job(weights=str(other))
    assert (made.counts.computed, made.reused_from) == (12, None)


def test_photos_of_a_damaged_file_are_computed_again(run_job: Run, photos: Path, tmp_path: Path) -> None:
    """The output is below folders that are named like those of a run, which must not confuse the reuse."""
    output = tmp_path / "runs" / "mine" / "features"
    run_job(output=str(output), run_id="first")
    _write(photos / "Kiwi" / "new.jpg", seed=100)
    run_job(output=str(output), run_id="second")
    (file,) = (output / "runs" / "second" / "features").glob("part-*")
    file.write_bytes(file.read_bytes()[:-100])
    log = io.StringIO()
    third = run_job(log, output=str(output))
    assert (third.counts.computed, third.reused) == (1, {"second": 12})
    assert _features(output, third).index.is_unique
    (line,) = [line for line in log.getvalue().splitlines() if "part-" in line]
    assert line.startswith(f"The photos in {file} are computed again, because it cannot be read (")


def test_rows_of_another_schema_are_not_reused(run_job: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run_job()
    monkeypatch.setattr(tables, "FEATURES_SCHEMA_VERSION", 2)
    second = run_job()
    assert (second.counts.computed, second.counts.reused, second.reused_from) == (12, 0, None)
    assert run_job().counts.reused == 12


def _kill(results: Path, run_id: str) -> None:
    """Leave a run as it is if its driver dies before it publishes."""
    (results / "runs" / run_id / runs.MANIFEST).unlink()
    (results / runs.LATEST).unlink()


def test_a_run_takes_over_what_a_dead_run_computed(run_job: Run, photos: Path, results: Path) -> None:
    run_job(run_id="dead")
    _kill(results, "dead")
    (photos / "Pear" / "0.jpg").unlink()
    _write(photos / "Kiwi" / "new.jpg", seed=100)
    made = run_job()
    assert (made.counts.found, made.counts.computed, made.counts.reused) == (12, 1, 11)
    assert made.reused == {"dead": 11}
    assert "Pear/0.jpg" not in _features(results, made).index
    assert run_job().reused == {made.run_id: 12}


def test_a_photo_that_a_published_and_a_dead_run_have_counts_once(run_job: Run, photos: Path, results: Path) -> None:
    first = run_job(run_id="1-published")
    pointer = (results / runs.LATEST).read_bytes()
    _write(photos / "Kiwi" / "new.jpg", seed=100)
    run_job(run_id="2-dead")
    _kill(results, "2-dead")
    (results / runs.LATEST).write_bytes(pointer)
    assert runs.latest(open_store(str(results))) == first
    made = run_job()
    assert (made.counts.computed, made.reused) == (0, {"1-published": 12, "2-dead": 1})
    assert _features(results, made).index.is_unique


def test_a_dead_run_of_another_model_or_schema_is_not_taken_over(
    run_job: Run, results: Path, monkeypatch: pytest.MonkeyPatch, model: CompiledNetwork, tmp_path: Path
) -> None:
    run_job(run_id="dead")
    _kill(results, "dead")
    other = tmp_path / "other.zip"
    other.write_bytes(dataclasses.replace(model, payload=model.payload + b"\0").to_bytes())
    assert run_job(weights=str(other)).counts.reused == 0
    monkeypatch.setattr(tables, "FEATURES_SCHEMA_VERSION", 2)
    assert run_job().counts.reused == 0


def test_a_run_that_died_before_it_wrote_a_table_is_no_obstacle(run_job: Run, results: Path) -> None:
    run_job(run_id="dead")
    _kill(results, "dead")
    shutil.rmtree(results / "runs" / "dead" / runs.FEATURES)
    assert run_job().counts.computed == 12


@pytest.mark.parametrize("marker", [b'{"run_id": "first"}', b"damaged", None])
def test_a_run_whose_marker_does_not_name_its_model_is_not_reused(
    run_job: Run, results: Path, marker: bytes | None
) -> None:
    run_job(run_id="first")
    file = results / "runs" / "first" / runs.STARTED
    file.unlink() if marker is None else file.write_bytes(marker)
    assert run_job().counts.reused == 0


def test_a_run_that_loses_photos_is_not_published(
    run_job: Run, photos: Path, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run_job()
    for number in range(4):
        _write(photos / "Kiwi" / f"{number}.jpg", seed=100 + number)
    monkeypatch.setattr(reuse, "copy", lambda *_: None)
    with pytest.raises(RunError, match=r"does not account for every image .*found=16, computed=4, reused=0"):
        run_job(components=0.9)
    assert runs.latest(open_store(str(results))) == first


def test_rejected_images_are_kept_with_their_reasons(run_job: Run, photos: Path, results: Path) -> None:
    (photos / "Pear" / "half.jpg").write_bytes((photos / "Pear" / "0.jpg").read_bytes()[:700])
    (photos / "empty.png").touch()
    made = run_job(max_rejected=0.2)
    assert (made.counts.found, made.counts.computed, made.counts.rejected) == (14, 12, 2)
    assert made.rejected == {"empty": 1, "truncated": 1}
    table = pd.read_parquet(results / "runs" / made.run_id / "rejected").sort_values("path")
    assert list(table.columns) == ["path", "label", "size", "reason", "detail"]
    assert list(table["path"]) == ["Pear/half.jpg", "empty.png"]
    assert list(table["label"]) == ["Pear", None]


def test_too_many_rejected_images_fail_the_run_and_can_be_read(run_job: Run, photos: Path, results: Path) -> None:
    good = run_job()
    for number in range(3):
        (photos / f"{number}.jpg").write_bytes(b"not a photo")
    with pytest.raises(RunError, match="3 of 15 images were rejected") as caught:
        run_job(run_id="bad", max_rejected=0.19)
    assert "\n" not in str(caught.value)
    assert len(pd.read_parquet(results / "runs" / "bad" / "rejected")) == 3
    assert not (results / "runs" / "bad" / "manifest.json").exists()
    assert RunFolder(open_store(str(results)), "bad").failure == str(caught.value)
    assert runs.latest(open_store(str(results))) == good
    assert run_job(max_rejected=0.2).counts.reused == 12


def test_a_run_id_can_be_used_once(run_job: Run, results: Path) -> None:
    """The second run leaves the folder of the first one as it is. It does not even mark it as failed."""
    first = run_job(run_id="mine")
    before = {file: file.read_bytes() for file in results.rglob("*") if file.is_file()}
    with pytest.raises(UserError, match="The run mine exists already"):
        run_job(run_id="mine", recompute=True)
    assert {file: file.read_bytes() for file in results.rglob("*") if file.is_file()} == before
    assert runs.latest(open_store(str(results))) == first


def test_more_components_than_images_are_refused_before_anything_is_computed(run_job: Run, results: Path) -> None:
    with pytest.raises(UserError, match="13 components are more than 12 images"):
        run_job(components=13)
    (run,) = results.glob("runs/*")
    assert not {"features", "manifest.json"} & {path.name for path in run.iterdir()}


def test_photos_are_read_from_a_bucket(run_job: Run, photos: Path, s3: str) -> None:
    store = open_store(f"{s3}/in")
    for file in photos.rglob("*.jpg"):
        store.write(str(file.relative_to(photos)), file.read_bytes())
    made = run_job(input=f"{s3}/in")
    assert made.counts.computed == 12
    assert run_job(input=f"{s3}/in").counts.reused == 12
    assert set(made.labels) == {"Apple", "Pear"}


def test_touched_photos_are_computed_again(run_job: Run, photos: Path) -> None:
    run_job()
    os.utime(photos / "Pear" / "4.jpg", (1, 1))
    assert run_job().counts.computed == 1
