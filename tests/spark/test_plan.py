import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from spark_job import plan
from spark_job.errors import UserError
from spark_job.plan import Plan, PlanFile, photos
from spark_job.storage import open_store
from spark_job.tables import Table


def _fill(folder: Path, names: Sequence[str]) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())


def _of_run(photos: DataFrame, run_id: str) -> DataFrame:
    """Return what is known of a run that has computed these photos."""
    return photos.select(*plan.IDENTITY, F.lit(run_id).alias("run_id"), F.lit("a").alias("file"), F.lit(7).alias("row"))


def _rows(table: DataFrame) -> list[tuple[str, str | None, int]]:
    return sorted((row.path, row.label, row["size"]) for row in table.collect())


def _paths(made: Plan, size: int) -> list[list[str]]:
    """Return the paths of the photos of each task."""
    return [
        [path for batch in photos(made.table, slices) for path in batch.column("path").to_pylist()]
        for slices in made.split(size)
    ]


def _sources(made: Plan) -> list[tuple[str, str, str, int]]:
    """Return the reused photos of a plan, and where their features are."""
    rows = [row for name in made.table.names() for batch in made.table.read(name) for row in batch.to_pylist()]
    return sorted((row["path"], row["run_id"], row["file"], row["row"]) for row in rows if row["run_id"])


def test_images_are_found_at_any_depth_and_labelled_by_their_folder(spark: SparkSession, tmp_path: Path) -> None:
    _fill(tmp_path, ["root.jpg", "Apple/a.JPG", "Apple/notes.txt", "more/Red Pear/p.WebP", "more/x.jpeg", "Kiwi/k.gif"])
    assert _rows(plan.list_photos(spark, open_store(str(tmp_path)))) == [
        ("Apple/a.JPG", "Apple", 11),
        ("more/Red Pear/p.WebP", "Red Pear", 20),
        ("more/x.jpeg", "more", 11),
        ("root.jpg", None, 8),
    ]


def test_a_bucket_is_listed_like_a_folder(spark: SparkSession, s3: str) -> None:
    store = open_store(f"{s3}/photos")
    for name in ("Apple/a.jpg", "Apple/é b.png", "root.webp"):
        store.write(name, b"123")
    rows = _rows(plan.list_photos(spark, store))
    assert rows == [("Apple/a.jpg", "Apple", 3), ("Apple/é b.png", "Apple", 3), ("root.webp", None, 3)]


def test_tasks_share_one_big_folder_of_a_bucket(spark: SparkSession, s3: str) -> None:
    store = open_store(s3)
    names = [f"all/{odd}{number:04d}.jpg" for odd in ("", "a/b ", "é+%41") for number in range(600)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: store.write(name, b"1"), names))
    rows = plan.list_photos(spark, store).select("path", F.spark_partition_id().alias("task")).collect()
    assert sorted(row["path"] for row in rows) == sorted(names)
    assert max(Counter(row["task"] for row in rows).values()) < len(names) / 2


@pytest.mark.parametrize("missing", ["nothing", "a.jpg"])
def test_an_input_that_is_not_a_folder_is_refused(spark: SparkSession, tmp_path: Path, missing: str) -> None:
    _fill(tmp_path, ["a.jpg"])
    with pytest.raises(UserError, match=f"The input {tmp_path / missing} "):
        plan.list_photos(spark, open_store(str(tmp_path / missing)))


def test_an_input_without_images_is_refused(spark: SparkSession, tmp_path: Path) -> None:
    _fill(tmp_path, ["Apple/notes.txt"])
    store = open_store(str(tmp_path))
    with pytest.raises(UserError, match="There is no photo"):
        plan.make(spark, store, None, Table(str(tmp_path), "_plan"))


def test_only_added_and_changed_images_are_new(spark: SparkSession, tmp_path: Path) -> None:
    _fill(tmp_path, ["A/same.jpg", "A/gone.jpg", "A/longer.jpg", "A/touched.jpg"])
    store = open_store(str(tmp_path))
    earlier = _of_run(plan.list_photos(spark, store), "first").persist()
    earlier.count()
    (tmp_path / "A/gone.jpg").unlink()
    (tmp_path / "A/longer.jpg").write_bytes(b"much longer than before")
    os.utime(tmp_path / "A/touched.jpg", (0, 0))
    _fill(tmp_path, ["A/added.jpg"])

    made = plan.make(spark, store, earlier, Table(str(tmp_path), "_plan"))
    assert (made.found, made.to_compute, made.reused_from) == (4, 3, {"first": 1})
    assert sorted(_paths(made, 10)[0]) == ["A/added.jpg", "A/longer.jpg", "A/touched.jpg"]
    assert _sources(made) == [("A/same.jpg", "first", "a", 7)]


