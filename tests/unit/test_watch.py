"""A run is watched from outside, with files as a run writes them."""

import dataclasses
import io
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from rich.console import Console

from spark_job.errors import RunError, UserError
from spark_job.progress import StageProgress
from spark_job.runs import RunFolder
from spark_job.storage import open_store
from spark_job.storage.base import Store
from spark_job.storage.local import LocalStore
from spark_job.watch import Watched, choose, idle, watch
from tests.example import MANIFEST, WITHOUT_SPARK
from tests.s3_stand_in import Fault, StandIn

ROOT = Path(__file__).parents[2]


def _ago(**time: float) -> str:
    return (datetime.now(UTC) - timedelta(**time)).isoformat()


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spark_job.watch._READ_SECONDS", 0.05)


class Clock:
    """A clock that a test sets."""

    seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def watched(clock: Clock) -> Watched:
    """A run that began to be watched before it started."""
    watched = Watched(clock)
    watched.read(None)
    return watched


PCA = StageProgress("pca")


def _features(done: int) -> bytes:
    return StageProgress("features", done, 1000, 10.0).to_json().encode()


def test_a_run_that_has_not_started_is_waited_for_without_a_warning(watched: Watched, clock: Clock) -> None:
    clock.seconds += 3600
    watched.read(None)
    assert watched.is_waiting
    assert watched.warning() is None
    assert (watched.now().stage, watched.now().seconds) == ("waiting", 3600)


def test_the_time_of_a_stage_goes_on_between_two_writes(watched: Watched, clock: Clock) -> None:
    watched.read(_features(100))
    assert str(watched.now()) == "100 of 1,000, 10 photos/s, 1 min 30 s left"
    clock.seconds += 10
    assert str(watched.now()) == "100 of 1,000, 5 photos/s, 3 min 00 s left"
    watched.read(_features(100))  # the same content
    assert watched.now().seconds == 20


def test_a_driver_that_writes_nothing_may_have_died(watched: Watched, clock: Clock) -> None:
    watched.read(_features(100))
    clock.seconds += 179
    assert watched.warning() is None
    clock.seconds += 1
    assert "written nothing for 3 min 00 s. Its driver may have died" in (watched.warning() or "")
    clock.seconds += 179
    assert watched.warning() is None  # said once until the time has doubled
    clock.seconds += 1
    assert "written nothing for 6 min 00 s" in (watched.warning() or "")
    watched.read(_features(101))
    assert watched.warning() is None
    clock.seconds += 180
    assert "written nothing for 3 min 00 s" in (watched.warning() or "")


@pytest.mark.parametrize(
    ("progress", "stands"),
    [(StageProgress("features", 100, 1000), True), (StageProgress("features", 1000, 1000), False), (PCA, False)],
    ids=["some photos left", "all photos done", "a stage without photos"],
)
def test_a_driver_that_writes_while_no_image_is_finished_stands(
    watched: Watched, clock: Clock, progress: StageProgress, stands: bool
) -> None:
    """Other work, such as the copying of reused features, is not counted."""
    for second in range(0, 300, 20):
        watched.read(dataclasses.replace(progress, seconds=float(second)).to_json().encode())
        assert watched.warning() is None
        clock.seconds += 20
    said = watched.warning() or ""
    assert said.startswith("No task has finished for 5 min 00 s, but the driver is alive") == stands
    watched.read(_features(101))
    assert watched.warning() is None


def test_only_the_first_look_uses_the_time_in_the_file(clock: Clock) -> None:
    late, early = Watched(clock), Watched(clock)
    old = StageProgress("features", 1, 2, 5.0).to_json(_ago(minutes=10)).encode()
    late.read(old)
    assert "written nothing for 10 min" in (late.warning() or "")
    assert late.now().seconds == pytest.approx(605, abs=55)
    early.read(None)
    early.read(old)  # it was not there before, so the cluster's clock is wrong
    assert early.warning() is None
    ahead = Watched(clock)
    ahead.read(StageProgress("features", 1, 2, 5.0).to_json(_ago(minutes=-10)).encode())
    assert ahead.now().seconds == 5


def test_a_run_that_died_before_its_first_write_is_noticed(clock: Clock) -> None:
    watched = Watched(clock)
    watched.read(None, started=_ago(hours=1))
    assert watched.now().stage == "starting"
    assert "written nothing for 1 h 00 min" in (watched.warning() or "")


