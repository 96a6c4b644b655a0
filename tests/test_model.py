import io
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from spark_job import model
from spark_job.errors import UserError
from spark_job.images import decode
from spark_job.model import FEATURES, Model


def test_the_engines_agree_on_real_photos(real_photos: Path, real_weights: Path) -> None:
    photos = sorted(real_photos.glob("Test/*/*.jpg"))[::7]
    pixels = np.stack([decode(photo.read_bytes()) for photo in photos])
    fast = model.extractor(model.load(str(real_weights), "litert"))(pixels)
    reference = model.extractor(model.load(str(real_weights), "tensorflow"))(pixels)
    norms = np.linalg.norm(fast, axis=1) * np.linalg.norm(reference, axis=1)
    assert ((fast * reference).sum(axis=1) / norms).min() >= 0.99999
    assert np.abs(fast - reference).max() <= 1e-4
    assert fast.shape == (len(photos), FEATURES)
    assert (fast.std(axis=0) > 0).mean() > 0.9


def test_the_tensorflow_engine_is_the_network_of_keras(real_photos: Path, real_weights: Path) -> None:
    import keras

    photos = sorted(real_photos.glob("Test/*/*.jpg"))[::150]
    pixels = np.stack([decode(photo.read_bytes()) for photo in photos])
    network = keras.applications.MobileNetV2(include_top=False, pooling="avg", weights=None)
    network.load_weights(real_weights)
    expected = network.predict(keras.applications.mobilenet_v2.preprocess_input(pixels.astype(np.float32)), verbose=0)
    np.testing.assert_allclose(
        model.extractor(model.load(str(real_weights), "tensorflow"))(pixels), expected, atol=1e-4
    )


def test_random_weights_are_the_same_each_time_and_say_so(network: Model) -> None:
    again = model.load("random", "litert")
    assert again == network
    assert again.digest == network.digest
    assert network.record.meaningless
    images = np.random.default_rng(0).integers(0, 256, (3, 224, 224, 3), np.uint8)
    features = model.extractor(network)(images)
    assert 0.01 < features.std() < 100
    np.testing.assert_array_equal(features, model.extractor(again)(images))


def test_a_model_survives_its_file(network: Model, network_file: str) -> None:
    assert model.load(network_file, "litert") == network
    assert network.to_bytes() == network.to_bytes()


def test_a_compiled_model_needs_no_tensorflow(network_file: str) -> None:
    code = f"""
import sys
sys.modules["tensorflow"] = sys.modules["keras"] = None
import numpy as np
from spark_job import model
extract = model.extractor(model.load({network_file!r}, "litert"))
print(extract(np.zeros((2, 224, 224, 3), np.uint8)).shape)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"(2, {FEATURES})"
    assert not done.stderr


def test_a_digest_tells_engines_apart(network: Model) -> None:
    other = Model("tensorflow", network.weights, network.weights_sha256, network.payload)
    assert other.digest != network.digest


def test_unusable_weights_are_refused_in_one_sentence(tmp_path: Path, network_file: str) -> None:
    import keras

    text, other = tmp_path / "notes.h5", tmp_path / "other.weights.h5"
    text.write_text("not weights")
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save_weights(other)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("x", "y")
    (tmp_path / "archive.zip").write_bytes(archive.getvalue())
    for weights, engine, sentence in [
        (str(tmp_path / "none.h5"), "litert", "cannot be read"),
        (str(text), "litert", "not a readable Keras .h5 file"),
        (str(other), "litert", "another shape"),
        (str(tmp_path / "archive.zip"), "litert", "neither a Keras .h5 file nor a model"),
        (network_file, "tensorflow", "compiled for litert"),
    ]:
        with pytest.raises(UserError, match=sentence) as caught:
            model.load(weights, engine)  # type: ignore[arg-type]
        assert weights in str(caught.value)
        assert "\n" not in str(caught.value)
