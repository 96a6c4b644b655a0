"""A folder and a bucket must behave alike, so most of these tests run on both."""

import errno
import io
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spark_job.errors import UserError
from spark_job.storage import open_store
from spark_job.storage.base import LISTING_SCHEMA, Store
from spark_job.storage.file import open_file

NAMES = ["a.jpg", "Apple/b.jpg", "Apple/red ones/c d.jpg", "Ähre/é.jpg", "Pear/#%41+'q.JPG", "Pear/🍐.png"]


@pytest.fixture(params=["folder", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "folder":
        return open_store(str(tmp_path))
    return open_store(f"{request.getfixturevalue('s3')}/some/prefix")


def _paths(store: Store, folder: str | None) -> list[str]:
    return sorted(path for batch in store.listing(folder) for path in batch.column("path").to_pylist())


@pytest.mark.parametrize("seconds", [-(2**33), -(10**10), 0, 2**33, 10**10, 253402300800, 316537897599])
def test_a_file_may_have_any_time(tmp_path: Path, seconds: int) -> None:
    """Whatever is listed can be written to Parquet and read by pandas. Listing and reading agree on the time."""
    file = tmp_path / "a.jpg"
    file.write_bytes(b"x")
    os.utime(file, (0, seconds))
    folder = open_store(str(tmp_path))
    [page] = folder.listing(None)
    [time] = page.to_pandas()["modified"]
    assert time == folder.read("a.jpg").modified
    stored = file.stat().st_mtime
    if -2_000_000_000 < stored < 9_000_000_000:
        assert time.timestamp() == stored
    pq.write_table(pa.Table.from_batches([page]), tmp_path / "table.parquet")
    assert pd.read_parquet(tmp_path / "table.parquet")["modified"][0] == time


def test_written_objects_are_read_and_listed(store: Store) -> None:
    for name in NAMES:
        store.write(name, name.encode())
    assert {name: store.read(name).data.decode() for name in NAMES} == {name: name for name in NAMES}
    assert store.folders() == ["Apple", "Pear", "Ähre"]
    assert _paths(store, None) == ["a.jpg"]
    assert _paths(store, "Apple") == ["Apple/b.jpg", "Apple/red ones/c d.jpg"]
    assert sorted(name for folder in [None, *store.folders()] for name in _paths(store, folder)) == sorted(NAMES)
    assert {batch.schema for folder in (None, "Apple") for batch in store.listing(folder)} == {LISTING_SCHEMA}


def test_a_listing_and_a_read_give_the_same_size_and_time(store: Store) -> None:
    store.write("Apple/b.jpg", b"12345")
    [row] = [row for batch in store.listing("Apple") for row in batch.to_pylist()]
    read = store.read("Apple/b.jpg")
    assert (row["path"], row["size"], row["modified"]) == ("Apple/b.jpg", 5, read.modified)
    assert abs(datetime.now(UTC) - read.modified) < timedelta(minutes=5)


def test_writing_replaces_and_creating_does_not(store: Store) -> None:
    store.write("x", b"old")
    store.write("x", b"new")
    with pytest.raises(FileExistsError):
        store.create("x", b"newer")
    assert store.read("x").data == b"new"
    store.create("deep/er/y", b"first")
    assert store.read("deep/er/y").data == b"first"


def test_a_large_object_is_written_from_a_file_and_read_in_parts_of_one_version(store: Store) -> None:
    data = bytes(range(256)) * 4_000
    store.upload("x/1.zip", io.BytesIO(data))
    with pytest.raises(FileExistsError):
        store.upload("x/1.zip", io.BytesIO(b"other"))
    file = open_file(store, "x/1.zip", len(data), bytes_per_read=1_000)
    assert file.read(3_000) == data[:3_000]
    file.seek(-500, os.SEEK_END)
    assert file.read() == data[-500:]
    assert store.read_range("x/1.zip", 5, 7).data == data[5:7]
    store.upload("x/1.zip", io.BytesIO(data[::-1] + b"."), replace=True)
    file.seek(0)
    with pytest.raises(FileExistsError):
        file.read(1)


@pytest.mark.parametrize("uri", ["gs://bucket/photos", "s3:///photos", "s3://bucket//photos", "s3://bucket/a//b"])
def test_unsupported_uris_are_refused(uri: str) -> None:
    with pytest.raises(UserError, match=uri):
        open_store(uri)


def test_links_are_followed_once_and_broken_ones_are_listed(tmp_path: Path) -> None:
    (tmp_path / "Apple").mkdir()
    (tmp_path / "Apple" / "a.jpg").write_bytes(b"1")
    (tmp_path / "Apple" / "broken.jpg").symlink_to("nowhere")
    (tmp_path / "Apple" / "loop").symlink_to(tmp_path)
    (tmp_path / "Pear").symlink_to(tmp_path / "Apple")
    store = open_store(str(tmp_path))
    assert store.folders() == ["Apple", "Pear"]
    assert {"Pear/a.jpg", "Pear/broken.jpg"} <= set(_paths(store, "Pear"))
    assert "Apple/broken.jpg" in _paths(store, "Apple")
    with pytest.raises(FileNotFoundError):
        store.read("Apple/broken.jpg")


def test_an_object_is_replaced_only_if_it_is_unchanged(store: Store) -> None:
    store.write("x", b"1")
    seen = store.read("x")
    store.replace("x", b"2", seen)
    with pytest.raises(FileExistsError):
        store.replace("x", b"3", seen)
    assert store.read("x").data == b"2"


def test_a_folder_is_removed_completely_and_nothing_else(store: Store) -> None:
    for name in ("runs/one/a", "runs/one/deep/_b", "runs/one/.c.crc", "runs/one2/a", "one"):
        store.write(name, b"123")
    assert sorted(store.folders("runs")) == ["one", "one2"]
    removed = store.remove("runs/one")
    assert (removed.objects, removed.bytes) == (3, 9)
    assert str(removed) == "3 objects, 9 bytes"
    assert store.folders("runs") == ["one2"]
    assert store.read("one").data == b"123"
    store.delete("one")
    with pytest.raises(FileNotFoundError):
        store.read("one")


def test_a_refused_size_is_not_read(store: Store) -> None:
    store.write("x", b"12345")

    def refuse(size: int) -> None:
        raise ValueError(f"{size} bytes")

    with pytest.raises(ValueError, match="5 bytes"):
        store.read("x", refuse)


def test_a_file_that_disappears_during_a_listing_is_not_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(b"1")

    def gone(found: "os.DirEntry[str]") -> bool:
        Path(found.path).unlink(missing_ok=True)
        return False

    monkeypatch.setattr("spark_job.storage.local._is_folder", lambda found: found.name == "a.jpg" and gone(found))
    assert _paths(open_store(str(tmp_path)), None) == ["b.jpg"]


@pytest.mark.parametrize("links", [True, False])
def test_a_file_is_created_once_even_where_there_are_no_hard_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    store = open_store(str(tmp_path))
    store.create("a/b", b"first")
    with pytest.raises(FileExistsError):
        store.create("a/b", b"second")
    assert store.read("a/b").data == b"first"
    assert [file.name for file in (tmp_path / "a").iterdir()] == ["b"]


def test_a_link_that_leads_to_itself_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(UserError, match=r"/loop cannot be used: .*loop"):
        open_store(str(tmp_path / "loop"))


def test_a_full_disk_is_named_and_keeps_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match=f"No space left on device: '{tmp_path}/a/b'"):
        open_store(str(tmp_path)).write("a/b", b"x")
    assert not list((tmp_path / "a").iterdir())


def test_a_folder_that_may_not_be_listed_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = tmp_path / "photos" / "lost+found"
    closed.mkdir(parents=True)
    scandir = os.scandir

    def refuse(folder: Path) -> object:
        if Path(folder) == closed:  # the user of the tests may be root
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UserError, match=r"The folder .*/photos/lost\+found may not be listed"):
        list(open_store(str(tmp_path)).listing("photos"))
