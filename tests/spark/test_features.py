import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from spark_job import features, names, plan
from spark_job.features import Photo, photos_per_task, read_ahead
from spark_job.network.images import decode
from spark_job.network.model import CompiledNetwork, extractor
from spark_job.storage import open_store
from spark_job.storage.base import Stored
from tests import outcomes
from tests.hostile import encoded, picture


def test_features_are_those_of_the_network(spark: SparkSession, model: CompiledNetwork, tmp_path: Path) -> None:
    photos = {f"Apple/{number} é.jpg": encoded(picture(seed=number), "JPEG") for number in range(5)}
    store = open_store(str(tmp_path))
    for path, data in photos.items():
        store.write(path, data)
    rows = outcomes.collected(spark, store, model)
    assert {row.path: row["size"] for row in rows} == {path: len(data) for path, data in photos.items()}
    for row in rows:
        expected = extractor(model)([decode(photos[row.path], 224)])[0]
        np.testing.assert_allclose(row.features, expected, rtol=1e-5, atol=1e-5)


@given(st.integers(0, 10**7), st.integers(1, 512))
def test_tasks_are_neither_too_many_nor_too_large(images: int, cores: int) -> None:
    size = photos_per_task(images, cores)
    assert 64 <= size <= 4_000
    assert size in (64, 4_000) or -(-images // size) <= 8 * cores


class _SlowStore:
    """A store whose reads take time. It counts the bytes that are read and not yet used."""

    uri = hadoop_uri = "slow"

    def __init__(self, size: int) -> None:
        self._size, self._lock = size, threading.Lock()
        self.now = self.most = 0

    def read(self, path: str, accept: object) -> Stored:  # noqa: ARG002 - accepts any size
        with self._lock:
            self.now += self._size
            self.most = max(self.most, self.now)
        time.sleep(0.001 * (hash(path) % 5))
        return Stored(path.encode(), datetime.now(UTC), None, len(path))


@pytest.mark.parametrize(("size", "bound"), [(1000, 32 * 1000), (8 * 2**20, 40 * 2**20)])
def test_reading_ahead_keeps_the_order_and_limits_memory(size: int, bound: int) -> None:
    store = _SlowStore(size)
    photos = [Photo(f"{number}.jpg", None, size, None) for number in range(100)]
    with ThreadPoolExecutor(16) as pool:
        for photo, (read, content, _) in zip(photos, read_ahead(pool, store, iter(photos)), strict=True):  # type: ignore[arg-type]  # it only needs read
            assert read.path == photo.path
            assert content == photo.path.encode()
            store.now -= size
    assert store.most <= bound


class _Shared:
    """A broadcast variable or an accumulator within one process."""

    def __init__(self, value: object) -> None:
        self.value = value

    def add(self, count: int) -> None:
        self.value = cast("int", self.value) + count


def test_the_bytes_of_large_photos_are_let_go_one_by_one(model: CompiledNetwork, tmp_path: Path) -> None:
    for number in range(70):
        with (tmp_path / f"{number}.jpg").open("wb") as file:
            file.truncate(8 * 2**20)
    done = _Shared(0)
    task = features.FeatureTask(str(tmp_path), _Shared(model), done, _Shared(0))  # type: ignore[arg-type]  # not Spark's
    batch = next(open_store(str(tmp_path)).listing(None))
    rows = plan._placed(names.photos(batch))
    tracemalloc.start()
    batches = list(features.outcomes(task, [rows]))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sum(batch.num_rows for batch in batches) == done.value == 70
    assert peak < 80 * 2**20
