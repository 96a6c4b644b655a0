import dataclasses
import json
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from spark_job import runs, tables
from spark_job.errors import RunError, UserError
from spark_job.features import Rejections
from spark_job.manifest import Counts, Manifest
from spark_job.run import _check_rejected
from spark_job.runs import EarlierFile, RunFolder
from spark_job.storage import open_store
from spark_job.storage.base import Store
from spark_job.tables import RejectedPhoto
from tests.example import MANIFEST


def _latest(output: Store) -> str | None:
    last = runs.latest(output)
    return last.run_id if last else None


def test_publishing_makes_the_run_the_latest(output: Store) -> None:
    assert runs.latest(output) is None
    folder = RunFolder(output, "one")
    folder.claim(MANIFEST.started, "1" * 64)
    assert runs.latest(output) is None
    folder.publish(MANIFEST, "<html>")
    assert runs.latest(output) == MANIFEST
    assert output.read("runs/one/report.html").data == b"<html>"
    assert json.loads(output.read("latest.json").data)["manifest"] == "runs/one/manifest.json"


def test_an_id_can_be_claimed_once(output: Store) -> None:
    RunFolder(output, "one").claim(MANIFEST.started, "1" * 64)
    with pytest.raises(UserError, match="The run one exists already"):
        RunFolder(output, "one").claim(MANIFEST.started, "1" * 64)
    RunFolder(output, "two").claim(MANIFEST.started, "1" * 64)


def test_only_features_of_the_same_model_and_schema_are_reused(output: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder(output, "one")
    assert not folder.has_features_of("1" * 64)
    folder.claim(MANIFEST.started, "1" * 64)
    assert folder.has_features_of("1" * 64)
    assert not folder.has_features_of("2" * 64)
    monkeypatch.setattr(tables, "FEATURES_SCHEMA_VERSION", tables.FEATURES_SCHEMA_VERSION + 1)
    assert not folder.has_features_of("1" * 64)
    monkeypatch.undo()
    output.write("runs/one/_started.json", b"damaged")
    assert not folder.has_features_of("1" * 64)


def test_a_run_that_does_not_add_up_is_not_published(output: Store) -> None:
    wrong = dataclasses.replace(MANIFEST, counts=Counts(10, 7, 2, 0))
    with pytest.raises(RunError, match="does not account for every photo"):
        RunFolder(output, "one").publish(wrong, "<html>")
    assert runs.latest(output) is None
    with pytest.raises(FileNotFoundError):
        output.read("runs/one/manifest.json")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RunError("3 of 15 photos were rejected."), "3 of 15 photos were rejected."),
        (ValueError("an unexpected value\nsecond line"), "The run failed: an unexpected value."),
    ],
)
def test_a_run_that_fails_leaves_its_reason(output: Store, error: Exception, reason: str) -> None:
    folder = RunFolder(output, "one")
    assert folder.failure is None
    with pytest.raises(type(error)), folder.failure_left():
        raise error
    assert folder.failure == reason


def test_a_reason_that_cannot_be_left_hides_no_error(tmp_path: Path) -> None:
    (tmp_path / "runs").touch()
    with pytest.raises(RunError, match="the real reason"), RunFolder(open_store(str(tmp_path)), "one").failure_left():
        raise RunError("the real reason")


@pytest.mark.parametrize("damage", [b"{", b"[]", b'{"manifest": 1}', b"\xff"])
def test_a_damaged_pointer_is_reported_and_can_be_replaced(output: Store, damage: bytes) -> None:
    output.write("latest.json", damage)
    with pytest.raises(UserError, match="cannot be read"):
        runs.latest(output)
    RunFolder(output, "one").publish(MANIFEST, "")
    assert runs.latest(output) == MANIFEST


@pytest.mark.parametrize("damaged", ["latest.json", "runs/one/manifest.json"])
def test_a_damaged_last_run_is_said_and_stops_no_run(output: Store, damaged: str) -> None:
    RunFolder(output, "one").publish(MANIFEST, "<html>")
    RunFolder(output, "dead").claim(MANIFEST.started, "1" * 64)
    output.write("runs/dead/features/part-00000.parquet", b"")
    output.write(damaged, b'{"run')
    said: list[str] = []
    assert runs.reusable(output, "1" * 64, said.append) == [EarlierFile("dead", "part-00000.parquet")]
    assert [sentence.startswith("The last run is not reused. ") for sentence in said] == [True]


def test_a_damaged_reason_counts_as_failed(output: Store) -> None:
    folder = RunFolder(output, "one")
    folder.claim(MANIFEST.started, "1" * 64)
    assert runs.newest_unfinished(output, since="") == folder
    output.write("runs/one/_failed.json", b"{")
    assert runs.newest_unfinished(output, since="") is None


def test_a_run_without_usable_photos_says_what_is_wrong_with_one_of_them(output: Store) -> None:
    detail = "access to s3://b/x.jpg is denied. It needs the permission s3:GetObject"
    denied = Rejections(Counter(denied=2, empty=1), [RejectedPhoto("denied", "a\nb/x.jpg", detail)])
    with pytest.raises(RunError, match=r"2 denied, 1 empty.* One of them is a\\nb/x\.jpg: .* s3:GetObject\."):
        _check_rejected(denied, 3, 0.05, RunFolder(output, "one"))
    other = Rejections(Counter(denied=1, unreadable=9), denied.examples)
    with pytest.raises(RunError, match=r"1 denied, 9 unreadable.* One of them is"):
        _check_rejected(other, 10, 0.05, RunFolder(output, "one"))


def test_an_output_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot be written"):
        RunFolder(open_store(str(tmp_path / "file")), "one").claim(MANIFEST.started, "1" * 64)


def _manifest(run_id: str, minute: int) -> Manifest:
    return dataclasses.replace(MANIFEST, run_id=run_id, started=f"2026-11-22T05:{minute:02d}:00+00:00")


def test_a_run_that_started_earlier_does_not_replace_a_later_one(output: Store) -> None:
    for run_id, minute, latest in (("late", 30, "late"), ("early", 10, "late"), ("later", 31, "later")):
        RunFolder(output, run_id).publish(_manifest(run_id, minute), "")
        assert _latest(output) == latest
    assert RunFolder(output, "early").is_published


def test_of_many_at_once_the_one_that_started_last_wins(output: Store) -> None:
    """All runs update the pointer at the same moment, in any order."""
    minutes = [7, 3, 9, 1, 5, 8, 2, 6, 4, 0]
    ready = threading.Barrier(len(minutes))

    def publish_one(minute: int) -> None:
        ready.wait()
        RunFolder(output, f"run-{minute}").publish(_manifest(f"run-{minute}", minute), "")

    with ThreadPoolExecutor(len(minutes)) as pool:
        list(pool.map(publish_one, minutes))
    assert _latest(output) == "run-9"


def test_processes_keep_out_of_each_others_way(tmp_path: Path) -> None:
    code = """
import sys
from tests.unit.test_runs import _manifest
from spark_job.runs import RunFolder
from spark_job.storage import open_store
for minute in map(int, sys.argv[2:]):
    RunFolder(open_store(sys.argv[1]), f"run-{minute}").publish(_manifest(f"run-{minute}", minute), "")
"""
    halves = [[str(minute) for minute in range(start, 50, 3)] for start in range(3)]
    running = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), *half]) for half in halves]
    assert [process.wait() for process in running] == [0, 0, 0]
    assert _latest(open_store(str(tmp_path))) == "run-49"
