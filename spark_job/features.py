"""The feature stage: a plan goes in; for every image its features, or the reason why it has none, come out."""

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import NamedTuple, Self, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark import TaskContext
from pyspark.accumulators import Accumulator
from pyspark.broadcast import Broadcast
from pyspark.sql import DataFrame, SparkSession

from spark_job import parts
from spark_job.images import Reason, RejectedImageError, check_size, decode
from spark_job.model import Model, extractor
from spark_job.objects import BadNameError, Store, UnavailableError
from spark_job.parts import Part, Parts
from spark_job.store import open_store

_CHUNK = 16  # at most half of what is read ahead, or the network waits for the rest of a chunk
_READERS = 16
_BYTES_AHEAD = 32 * 2**20
_TASKS_A_CORE = 8
_IMAGES_A_TASK = (64, 4_000)


class Photo(NamedTuple):
    """One row of the plan."""

    path: str
    label: str | None
    size: int
    modified: object


Read = tuple[Photo, bytes | RejectedImageError, int]


@dataclass(frozen=True)
class Work:
    """What the tasks of the stage share.

    Attributes
    ----------
    source
        The URI of the store that the plan's paths are relative to.
    model
        The broadcast model.
    done
        Counts the images of finished tasks.
    retries
        Counts the reads that had to be asked for again.
    """

    source: str
    model: "Broadcast[Model]"
    done: "Accumulator[int]"
    retries: "Accumulator[int]"

    @classmethod
    def on(cls, spark: SparkSession, source: str, model: Model) -> Self:
        """Broadcast the model, and start counting."""
        context = spark.sparkContext
        return cls(source, context.broadcast(model), context.accumulator(0), context.accumulator(0))


def compute(plan: DataFrame, images: int, work: Work, features: Parts, rejected: Parts) -> dict[str, int]:
    """Write the outcome of every image of a plan, its features or why it has none, as parts of two tables.

    Only the plan passes through Spark: each task reads its own images, many at a time, while the network works on
    those that have arrived, and writes its own parts.

    Parameters
    ----------
    plan
        Columns PHOTOS.
    images
        How many rows that is.
    work
        What the tasks need.
    features, rejected
        Where the outcomes go.

    Returns
    -------
    dict of str to int
        The rejected images by reason.
    """
    if not images:  # an empty plan has no tasks, and a table without parts cannot be read
        rejected.write("part-00000.parquet", [], parts.REJECTED)
        return {}
    tasks = task_count(images, plan.sparkSession.sparkContext.defaultParallelism)
    task = partial(_task, work, features, rejected)
    rows = plan.repartition(tasks).mapInArrow(task, "reason string, images long").collect()
    counts: Counter[str] = Counter()
    for reason, count in rows:
        counts[reason] += count
    return dict(sorted(counts.items()))


def reuse(reused: DataFrame, features: Parts) -> None:
    """Write the features of an earlier run as parts, beside the computed ones."""
    reused.select(*parts.FEATURES.names).mapInArrow(partial(_reuse_task, features), "nothing long").collect()


