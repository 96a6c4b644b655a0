"""The search finds the nearest photos of a run without Spark. Spark's own tools give the expected results."""

import dataclasses
import io
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pyspark.ml import PipelineModel
from pyspark.ml.functions import array_to_vector
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from rich.console import Console

from spark_job import pipeline, runs, similar
from spark_job.demo import draw
from spark_job.errors import UserError
from spark_job.manifest import Manifest
from spark_job.network.model import CompiledNetwork, extractor
from spark_job.plan import open_input
from spark_job.progress import Stages
from spark_job.run import run
from spark_job.settings import Settings
from spark_job.storage import open_store
from tests.example import WITHOUT_SPARK

ROOT = Path(__file__).parents[2]


@dataclasses.dataclass(frozen=True)
class Published:
    """A run on 32 drawn photos and two broken ones. Its features are standardised, to cover every stage of PCA."""

    photos: Path
    output: Path
    model_file: str
    manifest: Manifest

    @property
    def folder(self) -> Path:
        return self.output / "runs" / self.manifest.run_id


@pytest.fixture(scope="module")
def published(spark: SparkSession, model_file: str, tmp_path_factory: pytest.TempPathFactory) -> Published:  # noqa: ARG001 - starts Spark
    folder = tmp_path_factory.mktemp("similar")
    draw(folder / "photos", photos_per_label=2)
    settings = Settings(
        str(folder / "photos"),
        str(folder / "out"),
        weights=model_file,
        components=6,
        standardize=True,
        max_rejected=0.1,
    )
    made = run(settings, open_input(settings.input), Stages(Console(file=io.StringIO())))
    return Published(folder / "photos", folder / "out", model_file, made)


def _search(published: Published, photo: str, k: int = 5) -> similar.Found:
    return similar.search(str(published.photos / photo), str(published.output), published.model_file, k)


def test_saved_components_project_as_spark_does(spark: SparkSession, published: Published) -> None:
    features = spark.read.parquet(str(published.folder / "features"))
    vectors = features.withColumn("features", array_to_vector(F.col("features")))
    rows = PipelineModel.load(str(published.folder / "model")).transform(vectors).collect()
    fitted = pipeline.load(open_store(str(published.folder)), "model")
    ours = fitted.project(np.array([row.features.toArray() for row in rows], np.float32))
    np.testing.assert_allclose(ours, [row.pca.toArray() for row in rows], rtol=1e-4, atol=1e-4)


def test_distances_match_the_table(published: Published, model: CompiledNetwork) -> None:
    found = _search(published, "Kiwi/01.jpg", k=100)
    table = pd.read_parquet(published.folder / "pca").set_index("path")
    pixels = similar.decode_photo(str(published.photos / "Kiwi/01.jpg"), 224)
    fitted = pipeline.load(open_store(str(published.folder)), "model")
    query = fitted.project(extractor(model)([pixels]))[0]
    expected = {path: np.linalg.norm(np.array(row.pca) - query) for path, row in table.iterrows()}
    assert {neighbour.path: neighbour.distance for neighbour in found.neighbours} == pytest.approx(expected, abs=1e-3)
    assert [neighbour.distance for neighbour in found.neighbours] == sorted(n.distance for n in found.neighbours)
    assert {neighbour.path: neighbour.label for neighbour in found.neighbours} == table["label"].to_dict()


def test_a_photo_of_the_run_is_nearest_to_itself(published: Published) -> None:
    for photo, label in (("Banana/00.jpg", "Banana"), ("Pear/01.jpg", "Pear")):
        nearest = _search(published, photo).neighbours[0]
        assert (nearest.path, nearest.label) == (photo, label)
        assert nearest.distance == pytest.approx(0, abs=1e-3)


def test_a_run_is_found_by_its_output_or_its_folder(published: Published, s3: str) -> None:
    by_output = runs.find(str(published.output))
    by_folder = runs.find(str(published.folder))
    assert by_output[1] == by_folder[1] == published.manifest
    assert by_output[0].uri == by_folder[0].uri
    bucket = open_store(f"{s3}/out")
    for file in published.output.rglob("*"):
        if file.is_file() and not file.name.startswith("."):
            bucket.write(str(file.relative_to(published.output)), file.read_bytes())
    photo = str(published.photos / "Kiwi/00.jpg")
    by_bucket = similar.search(photo, f"{s3}/out", published.model_file)
    assert by_bucket.neighbours == similar.search(photo, str(published.folder), published.model_file).neighbours