def test_an_image_that_an_earlier_run_wrote_twice_counts_once(spark: SparkSession, tmp_path: Path) -> None:
    """If the input changes before a task is repeated, the task may write an image that another task wrote."""
    _fill(tmp_path, ["A/once.jpg", "A/twice.jpg"])
    store = open_store(str(tmp_path))
    earlier = plan.list_photos(spark, store)
    earlier = _of_run(earlier.union(earlier.filter("path = 'A/twice.jpg'")), "first")

    made = plan.make(spark, store, earlier, Table(str(tmp_path), "_plan"))
    assert (made.found, made.to_compute, made.reused_from) == (2, 0, {"first": 2})


def test_an_image_of_several_runs_is_reused_from_one_of_them(spark: SparkSession, tmp_path: Path) -> None:
    _fill(tmp_path, ["A/1.jpg", "A/2.jpg", "A/3.jpg"])
    store = open_store(str(tmp_path))
    photos = plan.list_photos(spark, store)
    first, second = _of_run(photos.filter("path < 'A/3'"), "first"), _of_run(photos.filter("path > 'A/2'"), "second")

    made = plan.make(spark, store, first.union(second), Table(str(tmp_path), "_plan"))
    assert (made.found, made.to_compute, made.reused_from) == (3, 0, {"first": 2, "second": 1})
    assert [(path, run_id) for path, run_id, *_ in _sources(made)] == [
        ("A/1.jpg", "first"),
        ("A/2.jpg", "first"),
        ("A/3.jpg", "second"),
    ]


_FILES = st.lists(st.integers(0, 30)).map(
    lambda counts: [PlanFile(f"{number}", count, Counter()) for number, count in enumerate(counts)]
)


@given(_FILES, st.integers(1, 40))
def test_every_image_to_compute_is_in_one_task(files: list[PlanFile], size: int) -> None:
    tasks = Plan(Table("", ""), files, Counter()).split(size)
    rows = [(name, row) for slices in tasks for name, start, stop in slices for row in range(start, stop)]
    assert sorted(rows) == sorted((file.name, row) for file in files for row in range(file.to_compute))
    sizes = sorted((sum(stop - start for _, start, stop in slices) for slices in tasks), reverse=True)
    assert all(one == size for one in sizes[:-1])
    assert all(0 < one <= size for one in sizes[-1:])


def test_tasks_that_run_together_read_distant_parts_of_the_plan() -> None:
    tasks = Plan(Table("", ""), [PlanFile("file", 64, Counter())], Counter()).split(1)
    assert [slices[0].start for slices in tasks[:9]] == [0, 8, 16, 24, 32, 40, 48, 56, 1]


def test_a_long_list_becomes_several_files(spark: SparkSession, tmp_path: Path) -> None:
    names = {f"A/{number:04d}.jpg" for number in range(9_000)}
    _fill(tmp_path, sorted(names))
    made = plan.make(spark, open_store(str(tmp_path)), None, Table(str(tmp_path), "_plan"))
    assert made.to_compute == made.found == 9_000
    tasks = _paths(made, 1_000)
    assert [len(paths) for paths in tasks] == [1_000] * 9
    assert {path for paths in tasks for path in paths} == names


LEFT_OUT = [
    "Apple/IMG_1.HEIC",
    "Apple/IMG_2.heic",
    "Pear/scan.tif",
    "Apple/.ipynb_checkpoints/1-checkpoint.jpg",
    "__MACOSX/Apple/._1.jpg",
    "Apple/._1.jpg",
    "@eaDir/1.jpg/SYNOPHOTO_THUMB_XL.jpg",
    "@Recycle/Apple/1.jpg",
    "#snapshot/daily/Apple/1.jpg",
    "System Volume Information/1.jpg",
    ".Trash/1.heic",
]


@pytest.mark.parametrize("where", ["folder", "bucket"])
def test_hidden_photos_and_other_images_are_left_out_and_counted(
    spark: SparkSession, tmp_path: Path, request: pytest.FixtureRequest, where: str
) -> None:
    store = open_store(str(tmp_path / "in") if where == "folder" else f"{request.getfixturevalue('s3')}/in")
    for name in [*LEFT_OUT, "Apple/1.jpg", "Apple/2.JFIF", "Pear/3.jpe", "Pear/notes.txt"]:
        store.write(name, b"x")
    known = _of_run(plan.list_photos(spark, store).filter("path = 'Apple/1.jpg'"), "first")
    for number, earlier in enumerate((None, known)):
        made = plan.make(spark, store, earlier, Table(str(tmp_path), f"_plan-{number}"))
        assert made.found == 3
        assert made.left_out == {".heic": 2, ".tif": 1, "hidden": 7}


def test_an_input_with_other_images_only_says_so(spark: SparkSession, tmp_path: Path) -> None:
    _fill(tmp_path / "in", ["Apple/1.heic", "Apple/2.heic", "Apple/.3.jpg"])
    with pytest.raises(UserError, match=r"left out: 2 \.heic, 1 hidden\.$"):
        plan.make(spark, open_store(str(tmp_path / "in")), None, Table(str(tmp_path), "_plan"))
