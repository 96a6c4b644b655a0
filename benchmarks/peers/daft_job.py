"""The job with Daft: ``python -m benchmarks.peers.daft_job PHOTOS OUTPUT MODEL [--features-only]``."""

import os
import threading

import daft
from daft import DataType, Series, col
from daft.functions import decode_image, download, resize
from daft.io import IOConfig, S3Config

from benchmarks.peers.model import FEATURES, SIDE, Model, arguments
from benchmarks.peers.pca import write_components

_FEATURES = DataType.embedding(DataType.float32(), FEATURES)


@daft.cls(max_concurrency=os.cpu_count())
class FeatureExtractor:
    """Runs the network on all cores. Daft calls one instance in several threads, but LiteRT wants one each."""

    def __init__(self, model: str) -> None:
        self._file, self._thread = model, threading.local()

    @daft.method.batch(return_dtype=_FEATURES, batch_size=32)  # type: ignore[untyped-decorator]  # Daft has no types
    def features(self, images: Series) -> Series:
        """Return the features of images."""
        if not hasattr(self._thread, "model"):
            self._thread.model = Model(self._file)
        return Series.from_numpy(self._thread.model(images.to_pylist()))


def main() -> None:
    """Write the features of all photos, and their components unless only the features are wanted."""
    options = arguments()
    url = os.environ.get("AWS_ENDPOINT_URL")
    s3 = S3Config(endpoint_url=url, region_name="eu-west-3", key_id="test", access_key="test", use_ssl=False)
    photos = daft.from_glob_path(f"{options.photos}/**/*.jpg", io_config=IOConfig(s3=s3)).select("path")
    pixels = resize(decode_image(download(col("path"), io_config=IOConfig(s3=s3)), mode="RGB"), w=SIDE, h=SIDE)
    table = photos.with_column("features", FeatureExtractor(options.model).features(pixels))
    if options.features_only:
        table.write_parquet(options.output / "features")
        return
    table = table.collect()
    table.write_parquet(options.output / "features")
    write_components(table.to_arrow(), options.output / "pca")


if __name__ == "__main__":
    main()
