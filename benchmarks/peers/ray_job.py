"""The job with Ray Data: ``python -m benchmarks.peers.ray_job PHOTOS OUTPUT MODEL [--features-only]``."""

import os
from typing import Any

import pyarrow as pa
import ray
from pyarrow.fs import S3FileSystem

from benchmarks.peers.model import SIDE, Model, arguments
from benchmarks.peers.pca import write_components


class FeatureExtractor:
    """Runs the network: one actor per core, because the model uses one core."""

    def __init__(self, model: str) -> None:
        self._model = Model(model)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Return the paths and the features of a batch of images."""
        return {"path": batch["path"], "features": self._model(batch["image"])}


def main() -> None:
    """Write the features of all photos, and their components unless only the features are wanted."""
    options = arguments()
    s3 = None
    if url := os.environ.get("AWS_ENDPOINT_URL"):  # that of the stand-in for S3
        s3 = S3FileSystem(access_key="test", secret_key="test", region="eu-west-3", endpoint_override=url)
    images = ray.data.read_images(options.photos, filesystem=s3, size=(SIDE, SIDE), mode="RGB", include_paths=True)
    # Actors that took all cores would leave none for reading, and Ray would wait for ever.
    cores = ray.data.ActorPoolStrategy(size=os.cpu_count())
    table = images.map_batches(
        FeatureExtractor, fn_constructor_args=[options.model], compute=cores, num_cpus=0.5, batch_size=32
    )
    if not options.features_only:
        table = table.materialize()
    table.write_parquet(str(options.output / "features"))
    if not options.features_only:
        write_components(pa.concat_tables(ray.get(table.to_arrow_refs())), options.output / "pca")


if __name__ == "__main__":
    main()