def test_the_newest_run_in_progress_is_chosen(output: Store) -> None:
    started = {"old": _ago(hours=73), "first": _ago(hours=3), "newest": _ago(hours=2)}
    started |= {"published": _ago(hours=1), "failed": _ago(minutes=1)}
    for run_id, when in started.items():
        RunFolder(output, run_id).claim(when, "1" * 64)
    RunFolder(output, "published").publish(dataclasses.replace(MANIFEST, run_id="published"), "")
    RunFolder(output, "failed").leave_failure("because")
    assert choose(output, None) == RunFolder(output, "newest")
    assert choose(output, "first") == RunFolder(output, "first")
    assert choose(output, "later") == RunFolder(output, "later")
    for run_id in ("newest", "first"):
        RunFolder(output, run_id).leave_failure("because")
    assert choose(output, None) is None
    assert "No run is in progress. The latest published run is published." in idle(output)


def test_an_output_without_runs_is_an_error(output: Store) -> None:
    output.write("latest.txt", b"")  # creates the folder
    assert choose(output, None) is None
    with pytest.raises(UserError, match=r"There is no run in .* give its --run-id"):
        idle(output)
    with pytest.raises(UserError, match="run-id is 'a/b'"):
        choose(output, "a/b")


def test_an_output_that_does_not_exist_is_an_error(tmp_path: Path, s3: str) -> None:
    (tmp_path / "file").touch()
    for uri in (str(tmp_path / "none"), str(tmp_path / "file"), f"{s3}-none/results"):
        with pytest.raises(UserError, match=r"There is no output|the bucket does not exist"):
            choose(open_store(uri), "one")


def _terminal() -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, width=100, force_terminal=True), out


def test_a_published_run_is_a_result_whatever_else_its_folder_has(output: Store) -> None:
    """A second run with the same id may leave a failure on a cluster."""
    folder = RunFolder(output, "one")
    folder.write_progress(StageProgress("features", 1, 10).to_json())
    folder.leave_failure("The run one exists already.")
    folder.publish(MANIFEST, "")
    assert watch(folder, _terminal()[0]) == MANIFEST


@pytest.mark.parametrize("name", ["manifest.json", "_progress.json", "_failed.json"])
@pytest.mark.parametrize("content", [b"{", b"[]", b"{}"])
def test_a_file_of_another_version_is_reported(output: Store, name: str, content: bytes) -> None:
    output.write(f"runs/one/{name}", content)
    with pytest.raises(UserError, match=r"run one (is published, but|has written about itself) .* cannot be read"):
        watch(RunFolder(output, "one"), _terminal()[0])


def test_a_lost_connection_does_not_end_the_watch(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spark_job.storage.s3._PAUSES", ())
    folder = RunFolder(open_store("s3://lost"), "one")
    folder.publish(MANIFEST, "")
    stand_in.faults["lost/runs/one/manifest.json"] = [Fault.RESET] * 3
    console, out = _terminal()
    assert watch(folder, console) == MANIFEST
    assert out.getvalue().count("Trying again.") == 1


def test_a_watch_that_can_read_nothing_ends_and_says_so_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(*_: object) -> None:
        raise ConnectionError("s3://results does not answer")

    monkeypatch.setattr(LocalStore, "read", fail)
    monkeypatch.setattr("spark_job.watch._UNREADABLE_SECONDS", 0.2)
    console, out = _terminal()
    with pytest.raises(RunError, match=r"Nothing could be read for .*: s3://results does not answer\. The run is not"):
        watch(RunFolder(open_store(str(tmp_path)), "one"), console)
    assert out.getvalue().count("s3://results does not answer. Trying again.") == 1


def _command(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([*WITHOUT_SPARK, "watch", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_command_has_an_exit_code_and_a_sentence_for_each_end(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    RunFolder(store, "failed").leave_failure("fruits: It broke.")
    done = _command("--output", str(tmp_path), "--run-id", "failed")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1] == "fruits: The run failed failed. It said: It broke."

    done = _command("--output", str(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1].startswith(f"fruits: There is no run in {tmp_path}.")

    RunFolder(store, "one").publish(MANIFEST, "")
    done = _command("--output", str(tmp_path), "--run-id", "one")
    assert done.returncode == 0
    assert done.stderr.splitlines() == ["run        one", "features   1.5 s"]
    assert done.stdout.startswith("run       one\nphotos    10 found = ")

    done = _command("--output", str(tmp_path))
    assert (done.returncode, done.stderr.splitlines()) == (0, [])
    assert done.stdout.startswith("No run is in progress. The latest published run is one.")


def test_an_interrupted_watch_does_not_pretend_to_be_the_run(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "spark_job", "watch", "--output", str(tmp_path), "--run-id", "later"]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        while "has not started yet" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.stderr.read() == "fruits: Interrupted; the run later is not affected.\n"
    assert process.returncode == 130
