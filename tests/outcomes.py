"""Run the feature stage as a run does, and read what it wrote: one row per photo."""

from pathlib import Path
from tempfile import TemporaryDirectory

from pyspark.sql import DataFrame, Row, SparkSession

from spark_job import features, plan
from spark_job.network.model import CompiledNetwork
from spark_job.plan import Input
from spark_job.storage.base import Store
from spark_job.tables import Table


def collected(spark: SparkSession, store: Store, model: CompiledNetwork) -> list[Row]:
    """Return the outcome of every photo of a store, sorted by path. Check first that every photo was counted."""
    with TemporaryDirectory() as folder:
        rows = written(spark, store, model, Path(folder)).collect()
    return sorted(rows, key=lambda row: row.path)


def written(spark: SparkSession, store: Store, model: CompiledNetwork, folder: Path) -> DataFrame:
    """Write the outcome of every photo of a store to tables in a folder, and return it as one table."""
    made, _ = plan.make(spark.sparkContext, Input(store), Table(str(folder), "plan"))
    task = features.FeatureTask.prepare(spark.sparkContext, store.uri, model)
    tables = [Table(str(folder), name) for name in ("features", "rejected")]
    rejections = features.compute(spark.sparkContext, made, task, *tables)
    outcomes = spark.read.parquet(f"{folder}/features").unionByName(
        spark.read.parquet(f"{folder}/rejected"), allowMissingColumns=True
    )
    assert outcomes.count() == made.photos == task.done.value
    assert outcomes.filter("reason is not null").count() == rejections.counts.total()
    return outcomes
