import os
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from spark_job import plan, reuse
from spark_job.plan import Plan, open_input
from spark_job.reuse import Reuse
from spark_job.runs import EarlierFile, RunFolder
from spark_job.storage import open_store
from spark_job.tables import FEATURES_SCHEMA, Table
from tests.hostile_archives import written


class Output:
    """Photos, a plan of them, and earlier runs."""

    def __init__(self, spark: SparkSession, folder: Path) -> None:
        self._context, self.photos, self._store = spark.sparkContext, folder / "photos", open_store(str(folder))
        self._reused = Table(self._store.uri, "reused")
        self.files: list[EarlierFile] = []

    def fill(self, *names: str) -> None:
        for name in names:
            (self.photos / name).parent.mkdir(parents=True, exist_ok=True)
            (self.photos / name).write_bytes(name.encode())

    def plan(self) -> Plan:
        return plan.make(self._context, open_input(str(self.photos)), Table(self._store.uri, "plan"))[0]

    def compute(self, run_id: str, paths: Sequence[str]) -> None:
        """Write features of photos as if a run had computed them."""
        made = self.plan()
        listed = [row for file in made.files for batch in made.table.read(file.name) for row in batch.to_pylist()]
        by_path = {row["path"]: row for row in listed}
        rows = [{name: by_path[path].get(name) for name in FEATURES_SCHEMA.names} for path in paths]
        file = EarlierFile(run_id, f"part-{len(self.files):05d}.parquet")
        table = pa.Table.from_pylist(rows, FEATURES_SCHEMA)
        RunFolder(self._store, run_id).table("features").write(file.name, table.to_batches(), FEATURES_SCHEMA)
        self.files.append(file)

    def find(self) -> Reuse:
        new = Table(self._store.uri, "new")
        return reuse.find(self._context, self.plan(), self._store.uri, self.files, new, self._reused)

    def reused(self, found: Reuse) -> list[str]:
        """Copy the features that are reused, and return the paths of their photos."""
        features = Table(self._store.uri, "features")
        reuse.copy(self._context, found.reused.total(), self._store.uri, self._reused, features)
        rows = [row for name in features.names() for batch in features.read(name) for row in batch["path"].to_pylist()]
        return sorted(rows)


@pytest.fixture
def output(spark: SparkSession, tmp_path: Path) -> Output:
    return Output(spark, tmp_path)


def _paths(made: Plan) -> list[str]:
    return [path for batch in plan.photos(made.table, made.split(10**6)[0]) for path in batch["path"].to_pylist()]


def test_only_added_and_changed_photos_are_new(output: Output) -> None:
    output.fill("A/same.jpg", "A/gone.jpg", "A/longer.jpg", "A/touched.jpg")
    output.compute("first", ["A/gone.jpg", "A/longer.jpg", "A/same.jpg", "A/touched.jpg"])
    (output.photos / "A/gone.jpg").unlink()
    (output.photos / "A/longer.jpg").write_bytes(b"much longer than before")
    os.utime(output.photos / "A/touched.jpg", (0, 0))
    output.fill("A/added.jpg")

    found = output.find()
    assert sorted(_paths(found.new)) == ["A/added.jpg", "A/longer.jpg", "A/touched.jpg"]
    assert (found.new.photos, found.reused, output.reused(found)) == (3, {"first": 1}, ["A/same.jpg"])


def test_a_photo_that_an_earlier_run_wrote_twice_counts_once(output: Output) -> None:
    """If the input changes before a task is repeated, the task may write a photo that another task wrote."""
    output.fill("A/once.jpg", "A/twice.jpg")
    output.compute("first", ["A/once.jpg", "A/twice.jpg"])
    output.compute("first", ["A/twice.jpg"])
    found = output.find()
    assert (found.new.photos, found.reused) == (0, {"first": 2})
    assert output.reused(found) == ["A/once.jpg", "A/twice.jpg"]


def test_a_photo_of_several_runs_is_reused_from_one_of_them(output: Output) -> None:
    output.fill("A/1.jpg", "A/2.jpg", "A/3.jpg")
    output.compute("second", ["A/2.jpg", "A/3.jpg"])
    output.compute("first", ["A/1.jpg", "A/2.jpg"])
    found = output.find()
    assert (found.new.photos, found.reused) == (0, {"first": 2, "second": 1})
    assert output.reused(found) == ["A/1.jpg", "A/2.jpg", "A/3.jpg"]


def test_new_photos_of_an_archive_stay_in_the_order_in_which_they_are_read(output: Output) -> None:
    names = [f"A/{number * 7 % 6_000:04d}.jpg" for number in range(6_000)]
    output.fill("A/loose.jpg")
    (output.photos / "a.zip").write_bytes(written(dict.fromkeys(names, b"1")))
    output.compute("first", ["A/loose.jpg", *(f"a.zip/{name}" for name in names[::3])])
    found = output.find()
    assert found.reused == {"first": 2_001}
    assert _paths(found.new) == [f"a.zip/{name}" for number, name in enumerate(names) if number % 3]


def test_a_rejected_copy_in_an_archive_is_not_taken_for_the_photo(output: Output) -> None:
    """An archive may have several files of one name. All but the last are rejected, even if the bytes are the same."""
    output.photos.mkdir()
    twice = written({"A/1.jpg": b"1", "B/1.jpg": b"1"}).replace(b"B/1.jpg", b"A/1.jpg")
    (output.photos / "a.zip").write_bytes(twice)
    output.compute("first", ["a.zip/A/1.jpg"])
    found = output.find()
    assert (_paths(found.new), found.reused) == (["a.zip/A/1.jpg"], {"first": 1})
