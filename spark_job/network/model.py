"""The compiled network: the driver broadcasts it, and each worker computes features with it.

The driver makes a :class:`CompiledNetwork` (see :mod:`spark_job.network.weights`). A worker turns it into an
:class:`Extractor` without any access to a disk or to the internet. With LiteRT it needs no TensorFlow either.
"""

import contextlib
import functools
import hashlib
import io
import json
import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from spark_job.log import redirected
from spark_job.manifest import ModelRecord
from spark_job.network import MOBILENET_V2, Network
from spark_job.settings import Engine


@dataclass(frozen=True)
class CompiledNetwork:
    """A network with its weights, in the form that one engine runs.

    Attributes
    ----------
    network
        The network that was compiled.
    engine
        The engine that runs ``payload``.
    weights, weights_sha256
        Where the weights came from, and the SHA-256 digest of their file.
    payload
        For ``litert``, a LiteRT model. For ``tensorflow``, the arrays of ``model.get_weights()`` in numpy's ``npz``
        format.
    """

    network: Network
    engine: Engine
    weights: str
    weights_sha256: str
    payload: bytes

    @functools.cached_property
    def digest(self) -> str:
        """A digest of payload, engine and preprocessing: if two are equal, equal photos have equal features."""
        return hashlib.sha256(f"{self.engine}\n{self.network.preprocessing}\n".encode() + self.payload).hexdigest()

    @property
    def record(self) -> ModelRecord:
        """What the manifest says about this model."""
        preprocessing = self.network.preprocessing
        return ModelRecord(self.engine, self.weights, self.weights_sha256, self.digest, preprocessing)

    def to_bytes(self) -> bytes:
        """Return the content of a model file. Equal models give equal bytes."""
        about = {
            "network": self.network.name,
            "engine": self.engine,
            "weights": self.weights,
            "weights_sha256": self.weights_sha256,
        }
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            for name, content in (("about.json", json.dumps(about).encode()), ("payload", self.payload)):
                archive.writestr(zipfile.ZipInfo(name), content)
        return out.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes, network: Network = MOBILENET_V2) -> Self:
        """Read what :meth:`to_bytes` wrote for a network; raise ValueError if the data is anything else."""
        try:
            with _uncompressed(data) as archive:
                about = json.loads(archive.read("about.json"))
                name = about.pop("network")
                model = cls(network, **about, payload=archive.read("payload"))
            if model.engine == "tensorflow":
                _uncompressed(model.payload).close()
        except (zipfile.BadZipFile, RuntimeError, KeyError, TypeError) as error:  # RuntimeError: it is encrypted
            raise ValueError("not a model made by 'fruits compile'") from error
        if name != network.name:
            raise ValueError(f"a model of {name}, not of {network.name}")
        return model


def _uncompressed(data: bytes) -> zipfile.ZipFile:
    """Open a zip archive; raise ValueError if its files are larger than itself, as those of a zip bomb are."""
    archive = zipfile.ZipFile(io.BytesIO(data))
    if sum(file.file_size for file in archive.infolist()) > len(data):
        raise ValueError("a compressed zip is not a model")
    return archive


class Extractor(Protocol):
    """Computes features on one core."""

    def __call__(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Return the features, shape (n, feature_count), of n images of shape (side, side, 3)."""


_extractors: dict[str, Extractor] = {}


def extractor(model: CompiledNetwork) -> Extractor:
    """Return the model's extractor. A process keeps the last one, because building it takes half a second or more."""
    if model.digest not in _extractors:
        _extractors.clear()
        _extractors[model.digest] = _litert(model) if model.engine == "litert" else _tensorflow(model)
    return _extractors[model.digest]


def _litert(model: CompiledNetwork) -> Extractor:
    from ai_edge_litert.interpreter import Interpreter

    with quiet():
        interpreter = Interpreter(model_content=model.payload, num_threads=1)
        interpreter.allocate_tensors()
    pixels = interpreter.get_input_details()[0]["index"]
    pooled = interpreter.get_output_details()[0]["index"]
    feature_count = model.network.feature_count

    def extract(images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        features = np.empty((len(images), feature_count), np.float32)
        for row, image in enumerate(images):  # one image at a time fits in the core's cache
            interpreter.set_tensor(pixels, image[np.newaxis])
            interpreter.invoke()
            features[row] = interpreter.get_tensor(pooled)[0]
        return features

    return extract


def _tensorflow(model: CompiledNetwork) -> Extractor:
    tf = tensorflow()
    with contextlib.suppress(RuntimeError):  # TensorFlow has started already and no longer accepts this setting
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    keras_model = build(model.network)
    with np.load(io.BytesIO(model.payload), allow_pickle=False) as arrays:
        keras_model.set_weights([arrays[name] for name in arrays.files])
    function = of_pixels(model.network, keras_model, None)

    def extract(images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        return np.asarray(function(np.stack(images)))

    return extract


def build(network: Network) -> Any:
    """Return a network as a Keras model; the values of its weights have no meaning yet."""
    keras = tensorflow().keras
    keras.utils.clear_session()  # Keras numbers layers: without this, the names of a second model would differ
    return network.build(keras, network.side)


def of_pixels(network: Network, keras_model: Any, images: int | None) -> Any:
    """Return a TensorFlow function that scales uint8 pixels (images, side, side, 3) and runs the Keras model."""
    tf = tensorflow()

    def scaled(pixels: Any) -> Any:
        return keras_model(network.scale(tf.cast(pixels, "float32")), training=False)

    signature = [tf.TensorSpec((images, network.side, network.side, 3), tf.uint8)]
    return tf.function(scaled, input_signature=signature, autograph=False)  # it has no Python control flow to convert


def tensorflow() -> Any:
    """Return the TensorFlow module, without its messages and without a GPU. The first import takes seconds."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    os.environ["KERAS_BACKEND"] = "tensorflow"
    with quiet():
        import tensorflow as tf
    # The user's keras.json may say otherwise.
    tf.keras.config.set_image_data_format("channels_last")
    tf.keras.config.set_floatx("float32")
    return tf


def quiet() -> contextlib.AbstractContextManager[None]:
    """Discard what C++ libraries write to standard error while they load; users cannot act on it."""
    return redirected(Path(os.devnull))
