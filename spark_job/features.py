"""The feature stage: reads every photo of a plan, and writes its features or the reason for its rejection."""

from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice
from typing import Any, NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark import SparkContext
from pyspark.accumulators import Accumulator
from pyspark.broadcast import Broadcast

from spark_job import archives, tables
from spark_job.accumulators import PhotosDone
from spark_job.ahead import in_order
from spark_job.archives import Member
from spark_job.network.images import check_size, picture
from spark_job.network.model import CompiledNetwork, extractor
from spark_job.network.quality import Quality, measure
from spark_job.plan import Plan, Slice, photos
from spark_job.rejection import Reason, RejectedPhotoError, rejection
from spark_job.storage import open_store
from spark_job.storage.base import Store, UnavailableError
from spark_job.tables import PartWriter, RejectedPhoto, Table

_CHUNK = 16  # at most half of the photos that are read ahead; otherwise the network waits for reads
_READERS = 16
_TASKS_PER_CORE = 8
_PHOTOS_PER_TASK = (64, 4_000)
_EXAMPLES = 50
_COLUMNS = len(tables.PHOTOS_SCHEMA)
_NOT_MEASURED = (None,) * len(tables.QUALITY_SCHEMA)


class Photo(NamedTuple):
    """One row of the plan (PLACED_SCHEMA)."""

    path: str
    label: str | None
    size: int
    modified: object
    crc: int | None = None
    member: Member | None = None
    refused: RejectedPhotoError | None = None

    @classmethod
    def of_row(cls, row: dict[str, Any]) -> Self:
        """Return the photo of a row."""
        member, refused = row["member"], row["refused"]
        return cls(
            **row
            | {
                "member": member and Member(**member),
                "refused": refused and RejectedPhotoError(Reason(refused["reason"]), refused["detail"]),
            }
        )


class Read(NamedTuple):
    """A photo as it was read: its bytes, or why there are none, and how many attempts failed before."""

    photo: Photo
    content: bytes | RejectedPhotoError
    retries: int = 0


class Pixels(NamedTuple):
    """The pixels of a photo, and what was measured."""

    values: NDArray[np.uint8]
    quality: Quality


class Decoded(NamedTuple):
    """A photo that was read and decoded: its pixels, or why there are none."""

    photo: Photo
    pixels: Pixels | RejectedPhotoError
    retries: int


@dataclass(frozen=True)
class FeatureTask:
    """What all tasks of the stage share.

    Attributes
    ----------
    source
        The URI of the input; the plan's paths are relative to it.
    model
        The broadcast model.
    done
        Counts the photos that are decoded.
    retries
        Counts the reads that had to be repeated.
    """

    source: str
    model: "Broadcast[CompiledNetwork]"
    done: PhotosDone
    retries: "Accumulator[int]"

    @classmethod
    def prepare(cls, context: SparkContext, source: str, model: CompiledNetwork) -> Self:
        """Broadcast the model, and set both counters to zero."""
        return cls(source, context.broadcast(model), PhotosDone(context), context.accumulator(0))


@dataclass(frozen=True)
class Rejections:
    """The number of rejected photos by reason, and the first 50 of them, sorted by reason and path."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: list[RejectedPhoto] = field(default_factory=list)

    def __add__(self, other: "Rejections") -> "Rejections":
        return Rejections(self.counts + other.counts, sorted(self.examples + other.examples)[:_EXAMPLES])


def compute(context: SparkContext, plan: Plan, task: FeatureTask, features: Table, rejected: Table) -> Rejections:
    """Write the features of every photo of a plan, or the reason for its rejection, to two tables.

    Each task gets slices of the plan. It reads its own photos, many at a time, while the network works on those that
    have arrived, and writes one file in each table. Tasks exchange nothing, so none waits for a node that is lost.

    Parameters
    ----------
    context
        Where to run the tasks.
    plan
        The photos to compute.
    task
        What the tasks share.
    features, rejected
        The tables to write.
    """
    if not plan.photos:  # Spark cannot read a table without files
        rejected.write("part-00000.parquet", [], tables.REJECTED_SCHEMA)
        return Rejections()
    tasks = plan.split(photos_per_task(plan.photos, context.defaultParallelism))
    run_task = partial(_run_task, task, plan.table, features, rejected)
    return sum(context.parallelize(tasks, len(tasks)).map(run_task).collect(), Rejections())


def photos_per_task(photos: int, cores: int) -> int:
    """Return the size of a task: small enough to balance slow tasks, but large enough that starting them is cheap."""
    smallest, largest = _PHOTOS_PER_TASK
    return min(max(-(-photos // (cores * _TASKS_PER_CORE)), smallest), largest)


def outcomes(task: FeatureTask, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield a batch of OUTCOMES_SCHEMA for each chunk of photos (PLACED_SCHEMA): features, or a reason and details."""
    store = open_store(task.source)
    extract, side = extractor(task.model.value), task.model.value.network.side
    listed = (Photo.of_row(row) for batch in batches for row in batch.to_pylist())
    with ThreadPoolExecutor(_READERS) as pool:
        reads = read_ahead(pool, store, listed)
        # Each photo is decoded as soon as it comes, so that its bytes are freed before the next photo is taken.
        while chunk := [_decode(read, side, task.done) for read in islice(reads, _CHUNK)]:
            pixels = [one.pixels.values for one in chunk if isinstance(one.pixels, Pixels)]
            yield _batch(chunk, iter(extract(pixels)) if pixels else iter(()))
            if retries := sum(one.retries for one in chunk):
                task.retries.add(retries)


