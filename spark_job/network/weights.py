"""Compiles a network from its weights. TensorFlow does this once, on the driver or where the stack is deployed."""

import contextlib
import hashlib
import io
import math
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
from spark_job.network import MOBILENET_V2, Network, OfficialWeights
from spark_job.network.model import CompiledNetwork, build, of_pixels, quiet, tensorflow
from spark_job.settings import Engine
from spark_job.storage import open_store

_SOURCES = Path(__file__).parent
_RANDOM_SEED = 20261122
_DOWNLOAD_SECONDS = 20.0


class WeightsUnavailableError(UserError):
    """The official weights cannot be downloaded."""


def load(weights: str, engine: Engine, network: Network = MOBILENET_V2) -> CompiledNetwork:
    """Return a network with the given weights, compiled for an engine.

    Parameters
    ----------
    weights
        ``imagenet``, ``random``, or the path or URI of a file: a Keras weights file (``.h5``), or a model made by
        ``fruits compile``, which needs no TensorFlow. A path may end in ``#sha256=`` and a digest; a file with another
        digest is refused.
    engine
        The engine that will run the model.
    network
        The network that the weights belong to.

    Raises
    ------
    UserError
        If the weights cannot be read, or do not fit the network or the engine.
    """
    if weights in ("imagenet", "random"):
        h5 = _official(network.official_weights) if weights == "imagenet" else None
        return _compiled(weights, engine, network, h5)
    weights, _, pinned = weights.partition("#sha256=")
    folder, _, name = weights.replace(os.sep, "/").rpartition("/")
    try:
        data = open_store(folder or ("/" if weights.startswith("/") else ".")).read(name).data
    except OSError as error:
        raise UserError(f"The weights {weights} cannot be read: {error}.") from error
    if pinned and (found := hashlib.sha256(data).hexdigest()) != pinned.lower():
        raise UserError(f"The weights {weights} are not the expected file: their SHA-256 is {found}, not {pinned}.")
    if not zipfile.is_zipfile(io.BytesIO(data)):
        return _compiled(weights, engine, network, data)
    model = _read_model(weights, data, network)
    if model.engine != engine:
        raise UserError(f"The model {weights} was compiled for {model.engine}; add --engine {model.engine}.")
    return model


def recipe(engine: Engine, weights: bytes) -> str:
    """Return a digest of everything that a compiled model depends on, for use as a cache key.

    It covers the engine, the weights, every module of this package (networks, decoding, compilation) and the version of
    TensorFlow. ``weights`` is the content of the weights file, or whatever else identifies it.
    """
    parts = [engine.encode(), weights, _tensorflow_version().encode()]
    parts += [content for file in sorted(_SOURCES.glob("*.py")) for content in (file.name.encode(), file.read_bytes())]
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


def _read_model(weights: str, data: bytes, network: Network) -> CompiledNetwork:
    try:
        return CompiledNetwork.from_bytes(data, network)
    except ValueError as error:
        raise UserError(
            f"The weights {weights} are neither a Keras .h5 file nor a {network.name} model made by 'fruits compile'."
        ) from error


