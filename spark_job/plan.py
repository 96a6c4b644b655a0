"""Lists the images of the input, and finds those whose features an earlier run has computed already."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema

from spark_job.errors import UserError
from spark_job.network.images import SUFFIXES
from spark_job.storage import open_store
from spark_job.storage.base import Store
from spark_job.tables import PHOTOS_SCHEMA

_PARTS_PER_CORE = 3
_TASKS_PER_CORE = 8  # more than parts that were wanted: a store may return more, and single ones balance best
_IDENTITY = ["path", "size", "modified"]  # a photo with other values here is a new photo


@dataclass(frozen=True)
class Plan:
    """The images of a run. Each is either in ``new`` (PHOTOS_SCHEMA) or in ``reused`` (FEATURES_SCHEMA).

    ``reused_from`` is the number of reused images by the id of the run that computed or copied them before.
    """

    new: DataFrame
    reused: DataFrame | None
    found: int
    to_compute: int
    reused_from: dict[str, int]


def check(store: Store) -> None:
    """Check that an input can be listed.

    Raises
    ------
    UserError
        If the input does not exist or cannot be listed.
    """
    _parts(store, 1)


def _parts(store: Store, count: int) -> list[Any]:
    try:
        return store.parts(count)
    except FileNotFoundError as error:
        raise UserError(f"The input {store.uri} does not exist. Give a folder or an S3 prefix with photos.") from error
    except NotADirectoryError as error:
        raise UserError(f"The input {store.uri} is a file. Give the folder that holds the photos.") from error
    except OSError as error:
        raise UserError(f"The input {store.uri} cannot be listed: {error}.") from error


def list_images(spark: SparkSession, store: Store) -> DataFrame:
    """Return the images below a store. Spark's tasks list its parts, so the driver never holds the whole list."""
    cores = spark.sparkContext.defaultParallelism
    parts = _parts(store, _PARTS_PER_CORE * cores)
    uri = store.uri

    def task(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for number in batch.column(0).to_pylist():
                for listed in open_store(uri).list_part(parts[number]):
                    yield _images(listed)

    # spark.range would take 0.3 s longer, because it loads Scala's reflection.
    size = {"end": len(parts), "tasks": min(len(parts), _TASKS_PER_CORE * cores)}
    numbers = spark.sql("SELECT id FROM range(0, :end, 1, :tasks)", size)
    return numbers.mapInArrow(task, from_arrow_schema(PHOTOS_SCHEMA))


def _images(listed: pa.RecordBatch) -> pa.RecordBatch:
    """Return the images of a listing, with their labels."""
    paths = listed.column("path").to_pylist()
    chosen = listed.filter(pa.array([path.lower().endswith(SUFFIXES) for path in paths], pa.bool_()))
    labels = pa.array([label_of(path) for path in chosen.column("path").to_pylist()], pa.string())
    return pa.record_batch([chosen.column(0), labels, chosen.column(1), chosen.column(2)], schema=PHOTOS_SCHEMA)


def label_of(path: str) -> str | None:
    """Return the name of the folder that holds a photo, or None if there is no folder or it has no name."""
    return path.split("/")[-2] or None if "/" in path else None


def make(photos: DataFrame, earlier: DataFrame | None, store: Store) -> Plan:
    """Compare the images with the features of earlier runs.

    Parameters
    ----------
    photos
        From :func:`list_images`. The result is cached, so that every stage sees the same listing.
    earlier
        The ``features`` tables of the runs to reuse, with the column ``run_id``, or None.

    Raises
    ------
    UserError
        If there is no image.
    """
    columns = photos.columns
    if earlier:  # several runs, or a task that ran twice, may have written an image; one of them gives it
        known = earlier.groupBy(*_IDENTITY).agg(F.min("run_id").alias("run_id"))
        photos = photos.join(known, _IDENTITY, "left").select(*columns, "run_id")
    else:
        photos = photos.withColumn("run_id", F.lit(None).cast("string"))
    photos = photos.persist(StorageLevel.MEMORY_AND_DISK)
    counts = {row["run_id"]: row["count"] for row in photos.groupBy("run_id").count().collect()}
    to_compute = counts.pop(None, 0)
    if not to_compute and not counts:
        raise UserError(
            f"There is no image in {store.uri}. Photos end in {', '.join(SUFFIXES)} and may be in any folder below it."
        )
    new = photos.filter("run_id is null").drop("run_id")
    chosen = photos.filter("run_id is not null").select(*_IDENTITY, "run_id")
    reused = earlier.join(chosen, [*_IDENTITY, "run_id"], "left_semi") if earlier and counts else None
    return Plan(new, reused, to_compute + sum(counts.values()), to_compute, dict(sorted(counts.items())))
