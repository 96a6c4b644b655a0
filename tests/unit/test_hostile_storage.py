"""Reads, writes and listings on an S3 that throttles, breaks connections, loses objects and changes objects."""

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from spark_job import plan
from spark_job.features import Photo, _read, read_ahead
from spark_job.names import archives
from spark_job.network.limits import MAX_BYTES
from spark_job.rejection import Reason, RejectedPhotoError
from spark_job.storage.base import UnavailableError
from spark_job.storage.local import LocalStore
from spark_job.storage.ranges import KeyRange
from spark_job.storage.s3 import S3Store
from tests.hostile_archives import written
from tests.s3_stand_in import Fault, Object, StandIn

TRANSIENT = [Fault.SLOW_DOWN, Fault.INTERNAL, Fault.RESET, Fault.CUT, Fault.SHORT, Fault.STUCK, Fault.SILENT]
DATA = bytes(range(256)) * 2000
OLD = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def photos(stand_in: StandIn) -> S3Store:
    stand_in.put("photos/a.jpg", DATA)
    return S3Store("photos", "")


@pytest.mark.parametrize("fault", TRANSIENT)
def test_a_transient_fault_is_tried_again_and_counted(stand_in: StandIn, photos: S3Store, fault: Fault) -> None:
    stand_in.faults["photos/a.jpg"] = [fault, fault]
    read = photos.read("a.jpg")
    assert (read.data, read.retries, stand_in.requests["photos/a.jpg"]) == (DATA, 2, 3)


def test_a_limit_of_the_machine_rejects_no_photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(OSError, match="Too many open files"):
        _read(LocalStore(str(tmp_path)), Photo("a.jpg", None, 7, OLD))


@pytest.mark.parametrize("fault", TRANSIENT)
def test_a_fault_that_stays_is_given_up_after_four_attempts(stand_in: StandIn, photos: S3Store, fault: Fault) -> None:
    stand_in.faults["photos/a.jpg"] = [fault] * 99
    photo, content, retries = _read(photos, Photo("a.jpg", None, 7, OLD))
    assert isinstance(content, RejectedPhotoError)
    assert (content.reason, retries) == (Reason.UNAVAILABLE, 3)
    assert "in 4 attempts" in content.detail
    assert "\n" not in content.detail
    assert stand_in.requests["photos/a.jpg"] == 4
    assert (photo.size, photo.modified) == (7, OLD)  # as listed, because no read succeeded


@pytest.mark.parametrize(
    ("fault", "reason"), [(Fault.LOST, "missing"), (Fault.DENIED, "denied"), (Fault.ARCHIVED, "archived")]
)
def test_what_will_not_change_is_asked_for_once(stand_in: StandIn, photos: S3Store, fault: Fault, reason: str) -> None:
    stand_in.faults["photos/a.jpg"] = [fault] * 99
    _, content, retries = _read(photos, Photo("a.jpg", None, 7, OLD))
    assert isinstance(content, RejectedPhotoError)
    assert (content.reason, retries, stand_in.requests["photos/a.jpg"]) == (reason, 0, 1)


