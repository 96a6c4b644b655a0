"""Measure how long PCA with 100 components takes to fit: ``python -m benchmarks.fit ours|pyspark FOLDER``.

The folder contains a Parquet table of features. The script prints the seconds.
"""

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.ml import Pipeline
from pyspark.ml.feature import PCA, StandardScaler
from pyspark.ml.functions import array_to_vector
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from spark_job import pca, session
from spark_job.network import MOBILENET_V2
from spark_job.tables import Table


def make(folder: Path, rows: int, files: int = 16) -> Path:
    """Write a table of features like those of the network: not negative, with 200 directions and noise."""
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(200, MOBILENET_V2.feature_count)) * np.linspace(2, 0.1, 200)[:, np.newaxis]
    folder.mkdir(parents=True, exist_ok=True)
    for file in range(files):
        count = rows // files
        values = (
            rng.normal(size=(count, 200)) @ directions * 0.05
            + 0.4
            + rng.normal(size=(count, MOBILENET_V2.feature_count)) * 0.1
        )
        lists = pa.FixedSizeListArray.from_arrays(
            pa.array(values.clip(0).ravel(), pa.float32()), MOBILENET_V2.feature_count
        )
        table = pa.table({"features": lists.cast(pa.list_(pa.float32()))})
        pq.write_table(table, folder / f"part-{file:05d}.parquet", row_group_size=1024, use_dictionary=False)
    return folder


def main() -> None:
    """Start Spark and warm it up, then fit and print the seconds."""
    which, folder = sys.argv[1:]
    spark = SparkSession(session.start())
    table = spark.read.parquet(folder)
    table.limit(10).count()
    began = time.perf_counter()
    if which == "ours":
        place = Path(folder)
        pca.fit(spark.sparkContext, Table(str(place.parent), place.name), 100)
    else:
        stages: list[Any] = [
            StandardScaler(inputCol="vector", outputCol="scaled", withMean=True),
            PCA(k=100, inputCol="scaled", outputCol="pca"),
        ]
        Pipeline(stages=stages).fit(table.withColumn("vector", array_to_vector(F.col("features"))))
    print(time.perf_counter() - began)


if __name__ == "__main__":
    main()