def _run_task(task: FeatureTask, plan: Table, features: Table, rejected: Table, slices: list[Slice]) -> Rejections:
    name = f"part-{tables.task_number():05d}.parquet"
    total = Rejections()
    with (
        PartWriter(features, name, tables.FEATURES_SCHEMA) as accepted_rows,
        PartWriter(rejected, name, tables.REJECTED_SCHEMA) as rejected_rows,
    ):
        for batch in outcomes(task, photos(plan, slices)):
            is_accepted = batch.column("reason").is_null()
            accepted_rows.add(batch.filter(is_accepted))
            refused = batch.filter(pc.invert(is_accepted))
            rejected_rows.add(refused)
            total += _rejections(refused)
    return total


def _rejections(rows: pa.RecordBatch) -> Rejections:
    examples = [RejectedPhoto(row["reason"], row["path"], row["detail"]) for row in rows.to_pylist()]
    return Rejections(Counter(example.reason for example in examples), examples)


def read_ahead(pool: ThreadPoolExecutor, store: Store, photos: Iterable[Photo]) -> Iterator[Read]:
    """Yield each photo with its bytes and the number of repeated reads, in order, while the next photos are read."""
    groups = ((_bytes_of(group), partial(_read_group, store, group)) for group in together(photos))
    return chain.from_iterable(in_order(pool, _READERS, groups))


def together(photos: Iterable[Photo]) -> Iterator[list[Photo]]:
    """Group photos that one request reads: a file, or members of an archive that lie next to each other."""
    group: list[Photo] = []
    for photo in photos:
        if group and not _continues(group, photo):
            yield group
            group = []
        group.append(photo)
    if group:
        yield group


def _continues(group: list[Photo], photo: Photo) -> bool:
    first, last = group[0].member, group[-1].member
    if first is None or last is None or photo.member is None:
        return False
    return archives.follows(first, last, photo.member)


def _bytes_of(group: list[Photo]) -> int:
    first, last = group[0].member, group[-1].member
    return 2 * (last.end - first.offset) if first and last else group[0].size  # a part of an archive is copied once


def _read_group(store: Store, group: list[Photo]) -> Iterable[Read]:
    members = [photo.member for photo in group if photo.member]
    if not members:
        return [_read(store, photo) for photo in group]
    try:
        part = archives.Part(store, members)
    except OSError as error:
        refused = rejection(error)
        return [Read(photo, refused, _retries(error) if photo is group[0] else 0) for photo in group]
    return _expanded(part, zip(group, members, strict=True))


def _expanded(part: archives.Part, members: Iterable[tuple[Photo, Member]]) -> Iterator[Read]:
    """Yield the members of a part of an archive one by one, because they may be larger than the part."""
    retries = part.retries
    for photo, member in members:
        try:
            content: bytes | RejectedPhotoError = part.content(photo.path, member)
        except RejectedPhotoError as error:
            content = error.with_traceback(None)  # which would keep the part in memory
        yield Read(photo, content, retries)
        retries = 0


def _read(store: Store, photo: Photo) -> Read:
    if photo.refused:
        return Read(photo, photo.refused)
    try:
        stored = store.read(photo.path, check_size)
    except RejectedPhotoError as error:
        return Read(photo, error)
    except OSError as error:
        return Read(photo, rejection(error), _retries(error))
    as_read = photo._replace(size=len(stored.data), modified=stored.modified)
    return Read(as_read, stored.data, stored.retries)


def _retries(error: OSError) -> int:
    return error.retries if isinstance(error, UnavailableError) else 0


def _decode(read: Read, side: int, done: PhotosDone) -> Decoded:
    done.add(1)
    return Decoded(read.photo, _pixels(read.content, side), read.retries)


def _pixels(content: bytes | RejectedPhotoError, side: int) -> Pixels | RejectedPhotoError:
    if isinstance(content, RejectedPhotoError):
        return content
    try:
        decoded = picture(content, side)
    except RejectedPhotoError as error:
        # A new exception: the original one's traceback keeps the photo's bytes in memory.
        return RejectedPhotoError(error.reason, error.detail)
    return Pixels(np.asarray(decoded.image), measure(content, decoded))


def _batch(decoded: list[Decoded], features: Iterator[NDArray[np.float32]]) -> pa.RecordBatch:
    rows: list[tuple[object, ...]] = []
    for photo, pixels, _ in decoded:
        if isinstance(pixels, RejectedPhotoError):
            rows.append((*photo[:_COLUMNS], *_NOT_MEASURED, None, str(pixels.reason), pixels.detail))
        else:
            rows.append((*photo[:_COLUMNS], *pixels.quality, next(features), None, None))
    columns = zip(*rows, strict=True)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, tables.OUTCOMES_SCHEMA, strict=True)]
    return pa.record_batch(arrays, schema=tables.OUTCOMES_SCHEMA)
