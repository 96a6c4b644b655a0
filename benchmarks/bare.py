"""The limit to hold the feature stage against: decode and run the network in bare loops, one process a core.

Prints images a second, start-up not counted: ``python -m benchmarks.bare FOLDER MODEL [--full-size]``.
"""

import io
import multiprocessing
import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from spark_job.images import SIDE, decode
from spark_job.model import Model, extractor


def _full_size(data: bytes) -> NDArray[np.uint8]:
    """Decode every pixel, as the usual notebook does."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def loop(files: list[Path], model: str, full_size: bool) -> None:
    """Compute the features of some files, and drop them."""
    extract = extractor(Model.from_bytes(Path(model).read_bytes()))
    pixels = _full_size if full_size else decode
    for file in files:
        extract(pixels(file.read_bytes())[np.newaxis])


def main() -> None:
    """Run a loop a core, each on its share of the files."""
    folder, model, *options = sys.argv[1:]
    files = sorted(Path(folder).rglob("*.jpg"))
    cores = multiprocessing.cpu_count()
    with multiprocessing.get_context("spawn").Pool(cores) as pool:
        pool.starmap(loop, [(files[:2], model, False)] * cores)
        began = time.perf_counter()
        pool.starmap(loop, [(files[core::cores], model, bool(options)) for core in range(cores)], chunksize=1)
        print(len(files) / (time.perf_counter() - began))


if __name__ == "__main__":
    main()