def test_the_vote_is_the_most_frequent_label_and_the_nearest_breaks_ties(published: Published) -> None:
    def vote(*labels: str | None) -> tuple[str, int]:
        neighbours = [similar.Neighbour("x.jpg", label, 1.0) for label in labels]
        return similar.Found("x", published.manifest, neighbours).vote

    assert vote("Apple", "Pear", "Pear") == ("Pear", 2)
    assert vote("Apple", "Pear") == ("Apple", 1)
    assert vote(None) == ("(no label)", 1)


def test_the_page_contains_its_photos_and_loads_nothing(published: Published, tmp_path: Path) -> None:
    moved = shutil.copytree(published.photos, tmp_path / "<b>photos")
    found = similar.search(str(moved / "Kiwi/00.jpg"), str(published.output), published.model_file, k=4)
    gone = dataclasses.replace(found, run=dataclasses.replace(found.run, input=str(moved)))
    (moved / found.neighbours[1].path).unlink()
    page = similar.page(gone)
    assert page.count('src="data:image/jpeg;base64,') == 4  # the photo itself and three of its four neighbours
    assert page.count("no longer there") == 1
    assert "&lt;b&gt;photos" in page
    assert "<b>photos" not in page
    assert "mean nothing about fruit" in page
    assert not re.search(r"""(src|href)=["'](?!data:)|url\(|@import|<script""", page)


@pytest.mark.parametrize(
    ("photo", "sentence"),
    [
        ("Banana/cut-short.jpg", "The photo .*cut-short.jpg cannot be used: truncated"),
        ("Lemon/shopping-list.jpg", "cannot be used: unsupported"),
        ("Lemon/none.jpg", "cannot be read: No such file"),
        ("Lemon", "The photo .*Lemon cannot be read"),
    ],
)
def test_an_unusable_photo_is_refused(published: Published, photo: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        _search(published, photo)


def test_other_mistakes_are_refused(published: Published, model: CompiledNetwork, tmp_path: Path) -> None:
    photo = str(published.photos / "Kiwi/00.jpg")
    with pytest.raises(UserError, match="k is 0"):
        _search(published, "Kiwi/00.jpg", k=0)
    with pytest.raises(UserError, match="There is no published run in"):
        similar.search(photo, str(published.photos))
    other = tmp_path / "other.zip"
    other.write_bytes(dataclasses.replace(model, payload=model.payload + b"\0").to_bytes())
    with pytest.raises(UserError, match=r"other.zip is not the one that made the run .* \(random on litert\)"):
        similar.search(photo, str(published.output), str(other))
    moved = dataclasses.replace(published.manifest.model, weights="gone/net.h5")
    (tmp_path / "manifest.json").write_text(dataclasses.replace(published.manifest, model=moved).to_json())
    with pytest.raises(UserError, match=r"the weights gone/net.h5, and they are not here .* with --weights"):
        similar.search(photo, str(tmp_path))
    older = dataclasses.replace(published.manifest.model, preprocessing="0: as it was")
    (tmp_path / "older").mkdir()
    (tmp_path / "older" / "manifest.json").write_text(dataclasses.replace(published.manifest, model=older).to_json())
    with pytest.raises(UserError, match=r"prepared photos differently \(0: as it was\)"):
        similar.search(photo, str(tmp_path / "older"))
    broken = shutil.copytree(published.folder, tmp_path / "broken")
    for file in (broken / "pca").glob("*.parquet"):
        file.write_bytes(b"PAR1")
    with pytest.raises(UserError, match="broken is not complete"):
        similar.search(photo, str(broken), published.model_file)


def test_the_command_prints_lines_or_json_without_spark(published: Published, tmp_path: Path) -> None:
    command = [*WITHOUT_SPARK, "similar", str(published.photos / "Kiwi/00.jpg")]
    command += ["--run", str(published.output), "--weights", published.model_file]
    lines = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert re.search(r"^nearest +\d\S+ +Kiwi +Kiwi/00.jpg$", lines.stdout, re.MULTILINE)
    assert "random: the distances mean nothing" in lines.stdout
    page = tmp_path / "page.html"
    command += ["--json", "--html", str(page), "--k", "3"]
    printed = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    assert printed["run"] == published.manifest.run_id
    assert [set(neighbour) for neighbour in printed["neighbours"]] == 3 * [{"path", "label", "distance"}]
    assert page.read_text().startswith("<!DOCTYPE html>")
