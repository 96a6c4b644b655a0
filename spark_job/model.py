"""MobileNetV2 without its classification layer: from weights to what is broadcast, and from that to features.

The driver loads the TensorFlow weights once and makes a :class:`Model` of them, which Spark broadcasts. A worker
turns it into an :class:`Extractor` with nothing but these bytes: no network, no disk, and for LiteRT no TensorFlow.
"""

import contextlib
import functools
import hashlib
import io
import json
import os
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from spark_job.errors import UserError
from spark_job.images import PREPROCESSING, SIDE
from spark_job.manifest import ModelRecord
from spark_job.settings import Engine
from spark_job.store import open_store

FEATURES = 1280
"""Features an image: the width of MobileNetV2 1.0 after its global average pooling."""


class WeightsUnavailableError(UserError):
    """The official weights cannot be downloaded; those given by name or path can be tried."""


_RANDOM_SEED = 20261122
_DOWNLOAD_SECONDS = 20.0


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


class Extractor(Protocol):
    """Runs the network on one core."""

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the features, shape (n, 1280), of images of shape (n, 224, 224, 3)."""


def load(weights: str, engine: Engine) -> Model:
    """Return the model for some weights.

    Parameters
    ----------
    weights
        ``imagenet``, ``random``, the path or URI of a Keras weights file (``.h5``), or of a file that
        :meth:`Model.to_bytes` made, which needs no TensorFlow.
    engine
        What will run it.

    Raises
    ------
    UserError
        If the weights cannot be had, read, or do not fit the network or the engine.
    """
    if weights in ("imagenet", "random"):
        return _compile(weights, engine, _official() if weights == "imagenet" else None)
    folder, _, name = weights.replace(os.sep, "/").rpartition("/")
    try:
        data = open_store(folder or ("/" if weights.startswith("/") else ".")).read(name).data
    except OSError as error:
        raise UserError(f"The weights {weights} cannot be read: {error}.") from error
    if not zipfile.is_zipfile(io.BytesIO(data)):
        return _compile(weights, engine, data)
    model = _from_bytes(weights, data)
    if model.engine != engine:
        raise UserError(f"The model {weights} was compiled for {model.engine}; run it with --engine {model.engine}.")
    return model


def _from_bytes(weights: str, data: bytes) -> Model:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return Model(**json.loads(archive.read("about.json")), payload=archive.read("payload"))
    except (zipfile.BadZipFile, KeyError, ValueError, TypeError) as error:
        raise UserError(
            f"The weights {weights} are neither a Keras .h5 file nor a model made by 'spark_job compile'."
        ) from error


# ---- The driver's side: TensorFlow builds the network ---------------------------------------------------------------


def _compile(weights: str, engine: Engine, h5: bytes | None) -> Model:
    network = _network()
    if h5 is None:
        network.set_weights(_random(network.get_weights()))
    else:
        _load_h5(network, weights, h5)
    arrays = network.get_weights()
    digest = hashlib.sha256(h5 if h5 is not None else b"".join(array.tobytes() for array in arrays)).hexdigest()
    payload = _flatbuffer(network) if engine == "litert" else _npz(arrays)
    return Model(engine, weights, digest, payload)


def _network() -> Any:
    """Return MobileNetV2 up to its average pooling, (n, 224, 224, 3) -> (n, 1280), with no weights of use yet."""
    keras = _tensorflow().keras
    keras.utils.clear_session()  # layers are named by number: a second network would differ in its names
    return keras.applications.MobileNetV2(input_shape=(SIDE, SIDE, 3), include_top=False, pooling="avg", weights=None)


def _random(arrays: list[NDArray[Any]]) -> list[NDArray[Any]]:
    """Return seeded kernels of He's scale (arXiv:1502.01852) and leave the rest: Keras's own die out on the way up."""
    rng = np.random.default_rng(_RANDOM_SEED)
    return [
        rng.normal(0, np.sqrt(2 / _fan_in(array)), array.shape).astype(np.float32) if array.ndim == 4 else array
        for array in arrays
    ]


def _fan_in(kernel: NDArray[Any]) -> int:
    """Return how many inputs one output of a kernel sums: depthwise kernels, (h, w, channels, 1), sum one channel."""
    height, width, channels, out = kernel.shape
    return int(height * width * (1 if out == 1 else channels))


def _tensorflow() -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    with _quiet():
        import tensorflow as tf
    return tf


def _official() -> bytes:
    """Return Keras's official ImageNet file, downloaded once to Keras's own cache."""
    import socket

    keras = _tensorflow().keras
    name = f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_{SIDE}_no_top.h5"
    origin = f"https://storage.googleapis.com/tensorflow/keras-applications/mobilenet_v2/{name}"
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_DOWNLOAD_SECONDS)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            return Path(keras.utils.get_file(name, origin, cache_subdir="models")).read_bytes()
    except Exception as error:
        reason = str(error).rpartition("--")[2].strip() or type(error).__name__
        raise WeightsUnavailableError(
            f"Keras's ImageNet weights cannot be downloaded ({reason}); "
            "give --weights the path of a MobileNetV2 .h5 file, or random to try the job out."
        ) from error
    finally:
        socket.setdefaulttimeout(before)


def _load_h5(network: Any, weights: str, h5: bytes) -> None:
    with tempfile.NamedTemporaryFile(suffix=".h5") as file:
        file.write(h5)
        file.flush()
        try:
            network.load_weights(file.name)
        except ValueError as error:
            raise UserError(
                f"The weights {weights} are of another shape than MobileNetV2 1.0 without its last layer."
            ) from error
        except Exception as error:
            raise UserError(f"The weights {weights} are not a readable Keras .h5 file.") from error


def _flatbuffer(network: Any) -> bytes:
    """Compile the network and the scaling of its pixels for LiteRT: uint8 (1, 224, 224, 3) -> float32 (1, 1280)."""
    tf = _tensorflow()
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    function = tf.function(functools.partial(_scaled, tf, network))
    graph = function.get_concrete_function(tf.TensorSpec((1, SIDE, SIDE, 3), tf.uint8))
    with _quiet():
        converter = tf.lite.TFLiteConverter.from_concrete_functions([convert_variables_to_constants_v2(graph)])
        return bytes(converter.convert())


def _scaled(tf: Any, network: Any, pixels: Any) -> Any:
    return network(tf.cast(pixels, tf.float32) / 127.5 - 1.0, training=False)


def _npz(arrays: list[NDArray[Any]]) -> bytes:
    out = io.BytesIO()
    np.savez(out, *arrays)
    return out.getvalue()


# ---- The worker's side ----------------------------------------------------------------------------------------------

_extractors: dict[str, Extractor] = {}


def extractor(model: Model) -> Extractor:
    """Return the network ready to run, kept for the life of this process: building it costs half a second or more."""
    if model.digest not in _extractors:
        _extractors.clear()
        _extractors[model.digest] = _litert(model.payload) if model.engine == "litert" else _keras(model.payload)
    return _extractors[model.digest]


def _litert(payload: bytes) -> Extractor:
    from ai_edge_litert.interpreter import Interpreter

    with _quiet():
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
    tf = _tensorflow()
    with contextlib.suppress(RuntimeError):  # too late to set where TensorFlow has run already
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    network = _network()
    with np.load(io.BytesIO(payload), allow_pickle=False) as arrays:
        network.set_weights([arrays[name] for name in arrays.files])
    function = tf.function(
        functools.partial(_scaled, tf, network), input_signature=[tf.TensorSpec((None, SIDE, SIDE, 3), tf.uint8)]
    )

    def extract(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.asarray(function(images))

    return extract


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hold back what C++ libraries write to standard error while they load: nothing a person could act on."""
    saved = os.dup(2)
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
