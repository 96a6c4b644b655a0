"""One run on 1,320 real photos with ImageNet's weights: its tables, its accuracy, and a search in it."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from pyspark.ml import PipelineModel
from pyspark.ml.functions import array_to_vector
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from rich.console import Console

from spark_job import similar
from spark_job.manifest import Manifest
from spark_job.network import weights
from spark_job.plan import open_input
from spark_job.progress import Stages
from spark_job.run import run
from spark_job.settings import Settings
from spark_job.storage import open_store
from spark_job.tables import FEATURES_SCHEMA
from tests import outcomes

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("results")


@pytest.fixture(scope="module")
def made(spark: SparkSession, real_photos: Path, real_weights: Path, results: Path) -> Manifest:  # noqa: ARG001 - starts Spark
    settings = Settings(str(real_photos / "Training"), str(results), weights=str(real_weights), components=100)
    return run(settings, open_input(settings.input), Stages(Console(file=io.StringIO())))


def test_every_photo_is_in_tables_that_any_reader_reads(
    spark: SparkSession, made: Manifest, results: Path, real_photos: Path
) -> None:
    assert (made.counts.found, made.counts.computed, made.counts.rejected) == (1320, 1320, 0)
    assert (len(made.labels), set(made.labels.values())) == (33, {40})
    folder = results / "runs" / made.run_id
    by_pandas = pd.read_parquet(folder / "features")
    by_arrow = pq.read_table(folder / "pca")
    by_spark = spark.read.parquet(str(folder / "features"))
    assert list(by_pandas.columns) == FEATURES_SCHEMA.names
    assert by_arrow.column_names == ["path", "label", "pca"]
    assert len(by_pandas) == by_arrow.num_rows == by_spark.count() == 1320
    one = by_pandas.iloc[0]
    file = (real_photos / "Training" / one["path"]).stat()
    assert one["size"] == file.st_size
    assert one["modified"].timestamp() == pytest.approx(file.st_mtime, abs=1e-5)
    assert {len(row) for row in by_pandas["features"]} == {1280}
    assert {len(row) for row in by_arrow["pca"].to_pylist()} == {100}
    assert "Apple Golden 1" in (folder / "report.html").read_text()


def test_the_accuracy_on_the_photos_of_the_run(made: Manifest) -> None:
    assert made.pca.components == 100
    assert 0.8 < made.pca.variance_kept < 0.95
    assert made.pca.one_nn_accuracy_components is not None
    assert made.pca.one_nn_accuracy_components > 0.95


def test_the_accuracy_of_the_saved_model_on_held_out_photos(
    spark: SparkSession, made: Manifest, real_photos: Path, real_weights: Path, tmp_path: Path
) -> None:
    """A held-out photo counts if its label is that of the nearest photo of the run."""
    folder = Path(made.output) / "runs" / made.run_id
    model = weights.load(str(real_weights), "litert")
    unseen = outcomes.written(spark, open_store(str(real_photos / "Test")), model, tmp_path)
    pipeline = PipelineModel.load(str(folder / "model"))
    rows = pipeline.transform(unseen.withColumn("features", array_to_vector(F.col("features")))).collect()
    queries = np.array([row.pca.toArray() for row in rows])
    known = pd.read_parquet(folder / "pca")
    nearest = ((queries[:, None, :] - np.array(known["pca"].to_list())[None]) ** 2).sum(axis=2).argmin(axis=1)
    assert (known["label"].to_numpy()[nearest] == np.array([row.label for row in rows])).mean() >= 0.87


@pytest.mark.usefixtures("made")
def test_a_search_finds_the_variety_of_a_held_out_photo(results: Path, real_photos: Path) -> None:
    varieties = sorted(path.name for path in (real_photos / "Training").iterdir())[:12]
    photos = [min((real_photos / "Test" / variety).iterdir()) for variety in varieties]
    found = [similar.search(str(photo), str(results)).neighbours[0].label for photo in photos]
    assert sum(label == variety for label, variety in zip(found, varieties, strict=True)) >= 10
