"""A second network, made with the recipe in CONTRIBUTING: it is tiny, and its input and output sizes differ."""

import dataclasses
import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import SparkSession
from rich.console import Console

from spark_job import runs, similar
from spark_job.demo import draw
from spark_job.errors import UserError
from spark_job.network import MOBILENET_V2, Network, OfficialWeights, weights
from spark_job.network.model import build, extractor
from spark_job.plan import open_input
from spark_job.progress import Stages
from spark_job.run import run
from spark_job.settings import Engine, Settings
from spark_job.storage import open_store


def _build(keras: Any, side: int) -> Any:
    layers = [
        keras.Input((side, side, 3)),
        keras.layers.Conv2D(6, 3, strides=2, activation="relu"),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(5),
    ]
    return keras.Sequential(layers)


def _to_unit(pixels: Any) -> Any:
    return pixels / 255.0


TINY = Network(
    name="Tiny",
    side=32,
    feature_count=5,
    build=_build,
    scale=_to_unit,
    scaling="x / 255",
    official_weights=OfficialWeights("tiny.h5", "https://example.invalid/"),
)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    draw(tmp_path / "photos", photos_per_label=2)
    return tmp_path / "photos"


def _run(photos: Path, results: Path, network: Network, **changes: Any) -> Any:
    settings = Settings(str(photos), str(results), weights="random", components=0.9, max_rejected=0.1)
    return run(
        dataclasses.replace(settings, **changes),
        open_input(settings.input),
        Stages(Console(file=io.StringIO())),
        network,
    )


def test_a_network_of_another_size_works_in_a_run(
    spark: SparkSession,  # noqa: ARG001 - starts Spark
    photos: Path,
    tmp_path: Path,
) -> None:
    results = tmp_path / "results"
    made = _run(photos, results, TINY)
    assert made.counts.computed == 37
    assert made.model.preprocessing == TINY.preprocessing
    assert made.model.preprocessing.endswith("to 32x32, x / 255")
    features = pd.read_parquet(results / "runs" / made.run_id / "features")["features"]
    assert {len(row) for row in features} == {5}
    found = similar.search(str(photos / "Kiwi" / "00.jpg"), str(results), network=TINY)
    assert found.neighbours[0].path == "Kiwi/00.jpg"
    with pytest.raises(UserError, match="prepared photos differently"):
        similar.search(str(photos / "Kiwi" / "00.jpg"), str(results))
    with pytest.raises(UserError, match="6 components are more than 39 photos of 5 features"):
        _run(photos, results, TINY, components=6)
    assert runs.latest(open_store(str(results))) is not None


def test_the_input_size_and_the_engine_are_in_the_digest_of_a_model() -> None:
    """So a run reuses no features of another network or engine."""
    model = weights.load("random", "litert", TINY)
    others = (
        weights.load("random", "litert", dataclasses.replace(TINY, side=48)),
        weights.load("random", "tensorflow", TINY),
    )
    assert model.digest not in {other.digest for other in others}


@pytest.mark.parametrize("engine", ["litert", "tensorflow"])
def test_the_engines_of_another_network_agree(engine: Engine) -> None:
    model = weights.load("random", engine, TINY)
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    keras_model = build(TINY)
    keras_model.set_weights(weights._random(keras_model.get_weights()))
    expected = keras_model.predict(images / np.float32(255), verbose=0)
    np.testing.assert_allclose(extractor(model)(list(images)), expected, atol=1e-4)


def test_a_model_file_of_another_network_is_refused(tmp_path: Path) -> None:
    model = weights.load("random", "litert", TINY)
    (tmp_path / "tiny.model").write_bytes(model.to_bytes())
    assert weights.load(str(tmp_path / "tiny.model"), "litert", TINY) == model
    with pytest.raises(UserError, match=f"nor a {MOBILENET_V2.name} model"):
        weights.load(str(tmp_path / "tiny.model"), "litert")
