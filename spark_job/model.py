"""MobileNetV2 without its classification layer, as it is broadcast, and as a worker runs it.

The driver makes a :class:`Model` (see :mod:`spark_job.weights`), which Spark broadcasts. A worker turns it into an
:class:`Extractor` with nothing but these bytes: no network, no disk, and for LiteRT no TensorFlow.
"""

import contextlib
import functools
import hashlib
import io
import json
import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from spark_job.images import PREPROCESSING, SIDE
from spark_job.manifest import ModelRecord
from spark_job.settings import Engine

FEATURES = 1280
"""Features an image: the width of MobileNetV2 1.0 after its global average pooling."""


@dataclass(frozen=True)
class Model:
    """What the driver broadcasts.

    ``payload`` is a compiled LiteRT model for ``litert``, or the arrays of ``model.get_weights()`` in numpy's ``npz``
    format for ``tensorflow``; ``weights`` and ``weights_sha256`` say which weights it was made from.
    """

    engine: Engine
    weights: str
    weights_sha256: str
    payload: bytes

    @functools.cached_property
    def digest(self) -> str:
        """Equal digests mean equal features for equal bytes: it covers payload, engine and preprocessing."""
        return hashlib.sha256(f"{self.engine}\n{PREPROCESSING}\n".encode() + self.payload).hexdigest()

    @property
    def record(self) -> ModelRecord:
        """What the manifest says of this model."""
        return ModelRecord(self.engine, self.weights, self.weights_sha256, self.digest, PREPROCESSING)

    def to_bytes(self) -> bytes:
        """Return the model as one file, the same bytes for the same model: a zip with what it is made of."""
        about = {"engine": self.engine, "weights": self.weights, "weights_sha256": self.weights_sha256}
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            for name, content in (("about.json", json.dumps(about).encode()), ("payload", self.payload)):
                archive.writestr(zipfile.ZipInfo(name), content)
        return out.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read what :meth:`to_bytes` wrote; ValueError where it is something else."""
        try:
            with _uncompressed(data) as archive:
                model = cls(**json.loads(archive.read("about.json")), payload=archive.read("payload"))
            if model.engine == "tensorflow":
                _uncompressed(model.payload).close()
        except (zipfile.BadZipFile, RuntimeError, KeyError, TypeError) as error:  # RuntimeError: it is encrypted
            raise ValueError("not a model made by 'spark_job compile'") from error
        return model


def _uncompressed(data: bytes) -> zipfile.ZipFile:
    """Open a zip; ValueError if its files are larger than itself: ours are not compressed, and a bomb's are."""
    archive = zipfile.ZipFile(io.BytesIO(data))
    if sum(file.file_size for file in archive.infolist()) > len(data):
        raise ValueError("a compressed zip is not a model")
    return archive


class Extractor(Protocol):
    """Runs the network on one core."""

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the features, shape (n, 1280), of images of shape (n, 224, 224, 3)."""


_extractors: dict[str, Extractor] = {}


def extractor(model: Model) -> Extractor:
    """Return the network ready to run, kept for the life of this process: building it costs half a second or more."""
    if model.digest not in _extractors:
        _extractors.clear()
        _extractors[model.digest] = _litert(model.payload) if model.engine == "litert" else _keras(model.payload)
    return _extractors[model.digest]


def _litert(payload: bytes) -> Extractor:
    from ai_edge_litert.interpreter import Interpreter

    with quiet():
        interpreter = Interpreter(model_content=payload, num_threads=1)
        interpreter.allocate_tensors()
    pixels = interpreter.get_input_details()[0]["index"]
    pooled = interpreter.get_output_details()[0]["index"]

    def extract(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        features = np.empty((len(images), FEATURES), np.float32)
        for row, image in enumerate(images):  # one at a time: the network stays in the core's cache
            interpreter.set_tensor(pixels, image[np.newaxis])
            interpreter.invoke()
            features[row] = interpreter.get_tensor(pooled)[0]
        return features

    return extract


def _keras(payload: bytes) -> Extractor:
    tf = tensorflow()
    with contextlib.suppress(RuntimeError):  # too late to set where TensorFlow has run already
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    network = mobilenet()
    with np.load(io.BytesIO(payload), allow_pickle=False) as arrays:
        network.set_weights([arrays[name] for name in arrays.files])
    function = of_pixels(network, None)

    def extract(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.asarray(function(images))

    return extract


def mobilenet() -> Any:
    """Return MobileNetV2 up to its average pooling, (n, 224, 224, 3) -> (n, 1280), with no weights of use yet."""
    keras = tensorflow().keras
    keras.utils.clear_session()  # layers are named by number: a second network would differ in its names
    return keras.applications.MobileNetV2(input_shape=(SIDE, SIDE, 3), include_top=False, pooling="avg", weights=None)


def of_pixels(network: Any, images: int | None) -> Any:
    """Return TensorFlow's function of uint8 (images, 224, 224, 3): they are scaled as MobileNetV2 wants them first."""
    tf = tensorflow()

    def scaled(pixels: Any) -> Any:
        return network(tf.cast(pixels, "float32") / 127.5 - 1.0, training=False)

    signature = [tf.TensorSpec((images, SIDE, SIDE, 3), tf.uint8)]
    return tf.function(scaled, input_signature=signature, autograph=False)  # there is no Python in it to convert


def tensorflow() -> Any:
    """Return the TensorFlow module, quiet and on the CPU; importing it takes seconds."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    with quiet():
        import tensorflow as tf
    return tf


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hold back what C++ libraries write to standard error while they load: nothing a person could act on."""
    saved = os.dup(2)
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
