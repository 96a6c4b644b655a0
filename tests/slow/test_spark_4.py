"""The model of a run in the newest Spark, which is installed apart."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from spark_job import moments, pipeline
from spark_job.moments import Moments
from spark_job.storage import open_store

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SPARK_4 = ROOT / ".cache" / "pyspark-4"

LOAD = """
import sys
import numpy as np
from pyspark.ml import PipelineModel
from pyspark.ml.linalg import Vectors
from pyspark.sql import SparkSession

model, rows, projected = sys.argv[1:]
spark = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
assert spark.version.startswith("4.")
vectors = spark.createDataFrame([(Vectors.dense(row),) for row in np.load(rows)], ["features"])
np.save(projected, [row.pca.toArray() for row in PipelineModel.load(model).transform(vectors).collect()])
"""


def _install() -> None:
    if not SPARK_4.exists():
        draft = SPARK_4.with_suffix(".draft")
        uv = shutil.which("uv", path=f"{ROOT / '.cache' / 'uv' / 'bin'}{os.pathsep}{os.environ['PATH']}")
        install = [uv, "pip", "install", "--python", sys.executable] if uv else [sys.executable, "-m", "pip", "install"]
        what = ["--quiet", "--no-deps", "--target", str(draft), "pyspark>=4,<5", "py4j"]
        done = subprocess.run([*install, *what], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"pyspark 4 cannot be installed: {done.stderr.splitlines()[-1]}")
        draft.rename(SPARK_4)


def test_spark_4_loads_the_model_and_projects_alike(tmp_path: Path) -> None:
    _install()
    rows = np.random.default_rng(1).normal(size=(40, 6)).astype(np.float32)
    fitted = moments.fit(Moments.of(rows), 3, standardize=True)
    pipeline.save(fitted, open_store(str(tmp_path)), "model")
    np.save(tmp_path / "rows.npy", rows.astype(np.float64))
    # Spark 4 needs a Java with all modules; the one that comes with the requirements has only what Spark 3.5 needs.
    # Another test may have set the variables of Spark 3.5.
    environment = {
        name: value
        for name, value in os.environ.items()
        if name != "JAVA_HOME" and not name.startswith(("SPARK_", "PYSPARK_"))
    }
    arguments = [str(tmp_path / name) for name in ("model", "rows.npy", "projected.npy")]
    done = subprocess.run(
        [sys.executable, "-c", LOAD, *arguments],
        env={**environment, "PYTHONPATH": str(SPARK_4), "PYSPARK_PYTHON": sys.executable},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    if "JAVA_GATEWAY_EXITED" in done.stderr:
        pytest.skip("there is no Java on PATH that Spark 4 can use: install OpenJDK 17 or later")
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(np.load(tmp_path / "projected.npy"), fitted.project(rows), atol=1e-5)
