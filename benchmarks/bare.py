"""The baseline of the feature stage: read, decode and run the model in bare loops, one process per core.

Each process reads its photos one by one. The script prints images per second, without start-up:
``python -m benchmarks.bare FOLDER_OR_BUCKET MODEL [--full-size]``.
"""

import io
import multiprocessing
import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from spark_job.network import MOBILENET_V2
from spark_job.network.images import decode
from spark_job.network.model import CompiledNetwork, extractor
from spark_job.storage import open_store


def _full_size(data: bytes, side: int) -> NDArray[np.uint8]:
    """Decode every pixel, as the usual notebook does, and resize the photo."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB").resize((side, side), Image.Resampling.BICUBIC))


def loop(source: str, paths: list[str], model: str, full_size: bool) -> None:
    """Compute the features of some photos and discard them."""
    store = open_store(source)
    extract = extractor(CompiledNetwork.from_bytes(Path(model).read_bytes()))
    pixels = _full_size if full_size else decode
    for path in paths:
        extract([pixels(store.read(path).data, MOBILENET_V2.side)])


def main() -> None:
    """Run one loop per core, each on its share of the files."""
    source, model, *options = sys.argv[1:]
    store = open_store(source)
    paths = [path for folder in store.folders() for page in store.listing(folder) for path in page["path"].to_pylist()]
    cores = multiprocessing.cpu_count()
    with multiprocessing.get_context("spawn").Pool(cores) as pool:
        pool.starmap(loop, [(source, paths[:2], model, False)] * cores)
        began = time.perf_counter()
        pool.starmap(loop, [(source, paths[core::cores], model, bool(options)) for core in range(cores)], 1)
        print(len(paths) / (time.perf_counter() - began))


if __name__ == "__main__":
    main()
