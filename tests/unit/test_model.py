import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy as np

from spark_job.network import weights
from spark_job.network.images import decode
from spark_job.network.model import extractor
from spark_job.settings import Engine


def test_both_engines_match_keras(real_photos: Path, real_weights: Path) -> None:
    import keras

    photos = sorted(real_photos.glob("Test/*/*.jpg"))[::40]
    pixels = np.stack([decode(photo.read_bytes(), 224) for photo in photos])
    reference = keras.applications.MobileNetV2(include_top=False, pooling="avg", weights=None)
    reference.load_weights(real_weights)
    scaled = keras.applications.mobilenet_v2.preprocess_input(pixels.astype(np.float32))
    expected = reference.predict(scaled, verbose=0)
    assert expected.shape == (len(photos), 1280)
    assert (expected.std(axis=0) > 0).mean() > 0.9
    for engine in get_args(Engine):
        computed = extractor(weights.load(str(real_weights), engine))(list(pixels))
        np.testing.assert_allclose(computed, expected, atol=1e-4)


def test_a_compiled_model_needs_no_tensorflow(model_file: str) -> None:
    code = f"""
import sys
sys.modules["tensorflow"] = sys.modules["keras"] = None
import numpy as np
from spark_job.network import weights
from spark_job.network.model import extractor
extract = extractor(weights.load({model_file!r}, "litert"))
print(extract(np.zeros((2, 224, 224, 3), np.uint8)).shape)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(2, 1280)"
    assert not done.stderr
