"""The convolutional network whose features the job computes, and what it expects as input."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from spark_job.network.images import DECODING


@dataclass(frozen=True)
class OfficialWeights:
    """A weights file that Keras publishes: its name, and the URL of the folder that it is in."""

    file: str
    folder: str


@dataclass(frozen=True)
class Network:
    """A Keras network without its classification layer.

    Attributes
    ----------
    name
        The name, as messages show it.
    side
        Width and height of the input, in pixels.
    feature_count
        Features per image: the width of the last layer.
    build
        Takes Keras and the side; returns the model, which maps float32 (n, side, side, 3) to (n, feature_count).
        The values of its weights do not matter.
    scale
        Maps pixel values, from 0 to 255, to the range that the network was trained on.
    scaling
        ``scale`` as a formula. It is part of ``preprocessing``, so it must change whenever ``scale`` does.
    official_weights
        The weights file that ``--weights imagenet`` downloads.
    """

    name: str
    side: int
    feature_count: int
    build: Callable[[Any, int], Any]
    scale: Callable[[Any], Any]
    scaling: str
    official_weights: OfficialWeights

    @property
    def preprocessing(self) -> str:
        """Everything that happens to a photo before the network; features are only comparable if it is equal."""
        return f"{DECODING} to {self.side}x{self.side}, {self.scaling}"


def _mobilenet_v2(keras: Any, side: int) -> Any:
    return keras.applications.MobileNetV2(input_shape=(side, side, 3), include_top=False, pooling="avg", weights=None)


def _to_plus_minus_one(pixels: Any) -> Any:
    return pixels / 127.5 - 1.0


MOBILENET_V2 = Network(
    name="MobileNetV2",
    side=224,
    feature_count=1280,
    build=_mobilenet_v2,
    scale=_to_plus_minus_one,
    scaling="x / 127.5 - 1",
    official_weights=OfficialWeights(
        file="mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5",
        folder="https://storage.googleapis.com/tensorflow/keras-applications/mobilenet_v2/",
    ),
)
"""MobileNetV2 1.0 (Sandler et al. 2018, arXiv:1801.04381) up to its global average pooling."""