def test_retries_end_at_a_time_limit(stand_in: StandIn, photos: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spark_job.storage.s3._PATIENCE_SECONDS", 0.5)
    stand_in.faults["photos/a.jpg"] = [Fault.STUCK] * 99
    with pytest.raises(UnavailableError):
        photos.read("a.jpg")
    assert stand_in.requests["photos/a.jpg"] == 1


def test_what_is_recorded_is_what_was_read(stand_in: StandIn, photos: S3Store) -> None:
    """The listing shows 7 bytes; the object is replaced before it is read."""
    stand_in.put("photos/a.jpg", b"1234567")
    stand_in.changes["photos/a.jpg"] = Object(DATA, OLD)
    photo, content, _ = _read(photos, Photo("a.jpg", "x", 7, datetime.now(UTC)))
    assert content == DATA
    assert (photo.size, photo.modified) == (len(DATA), OLD)


def test_an_object_that_grew_is_not_fetched(stand_in: StandIn, photos: S3Store) -> None:
    stand_in.put("photos/a.jpg", bytes(MAX_BYTES + 1))
    assert stand_in.objects["photos/a.jpg"].etag  # now, because it takes longer than the storage may be silent
    _, content, _ = _read(photos, Photo("a.jpg", None, 7, OLD))
    assert isinstance(content, RejectedPhotoError)
    assert content.reason == Reason.TOO_LARGE


def test_a_listing_survives_throttling(stand_in: StandIn, photos: S3Store) -> None:
    for number in range(2500):
        stand_in.put(f"photos/Apple/{number}.jpg", b"")
    stand_in.faults["photos"] = [Fault.SLOW_DOWN, Fault.RESET]
    assert photos.folders() == ["Apple"]
    stand_in.faults["photos"] = [Fault.INTERNAL]
    assert sum(batch.num_rows for batch in photos.listing("Apple")) == 2500


def test_writes_are_repeated(stand_in: StandIn, photos: S3Store) -> None:
    stand_in.faults["photos/x"] = [Fault.SLOW_DOWN, Fault.RESET]
    photos.write("x", b"1")
    stand_in.faults["photos/x"] = [Fault.SLOW_DOWN]
    photos.replace("x", b"2", photos.read("x"))
    assert photos.read("x").data == b"2"


def _paths(store: S3Store, part: KeyRange) -> list[str]:
    return [path for page in store.list_part(part) for path in page.column("path").to_pylist()]


ODD_NAMES = ["a//b", "/a", "..", "é", "🍐/🍐", "\x01", "line\nbreak", "a b+c%41", "\x7f", "\ufffd", "\U0010ffff", "<&>"]


def test_the_parts_of_a_bucket_have_every_key_once(stand_in: StandIn, photos: S3Store) -> None:
    names = [f"{odd}{number:03d}" for odd in ODD_NAMES for number in range(400)]
    for name in [*names, "marker/"]:
        stand_in.put(f"photos/{name}", b"")
    parts = sorted(photos.parts(8), key=lambda part: part.after)
    found = [_paths(photos, part) for part in parts]
    assert len(parts) > 8
    assert [path for paths in found for path in paths] == sorted([*names, "a.jpg"], key=str.encode)
    assert max(map(len, found)) < len(names) / 4


def _members(store: S3Store) -> list[Photo]:
    listed = [row for page in store.listing(None) for row in archives(page).to_pylist()]
    return [Photo.of_row(row) for page in plan.in_archives(store, iter(listed)) for row in page.photos.to_pylist()]


def _outcomes(store: S3Store, photos: list[Photo]) -> dict[str, bytes | str]:
    with ThreadPoolExecutor(4) as pool:
        reads = list(read_ahead(pool, store, iter(photos)))
    return {
        read.photo.path: read.content if isinstance(read.content, bytes) else str(read.content.reason) for read in reads
    }


def test_an_archive_takes_two_requests_and_is_tried_again(stand_in: StandIn, photos: S3Store) -> None:
    files = {f"a/{number}.jpg": DATA[: 3 * number + 1] for number in range(1_000)}
    stand_in.put("photos/x.zip", written(files))
    stand_in.faults["photos/x.zip"] = [Fault.SLOW_DOWN]
    members = _members(photos)
    assert stand_in.requests["photos/x.zip"] == 2
    stand_in.faults["photos/x.zip"] = [Fault.RESET]
    assert _outcomes(photos, members) == {f"x.zip/{name}": data for name, data in files.items()}
    assert stand_in.requests["photos/x.zip"] == 4


def test_an_archive_that_is_replaced_is_noticed_and_nothing_else_is_lost(stand_in: StandIn, photos: S3Store) -> None:
    stand_in.put("photos/x.zip", written({"a/1.jpg": b"1", "a/2.jpg": b"2"}))
    stand_in.put("photos/y.zip", written({"a/1.jpg": b"3"}))
    stand_in.put("photos/z.zip", written({"a/1.jpg": b"4"}))
    members = _members(photos)
    stand_in.put("photos/x.zip", written({"a/1.jpg": b"5", "a/2.jpg": b"6"}))
    stand_in.faults["photos/z.zip"] = [Fault.LOST]
    assert _outcomes(photos, members) == {
        "x.zip/a/1.jpg": "changed",
        "x.zip/a/2.jpg": "changed",
        "y.zip/a/1.jpg": b"3",
        "z.zip/a/1.jpg": "missing",
    }
