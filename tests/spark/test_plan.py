from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyspark import SparkContext
from pyspark.sql import SparkSession

from spark_job import plan
from spark_job.errors import UserError
from spark_job.plan import Input, Plan, PlanFile, open_input, photos
from spark_job.storage import open_store
from spark_job.tables import Table


def _fill(folder: Path, names: Sequence[str]) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())


def _photos(made: Plan) -> list[tuple[str, str | None, int]]:
    batches = (batch for file in made.files for batch in made.table.read(file.name))
    return sorted((row["path"], row["label"], row["size"]) for batch in batches for row in batch.to_pylist())


def _paths(made: Plan, size: int) -> list[list[str]]:
    """Return the paths of the photos of each task."""
    return [
        [path for batch in photos(made.table, slices) for path in batch.column("path").to_pylist()]
        for slices in made.split(size)
    ]


@pytest.fixture
def context(spark: SparkSession) -> SparkContext:
    return spark.sparkContext


def test_images_are_found_at_any_depth_and_labelled_by_their_folder(context: SparkContext, tmp_path: Path) -> None:
    _fill(tmp_path, ["root.jpg", "Apple/a.JPG", "Apple/notes.txt", "more/Red Pear/p.WebP", "more/x.jpeg", "Kiwi/k.gif"])
    made, _ = plan.make(context, open_input(str(tmp_path)), Table(str(tmp_path), "_plan"))
    assert _photos(made) == [
        ("Apple/a.JPG", "Apple", 11),
        ("more/Red Pear/p.WebP", "Red Pear", 20),
        ("more/x.jpeg", "more", 11),
        ("root.jpg", None, 8),
    ]


def test_a_bucket_is_listed_like_a_folder(context: SparkContext, s3: str, tmp_path: Path) -> None:
    source = open_input(f"{s3}/photos")
    for name in ("Apple/a.jpg", "Apple/é b.png", "root.webp"):
        source.store.write(name, b"123")
    made, _ = plan.make(context, source, Table(str(tmp_path), "_plan"))
    assert _photos(made) == [("Apple/a.jpg", "Apple", 3), ("Apple/é b.png", "Apple", 3), ("root.webp", None, 3)]


def test_tasks_share_one_big_folder_of_a_bucket(context: SparkContext, s3: str, tmp_path: Path) -> None:
    source = open_input(s3)
    names = [f"all/{odd}{number:04d}.jpg" for odd in ("", "a/b ", "é+%41") for number in range(600)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: source.store.write(name, b"1"), names))
    made, _ = plan.make(context, source, Table(str(tmp_path), "_plan"))
    assert [path for path, *_ in _photos(made)] == sorted(names)
    assert max(file.photos for file in made.files) < len(names) / 2


@pytest.mark.parametrize("missing", ["nothing", "a.jpg"])
def test_an_input_that_is_not_a_folder_is_refused(tmp_path: Path, missing: str) -> None:
    _fill(tmp_path, ["a.jpg"])
    with pytest.raises(UserError, match=f"The input {tmp_path / missing} "):
        open_input(str(tmp_path / missing))


def test_an_input_without_images_is_refused(context: SparkContext, tmp_path: Path) -> None:
    _fill(tmp_path, ["Apple/notes.txt"])
    with pytest.raises(UserError, match="There is no photo"):
        plan.make(context, open_input(str(tmp_path)), Table(str(tmp_path), "_plan"))


_FILES = st.lists(st.integers(0, 30)).map(
    lambda counts: [PlanFile(f"{number}", count) for number, count in enumerate(counts)]
)


@given(_FILES, st.integers(1, 40))
def test_every_image_to_compute_is_in_one_task(files: list[PlanFile], size: int) -> None:
    tasks = Plan(Table("", ""), files).split(size)
    rows = [(name, row) for slices in tasks for name, start, stop in slices for row in range(start, stop)]
    assert sorted(rows) == sorted((file.name, row) for file in files for row in range(file.photos))
    sizes = sorted((sum(stop - start for _, start, stop in slices) for slices in tasks), reverse=True)
    assert all(one == size for one in sizes[:-1])
    assert all(0 < one <= size for one in sizes[-1:])


def test_tasks_that_run_together_read_distant_parts_of_the_plan() -> None:
    tasks = Plan(Table("", ""), [PlanFile("file", 64)]).split(1)
    assert [slices[0].start for slices in tasks[:9]] == [0, 8, 16, 24, 32, 40, 48, 56, 1]


def test_a_long_list_becomes_several_files(context: SparkContext, tmp_path: Path) -> None:
    names = {f"A/{number:04d}.jpg" for number in range(9_000)}
    _fill(tmp_path, sorted(names))
    made, _ = plan.make(context, open_input(str(tmp_path)), Table(str(tmp_path), "_plan"))
    assert made.photos == 9_000
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
    context: SparkContext, tmp_path: Path, request: pytest.FixtureRequest, where: str
) -> None:
    store = open_store(str(tmp_path / "in") if where == "folder" else f"{request.getfixturevalue('s3')}/in")
    for name in [*LEFT_OUT, "Apple/1.jpg", "Apple/2.JFIF", "Pear/3.jpe", "Pear/notes.txt"]:
        store.write(name, b"x")
    made, left_out = plan.make(context, Input(store), Table(str(tmp_path), "_plan"))
    assert (made.photos, left_out) == (3, {".heic": 2, ".tif": 1, "hidden": 7})


def test_an_input_with_other_images_only_says_so(context: SparkContext, tmp_path: Path) -> None:
    _fill(tmp_path / "in", ["Apple/1.heic", "Apple/2.heic", "Apple/.3.jpg"])
    with pytest.raises(UserError, match=r"left out: 2 \.heic, 1 hidden\.$"):
        plan.make(context, open_input(str(tmp_path / "in")), Table(str(tmp_path), "_plan"))