def _compiled(weights: str, engine: Engine, network: Network, h5: bytes | None) -> CompiledNetwork:
    """Return the model for the content of an .h5 file, or for random weights; this machine caches it."""
    cache = open_store(str(Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fruits"))
    about = f"{network.name}, {network.feature_count} features, {network.preprocessing}"
    name = f"{recipe(engine, about.encode() + hashlib.sha256(h5 or b'').digest())}.model"
    with contextlib.suppress(OSError, ValueError):
        return replace(CompiledNetwork.from_bytes(cache.read(name).data, network), weights=weights)
    model = _compile(weights, engine, network, h5)
    with contextlib.suppress(OSError):  # the cache cannot be written: the next run compiles again
        cache.write(name, model.to_bytes())
    return model


def _tensorflow_version() -> str:
    """Return the version of whichever build of TensorFlow is installed, without importing it."""
    for package in ("tensorflow", "tensorflow-cpu"):
        with contextlib.suppress(PackageNotFoundError):
            return version(package)
    raise UserError(
        "TensorFlow is not installed. Only models made by 'fruits compile' work without it; give --weights the path of "
        "one."
    )


def _compile(weights: str, engine: Engine, network: Network, h5: bytes | None) -> CompiledNetwork:
    keras_model = build(network)
    if h5 is None:
        keras_model.set_weights(_random(keras_model.get_weights()))
    else:
        _load_h5(keras_model, network, weights, h5)
    _check_finite(keras_model, network, weights)
    arrays = keras_model.get_weights()
    digest = hashlib.sha256(h5 if h5 is not None else b"".join(array.tobytes() for array in arrays)).hexdigest()
    payload = _flatbuffer(network, keras_model) if engine == "litert" else _npz(arrays)
    return CompiledNetwork(network, engine, weights, digest, payload)


def _random(arrays: list[NDArray[Any]]) -> list[NDArray[Any]]:
    """Return arrays with seeded random kernels.

    The kernels have He's scale (arXiv:1502.01852), because activations fade to zero with Keras's own initial values.
    """
    rng = np.random.default_rng(_RANDOM_SEED)
    return [
        rng.normal(0, np.sqrt(2 / _fan_in(array)), array.shape).astype(np.float32) if array.ndim > 1 else array
        for array in arrays
    ]


def _fan_in(kernel: NDArray[Any]) -> int:
    """Return the number of inputs of one output. A depthwise kernel, (h, w, channels, 1), sums one channel only."""
    is_depthwise = kernel.ndim == 4 and kernel.shape[-1] == 1
    return math.prod(kernel.shape[: 2 if is_depthwise else -1])


def _official(weights: OfficialWeights) -> bytes:
    """Return the official weights file, which Keras downloads once to its own cache."""
    cached = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "models" / weights.file
    if cached.exists():
        return cached.read_bytes()
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_DOWNLOAD_SECONDS)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            url = weights.folder + weights.file
            file = tensorflow().keras.utils.get_file(weights.file, url, cache_subdir="models")
        return Path(file).read_bytes()
    except Exception as error:
        reason = str(error).rpartition("--")[2].strip() or type(error).__name__
        raise WeightsUnavailableError(
            f"Keras's ImageNet weights cannot be downloaded ({reason}). "
            "Give --weights the path of a weights file (.h5), or random to try the job out."
        ) from error
    finally:
        socket.setdefaulttimeout(before)


def _check_finite(keras_model: Any, network: Network, weights: str) -> None:
    """Raise UserError if an array of the model, or what the model computes, has values that are not finite numbers."""
    advice = "as after a training that diverged. Give the weights of an earlier epoch."
    for array in keras_model.weights:
        if not np.isfinite(array.numpy()).all():
            raise UserError(f"The weights {weights} have NaN or infinite values in {array.path}, {advice}")
    grey = np.full((1, network.side, network.side, 3), 128, np.uint8)
    if not np.isfinite(of_pixels(network, keras_model, 1)(grey)).all():
        raise UserError(f"The weights {weights} give NaN or infinite features, {advice}")


def _is_of_keras_3(h5: bytes) -> bool:
    """Return whether a file has the layout of Keras 3's ``save_weights``, which Keras expects by the file's name."""
    import h5py  # Keras requires it

    with h5py.File(io.BytesIO(h5)) as file:
        return "layers" in file and "layer_names" not in file.attrs


def _load_h5(keras_model: Any, network: Network, weights: str, h5: bytes) -> None:
    with tempfile.TemporaryDirectory() as place:
        try:
            file = Path(place) / ("keras_3.weights.h5" if _is_of_keras_3(h5) else "keras_2.h5")
            file.write_bytes(h5)
            keras_model.load_weights(file)
        except OSError as error:
            raise UserError(f"The weights {weights} are not a readable Keras .h5 file.") from error
        except Exception as error:  # Keras 2's layout gives ValueError, and Keras 3's many types
            raise UserError(
                f"The weights {weights} do not have the shapes of {network.name} without its last layer."
            ) from error


def _flatbuffer(network: Network, keras_model: Any) -> bytes:
    """Compile the scaling of pixels and the network for LiteRT: uint8 (1, side, side, 3) to float32 (1, features)."""
    tf = tensorflow()
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    graph = of_pixels(network, keras_model, 1).get_concrete_function()
    with quiet():
        converter = tf.lite.TFLiteConverter.from_concrete_functions([convert_variables_to_constants_v2(graph)])
        return bytes(converter.convert())


def _npz(arrays: list[NDArray[Any]]) -> bytes:
    out = io.BytesIO()
    np.savez(out, *arrays)
    return out.getvalue()
