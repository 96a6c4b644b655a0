"""The feature stage as a run has it, and what it wrote: a row an image."""

from pathlib import Path
from tempfile import TemporaryDirectory

from pyspark.sql import DataFrame, Row, SparkSession

from spark_job import features, plan
from spark_job.network.model import CompiledNetwork
from spark_job.storage.base import Store
from spark_job.tables import Table


def collected(spark: SparkSession, store: Store, network: CompiledNetwork) -> list[Row]:
    """Return the outcome of every image of a store, by path, having checked that all were counted."""
    with TemporaryDirectory() as folder:
        rows = written(spark, store, network, Path(folder)).collect()
    return sorted(rows, key=lambda row: row.path)


def written(spark: SparkSession, store: Store, network: CompiledNetwork, folder: Path) -> DataFrame:
    """Return the outcome of every image of a store, as tables in a folder."""
    made = plan.make(plan.list_images(spark, store), None, store)
    task = features.FeatureTask.prepare(spark, store.uri, network)
    tables = [Table(str(folder), name) for name in ("features", "rejected")]
    reasons = features.compute(made.new, made.found, task, *tables)
    outcomes = spark.read.parquet(f"{folder}/features").unionByName(
        spark.read.parquet(f"{folder}/rejected"), allowMissingColumns=True
    )
    assert outcomes.count() == made.found == task.done.value
    assert outcomes.filter("reason is not null").count() == sum(reasons.values())
    return outcomes
