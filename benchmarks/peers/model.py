"""The network as a peer's user would call it, LiteRT's own interpreter on one core, and the arguments of both peers."""

import argparse
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from spark_job.network import MOBILENET_V2
from spark_job.network.model import CompiledNetwork

SIDE, FEATURES = MOBILENET_V2.side, MOBILENET_V2.feature_count


class Model:
    """Computes the features of images of shape (side, side, 3).

    Parameters
    ----------
    file
        A model of ``fruits compile``.
    """

    def __init__(self, file: str) -> None:
        payload = CompiledNetwork.from_bytes(Path(file).read_bytes()).payload
        self._interpreter = Interpreter(model_content=payload, num_threads=1)
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._output = self._interpreter.get_output_details()[0]["index"]

    def __call__(self, images: Iterable[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Return features of shape (n, FEATURES)."""
        return np.stack([self._features(image) for image in images])

    def _features(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        self._interpreter.set_tensor(self._input, image[np.newaxis])
        self._interpreter.invoke()
        features: NDArray[np.float32] = self._interpreter.get_tensor(self._output)[0]
        return features


def arguments() -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser()
    parser.add_argument("photos")
    parser.add_argument("output", type=Path)
    parser.add_argument("model")
    parser.add_argument("--features-only", action="store_true")
    return parser.parse_args()
