import dataclasses
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_job.errors import UserError
from spark_job.forget import Run, choose, forget
from spark_job.runs import RunFolder
from spark_job.storage import open_store
from spark_job.storage.base import Removed, Store
from tests.example import MANIFEST

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def _at(hours_ago: float) -> str:
    return (NOW - timedelta(hours=hours_ago)).isoformat(timespec="seconds")


def _publish(output: Store, run_id: str, started: str) -> None:
    folder = RunFolder(output, run_id)
    folder.claim(started, "1" * 64)
    output.write(f"{folder.path}/features/part-0.parquet", b"12345")
    folder.publish(dataclasses.replace(MANIFEST, run_id=run_id, started=started), "<html>")


@pytest.mark.parametrize(
    ("keep", "gone"),
    [
        (1, ["old", "older", "died", "no marker"]),
        (2, ["older", "died", "no marker"]),
        (9, ["died", "no marker"]),
    ],
)
def test_older_published_runs_and_old_unpublished_runs_are_removed(keep: int, gone: list[str]) -> None:
    published = {"older": 30, "old": 10, "latest": 2, "just published": 1}
    known = [Run(run_id, _at(hours), published=True) for run_id, hours in published.items()]
    known += [Run(run_id, _at(hours), published=False) for run_id, hours in (("died", 73), ("in progress", 71))]
    known.append(Run("no marker", "", published=False))
    assert [run.run_id for run in choose(known, "latest", keep, NOW)] == gone


@given(st.lists(st.tuples(st.floats(0, 200), st.booleans()), max_size=12), st.integers(1, 5), st.floats(0, 200))
def test_the_latest_run_and_runs_that_may_be_in_progress_stay(
    others: list[tuple[float, bool]], keep: int, age: float
) -> None:
    runs = [Run(str(number), _at(hours), published) for number, (hours, published) in enumerate(others)]
    latest = Run("latest", _at(age), published=True)
    gone = choose([*runs, latest], "latest", keep, NOW)
    assert latest not in gone
    assert all(run.published and run.started <= latest.started for run in gone if run.started > _at(72))
    older = [run for run in runs if run.published and run.started < latest.started]
    assert sum(run not in gone for run in older) <= keep


def test_what_is_removed_is_gone_and_counted(output: Store) -> None:
    for number in range(3):
        _publish(output, f"run-{number}", f"2026-11-2{number}T05:00:00+00:00")
    RunFolder(output, "died").claim("2026-01-01T00:00:00+00:00", "1" * 64)
    size = len(output.read("runs/died/_started.json").data)
    output.write("runs/died/features/_temporary/0/part-0.parquet", b"123")
    RunFolder(output, "run-22").claim("2126-01-01T00:00:00+00:00", "1" * 64)
    gone = forget(output, [], keep=1)
    assert {run.run_id for run in gone} == {"run-0", "run-1", "died"}
    died = next(what for run, what in gone.items() if run.run_id == "died")
    assert died == Removed(2, size + 3)
    assert set(output.folders("runs")) == {"run-2", "run-22"}


def test_any_run_but_the_latest_can_be_removed_by_its_id(output: Store) -> None:
    _publish(output, "one", "2026-11-20T05:00:00+00:00")
    _publish(output, "two", "2026-11-21T05:00:00+00:00")
    with pytest.raises(UserError, match="two is the latest"):
        forget(output, ["one", "two"], keep=1)
    with pytest.raises(UserError, match="no run three"):
        forget(output, ["one", "three"], keep=1)
    assert set(output.folders("runs")) == {"one", "two"}
    assert [run.run_id for run in forget(output, ["one"], keep=1)] == ["one"]


def test_nothing_is_removed_without_a_published_run(output: Store) -> None:
    RunFolder(output, "one").claim("2026-01-01T00:00:00+00:00", "1" * 64)
    with pytest.raises(UserError, match="no published run"):
        forget(output, ["one"], keep=1)
    assert output.folders("runs") == ["one"]


def test_links_are_not_followed(tmp_path: Path) -> None:
    output = open_store(str(tmp_path / "results"))
    _publish(output, "one", "2026-11-20T05:00:00+00:00")
    _publish(output, "two", "2026-11-21T05:00:00+00:00")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"1")
    (tmp_path / "results" / "runs" / "one" / "link").symlink_to(tmp_path / "photos")
    forget(output, [], keep=1)
    assert (tmp_path / "photos" / "a.jpg").exists()
    assert not (tmp_path / "results" / "runs" / "one").exists()


def test_the_command_prints_what_it_removed(tmp_path: Path) -> None:
    output = open_store(str(tmp_path))
    _publish(output, "one", "2026-11-20T05:00:00+00:00")
    _publish(output, "two", "2026-11-21T05:00:00+00:00")

    def command(*arguments: str) -> "subprocess.CompletedProcess[str]":
        line = [sys.executable, "-m", "spark_job", "forget", "--output", str(tmp_path), *arguments]
        return subprocess.run(line, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])

    assert "keep is 0" in command("--keep", "0").stderr
    assert command("--keep", "2").stdout == f"removed 0 runs from {tmp_path}: 0 objects, 0 bytes\n"
    files = [tmp_path / "summaries" / "one.json", *(tmp_path / "runs" / "one").rglob("*")]
    size = sum(file.stat().st_size for file in files if file.is_file())
    done = command()
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        f"removed one (published, started 2026-11-20T05:00:00+00:00): 5 objects, {size:,} bytes",
        f"removed 1 runs from {tmp_path}: 5 objects, {size:,} bytes",
    ]
    assert command("--run-id", "two").returncode == 2
