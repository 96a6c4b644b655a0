"""From weights to the model that is broadcast: TensorFlow builds the network, once, on the driver's side."""

import contextlib
import hashlib
import io
import os
import socket
import tempfile
import zipfile
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spark_job.errors import UserError
from spark_job.images import PREPROCESSING, SIDE
from spark_job.model import Model, mobilenet, of_pixels, quiet, tensorflow
from spark_job.settings import Engine
from spark_job.store import open_store

_RANDOM_SEED = 20261122
_OFFICIAL = f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_{SIDE}_no_top.h5"
_ORIGIN = "https://storage.googleapis.com/tensorflow/keras-applications/mobilenet_v2/"
_DOWNLOAD_SECONDS = 20.0


class WeightsUnavailableError(UserError):
    """The official weights cannot be downloaded; others can be given by path, or random ones tried."""


def load(weights: str, engine: Engine) -> Model:
    """Return the model for some weights.

    Parameters
    ----------
    weights
        ``imagenet``, ``random``, the path or URI of a Keras weights file (``.h5``), or of a file that
        :meth:`Model.to_bytes` made, which needs no TensorFlow. Followed by ``#sha256=`` and the digest of the file, it
        is refused unless the file is that one.
    engine
        What will run it.

    Raises
    ------
    UserError
        If the weights cannot be had, read, or do not fit the network or the engine.
    """
    if weights in ("imagenet", "random"):
        return _compiled(weights, engine, _official() if weights == "imagenet" else None)
    weights, _, pinned = weights.partition("#sha256=")
    folder, _, name = weights.replace(os.sep, "/").rpartition("/")
    try:
        data = open_store(folder or ("/" if weights.startswith("/") else ".")).read(name).data
    except OSError as error:
        raise UserError(f"The weights {weights} cannot be read: {error}.") from error
    if pinned and (found := hashlib.sha256(data).hexdigest()) != pinned.lower():
        raise UserError(f"The weights {weights} are not those asked for: their SHA-256 is {found}, not {pinned}.")
    if not zipfile.is_zipfile(io.BytesIO(data)):
        return _compiled(weights, engine, data)
    model = _read_model(weights, data)
    if model.engine != engine:
        raise UserError(f"The model {weights} was compiled for {model.engine}; run it with --engine {model.engine}.")
    return model


def _read_model(weights: str, data: bytes) -> Model:
    try:
        return Model.from_bytes(data)
    except ValueError as error:
        raise UserError(
            f"The weights {weights} are neither a Keras .h5 file nor a model made by 'spark_job compile'."
        ) from error


def _compiled(weights: str, engine: Engine, h5: bytes | None) -> Model:
    """Return the model of an .h5 file, or of random weights, compiled once a machine."""
    cache = open_store(str(Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fruits"))
    made_of = (hashlib.sha256(h5 or b"").hexdigest(), _RANDOM_SEED, engine, PREPROCESSING, _tensorflow_version())
    name = f"{hashlib.sha256(repr(made_of).encode()).hexdigest()}.model"
    with contextlib.suppress(OSError, ValueError):
        return replace(Model.from_bytes(cache.read(name).data), weights=weights)
    model = _compile(weights, engine, h5)
    with contextlib.suppress(OSError):  # no home to write to: compile again next time
        cache.write(name, model.to_bytes())
    return model


def _tensorflow_version() -> str:
    """Return the version of TensorFlow, whichever of its builds is installed, without loading it."""
    for build in ("tensorflow", "tensorflow-cpu"):
        with contextlib.suppress(PackageNotFoundError):
            return version(build)
    raise UserError(
        "TensorFlow is not installed, and only a model made by 'spark_job compile' can do without; give its path."
    )


def _compile(weights: str, engine: Engine, h5: bytes | None) -> Model:
    network = mobilenet()
    if h5 is None:
        network.set_weights(_random(network.get_weights()))
    else:
        _load_h5(network, weights, h5)
    arrays = network.get_weights()
    digest = hashlib.sha256(h5 if h5 is not None else b"".join(array.tobytes() for array in arrays)).hexdigest()
    payload = _flatbuffer(network) if engine == "litert" else _npz(arrays)
    return Model(engine, weights, digest, payload)


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


def _official() -> bytes:
    """Return Keras's official ImageNet file, downloaded once to Keras's own cache."""
    cached = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "models" / _OFFICIAL
    if cached.exists():
        return cached.read_bytes()
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_DOWNLOAD_SECONDS)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            file = tensorflow().keras.utils.get_file(_OFFICIAL, _ORIGIN + _OFFICIAL, cache_subdir="models")
        return Path(file).read_bytes()
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
    tf = tensorflow()
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    graph = of_pixels(network, 1).get_concrete_function()
    with quiet():
        converter = tf.lite.TFLiteConverter.from_concrete_functions([convert_variables_to_constants_v2(graph)])
        return bytes(converter.convert())


def _npz(arrays: list[NDArray[Any]]) -> bytes:
    out = io.BytesIO()
    np.savez(out, *arrays)
    return out.getvalue()