def task_count(images: int, cores: int) -> int:
    """Return a number of tasks: enough a core to even out slow ones, none so small that its start would show."""
    smallest, largest = _IMAGES_A_TASK
    size = min(max(images // (cores * _TASKS_A_CORE), smallest), largest)
    return max(1, -(-images // size))


def outcomes(work: Work, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield, for batches of PHOTOS, batches of OUTCOMES: the photo as it was read, and its features or a reason."""
    store = open_store(work.source)
    extract = extractor(work.model.value)
    photos = (Photo(*row.values()) for batch in batches for row in batch.to_pylist())
    with ThreadPoolExecutor(_READERS) as pool:
        reads = read_ahead(pool, store, photos)
        # Decoded as they come, so that a photo's bytes are let go before the next one's are taken.
        while chunk := [(photo, _pixels(content), retries) for photo, content, retries in islice(reads, _CHUNK)]:
            decoded = [(photo, image) for photo, image, _ in chunk]
            pixels = [image for _, image in decoded if not isinstance(image, RejectedImageError)]
            yield _batch(decoded, iter(extract(np.stack(pixels))) if pixels else iter(()))
            work.done.add(len(chunk))
            if again := sum(retries for _, _, retries in chunk):
                work.retries.add(again)


def _task(work: Work, features: Parts, rejected: Parts, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    name = f"part-{_task_number():05d}.parquet"
    reasons: Counter[str] = Counter()
    with Part(features, name, parts.FEATURES) as computed, Part(rejected, name, parts.REJECTED) as refused:
        for batch in outcomes(work, batches):
            is_computed = batch.column("reason").is_null()
            computed.add(batch.filter(is_computed))
            refused.add(batch.filter(pc.invert(is_computed)))
            reasons.update(batch.column("reason").drop_null().to_pylist())
    columns = [pa.array(list(reasons), pa.string()), pa.array(list(reasons.values()), pa.int64())]
    yield pa.record_batch(columns, names=["reason", "images"])


def _reuse_task(features: Parts, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    features.write(f"reused-{_task_number():05d}.parquet", batches, parts.FEATURES)
    yield from ()  # Spark wants to be given something


def _task_number() -> int:
    return cast("TaskContext", TaskContext.get()).partitionId()  # None only outside of a task


def read_ahead(pool: ThreadPoolExecutor, store: Store, photos: Iterator[Photo]) -> Iterator[Read]:
    """Yield photos with their bytes and how often they were asked for again, in order, while the next are being read.

    At most two reads a thread and about 32 MiB are under way or waiting, whatever the photos' sizes.
    """
    waiting: deque[tuple[Photo, Future[Read]]] = deque()
    ahead = 0
    for photo in photos:
        waiting.append((photo, pool.submit(_read, store, photo)))
        ahead += photo.size
        while waiting and (len(waiting) >= 2 * _READERS or ahead > _BYTES_AHEAD):
            first, read = waiting.popleft()
            ahead -= first.size
            yield read.result()
    for _, read in waiting:
        yield read.result()


def _read(store: Store, photo: Photo) -> Read:
    try:
        stored = store.read(photo.path, check_size)
    except RejectedImageError as error:
        return photo, error, 0
    except OSError as error:
        return photo, RejectedImageError(*_why(error)), error.retries if isinstance(error, UnavailableError) else 0
    return photo._replace(size=len(stored.data), modified=stored.modified), stored.data, stored.retries


def _why(error: OSError) -> tuple[Reason, str]:
    match error:
        case FileNotFoundError():
            return Reason.MISSING, "it was listed, and gone when it was to be read"
        case PermissionError():
            return Reason.DENIED, "the job is not allowed to read it"
        case UnavailableError(retries=retries):
            return Reason.UNAVAILABLE, f"the storage did not give it in {retries + 1} attempts: {error}"
        case BadNameError():
            return Reason.BAD_NAME, str(error)
    return Reason.UNREADABLE, f"reading failed: {error}"


def _pixels(content: bytes | RejectedImageError) -> NDArray[np.uint8] | RejectedImageError:
    if isinstance(content, RejectedImageError):
        return content
    try:
        return decode(content)
    except RejectedImageError as error:
        return RejectedImageError(error.reason, error.detail)  # the one that was raised holds on to the photo's bytes


def _batch(
    decoded: list[tuple[Photo, NDArray[np.uint8] | RejectedImageError]], features: Iterator[NDArray[np.float32]]
) -> pa.RecordBatch:
    rows: list[tuple[object, ...]] = []
    for photo, image in decoded:
        if isinstance(image, RejectedImageError):
            rows.append((*photo, None, str(image.reason), image.detail))
        else:
            rows.append((*photo, next(features), None, None))
    columns = zip(*rows, strict=True)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, parts.OUTCOMES, strict=True)]
    return pa.record_batch(arrays, schema=parts.OUTCOMES)
