"""A script for a node: ``decoding.py PHOTOS RESULT.npz`` decodes photos, and leaves out the broken ones."""

import contextlib
import sys
from pathlib import Path

import numpy as np

from spark_job.network.images import decode
from spark_job.rejection import RejectedPhotoError

photos, result = map(Path, sys.argv[1:])
pixels = {}
for path in photos.rglob("*.*"):
    with contextlib.suppress(RejectedPhotoError):
        pixels[path.relative_to(photos).as_posix()] = decode(path.read_bytes(), 224)
np.savez(result, **pixels)
