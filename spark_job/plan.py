"""What there is to compute: the images of the input, and which of them an earlier run has computed already."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa
from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema

from spark_job.errors import UserError
from spark_job.objects import Store
from spark_job.parts import PHOTOS
from spark_job.store import open_store

_IMAGE = re.compile(r"\.(jpe?g|png|webp)$", re.IGNORECASE)
_TASKS_A_CORE = 4
_SAME = ["path", "size", "modified"]


@dataclass(frozen=True)
class Plan:
    """The images of a run, each in exactly one of ``new`` (columns PHOTOS) and ``reused`` (with ``features``)."""

    new: DataFrame
    reused: DataFrame | None
    found: int
    to_compute: int


def check(store: Store) -> list[str]:
    """Return the folders directly below an input.

    Raises
    ------
    UserError
        If the place does not exist or cannot be listed.
    """
    try:
        return store.folders()
    except FileNotFoundError as error:
        raise UserError(f"The input {store.uri} does not exist; give a folder or an S3 prefix with photos.") from error
    except NotADirectoryError as error:
        raise UserError(f"The input {store.uri} is a file; give the folder that the photos are in.") from error
    except OSError as error:
        raise UserError(f"The input {store.uri} cannot be listed: {error}.") from error


def list_images(spark: SparkSession, store: Store) -> DataFrame:
    """Return the images below a store, folders spread over Spark's tasks, so that the driver never holds the list."""
    folders = [None, *check(store)]
    uri = store.uri

    def task(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for number in batch.column(0).to_pylist():
                for listed in open_store(uri).listing(folders[number]):
                    yield _images(listed)

    tasks = min(len(folders), _TASKS_A_CORE * spark.sparkContext.defaultParallelism)
    # Not spark.range, which starts Scala's reflection: 0.3 s.
    numbers = spark.sql("SELECT id FROM range(0, :end, 1, :tasks)", {"end": len(folders), "tasks": tasks})
    return numbers.mapInArrow(task, from_arrow_schema(PHOTOS))


def _images(listed: pa.RecordBatch) -> pa.RecordBatch:
    """Return the rows of a listing that are images, with their labels."""
    paths = listed.column("path").to_pylist()
    chosen = listed.filter(pa.array([bool(_IMAGE.search(path)) for path in paths], pa.bool_()))
    labels = pa.array([label_of(path) for path in chosen.column("path").to_pylist()], pa.string())
    return pa.record_batch([chosen.column(0), labels, chosen.column(1), chosen.column(2)], schema=PHOTOS)


def label_of(path: str) -> str | None:
    """Return the name of the folder that a photo is in; None where it is in none, or in one without a name."""
    return path.split("/")[-2] or None if "/" in path else None


def make(photos: DataFrame, earlier: DataFrame | None, store: Store) -> Plan:
    """Compare the images with the features of an earlier run.

    Parameters
    ----------
    photos
        From :func:`list_images`; it is cached, so that every stage sees one listing.
    earlier
        The ``features`` table of the run to reuse, or None.

    Raises
    ------
    UserError
        If there is no image.
    """
    columns = photos.columns
    is_new = F.lit(True)
    if earlier:
        known = earlier.select(*_SAME).distinct()  # a task that was tried again may have written an image twice
        photos = photos.join(known.withColumn("known", F.lit(True)), _SAME, "left")
        is_new = F.col("known").isNull()
    photos = photos.select(*columns, is_new.alias("is_new"))
    photos = photos.persist(StorageLevel.MEMORY_AND_DISK)
    found, to_compute = photos.agg(F.count("*"), F.count_if("is_new")).collect()[0]
    if not found:
        raise UserError(
            f"There is no image in {store.uri}; photos end in .jpg, .jpeg, .png or .webp, in any folder below it."
        )
    new = photos.filter("is_new").drop("is_new")
    reused = earlier.join(photos.filter("not is_new").select(_SAME), _SAME, "left_semi") if earlier else None
    return Plan(new, reused, found, to_compute)
