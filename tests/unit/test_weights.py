import hashlib
import io
import json
import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from spark_job.errors import UserError
from spark_job.network import MOBILENET_V2, weights
from spark_job.network.model import CompiledNetwork, build, extractor
from spark_job.settings import Engine


def test_random_weights_are_equal_on_every_machine_and_marked_as_meaningless(
    model: CompiledNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert weights.load("random", "litert") == model
    assert model.record.meaningless
    images = np.random.default_rng(0).integers(0, 256, (3, 224, 224, 3), np.uint8)
    assert 0.01 < extractor(model)(list(images)).std() < 100


def test_weights_are_compiled_once_per_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = weights.load("random", "tensorflow")
    code = """
import sys
sys.modules["tensorflow"] = sys.modules["keras"] = None
from spark_job.network import weights
print(weights.load("random", "tensorflow").digest)
"""
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == first.digest
    [file] = tmp_path.glob("*/*.model")
    file.write_bytes(file.read_bytes()[:1000])
    assert weights.load("random", "tensorflow") == first


def test_the_official_weights_are_read_from_the_cache_of_keras(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, real_weights: Path
) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5").write_bytes(
        real_weights.read_bytes()
    )
    ours = weights.load("imagenet", "litert")
    assert ours.weights == "imagenet"
    assert ours.digest == weights.load(str(real_weights), "litert").digest


def test_weights_of_keras_2_and_keras_3_give_the_same_model(tmp_path: Path, real_weights: Path) -> None:
    keras_model = build(MOBILENET_V2)
    keras_model.load_weights(real_weights)
    keras_model.save_weights(tmp_path / "tuned.weights.h5")
    saved = weights.load(str(tmp_path / "tuned.weights.h5"), "tensorflow")
    assert saved.payload == weights.load(str(real_weights), "tensorflow").payload


@pytest.mark.parametrize(
    ("layer", "array", "value", "sentence"),
    [
        ("Conv_1_bn", 1, np.nan, r"NaN or infinite values in Conv_1_bn/beta"),
        ("block_3_depthwise", 0, np.inf, r"NaN or infinite values in block_3_depthwise/"),
        ("Conv_1_bn", 3, -1.0, r"give NaN or infinite features"),
    ],
)
def test_weights_that_give_no_numbers_are_refused_by_name(
    tmp_path: Path, layer: str, array: int, value: float, sentence: str
) -> None:
    keras_model = build(MOBILENET_V2)
    chosen = keras_model.get_layer(layer)
    arrays = chosen.get_weights()
    arrays[array].flat[7] = value
    chosen.set_weights(arrays)
    keras_model.save_weights(tmp_path / "diverged.weights.h5")
    with pytest.raises(UserError, match=sentence):
        weights.load(str(tmp_path / "diverged.weights.h5"), "litert")


def test_unusable_weights_are_refused_in_one_sentence(tmp_path: Path, model_file: str) -> None:
    import keras

    text, other = tmp_path / "notes.h5", tmp_path / "other.weights.h5"
    text.write_text("not weights")
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save_weights(other)
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
        archive.writestr("x", "y")
    cases: list[tuple[str, Engine, str]] = [
        (str(tmp_path / "none.h5"), "litert", "cannot be read"),
        (str(text), "litert", "not a readable Keras .h5 file"),
        (str(other), "litert", "do not have the shapes"),
        (str(tmp_path / "archive.zip"), "litert", "neither a Keras .h5 file nor a MobileNetV2 model"),
        (model_file, "tensorflow", "compiled for litert"),
    ]
    for given, engine, sentence in cases:
        with pytest.raises(UserError, match=sentence) as caught:
            weights.load(given, engine)
        assert given in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("bomb", ["the payload is compressed", "an array is compressed", "files overlap", "encrypted"])
def test_a_model_is_no_bomb(tmp_path: Path, bomb: str) -> None:
    tracemalloc.start()
    (tmp_path / "model.zip").write_bytes(_bomb(bomb))
    tracemalloc.clear_traces()
    with pytest.raises(UserError, match=r"neither a Keras \.h5 file nor a MobileNetV2 model"):
        weights.load(str(tmp_path / "model.zip"), "tensorflow")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**22


def _bomb(kind: str) -> bytes:
    """Return a model that is small as a file but would take 64 MiB or more in memory."""
    about = json.dumps({"engine": "tensorflow", "weights": "w", "weights_sha256": "0"})
    zeros, payload, out = bytes(2**26), io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(payload, "w", zipfile.ZIP_DEFLATED) as arrays:
        arrays.writestr("arr_0.npy", zeros)
    compression = zipfile.ZIP_DEFLATED if kind == "the payload is compressed" else zipfile.ZIP_STORED
    with zipfile.ZipFile(out, "w", compression) as archive:
        archive.writestr("about.json", about)
        archive.writestr("payload", zeros if kind == "the payload is compressed" else payload.getvalue())
        if kind == "files overlap":
            archive.filelist += archive.filelist[1:] * 1000
        if kind == "encrypted":
            archive.filelist[1].flag_bits |= 1
    return out.getvalue()


def test_weights_can_be_pinned_by_their_digest(model_file: str) -> None:
    digest = hashlib.sha256(Path(model_file).read_bytes()).hexdigest()
    assert weights.load(f"{model_file}#sha256={digest}", "litert") == weights.load(model_file, "litert")
    with pytest.raises(UserError, match=f"their SHA-256 is {digest}, not 0"):
        weights.load(f"{model_file}#sha256={'0' * 64}", "litert")
