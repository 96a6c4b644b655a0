import io
import json
import re
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from spark_job.progress import StageProgress, Stages

FEATURES = StageProgress("features", 250, 1000, 5.0, {"plan": 1.5})


def _silent() -> Stages:
    return Stages(Console(file=io.StringIO()))


def test_a_stage_prints_its_progress_to_a_log_at_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr("spark_job.progress._LOG_SECONDS", 0.05)
    stages = Stages(Console(file=out, width=200))
    with stages.stage("features", 1000, lambda: 250):
        _wait(lambda: len(out.getvalue().splitlines()) >= 2)
    lines = out.getvalue().splitlines()
    assert lines[0].startswith("features   250 of 1,000, ")
    assert "photos/s" in lines[0]
    assert lines[0].endswith(" left")
    assert stages.seconds["features"] >= 0.1


@pytest.mark.parametrize(
    ("images", "shown"), [(2_000_000, r"250,000 of 2,000,000, [\d,]+ photos/s, [\d.]+ s left"), (0, r"0\.\d s so far")]
)
def test_a_stage_on_a_terminal_shows_a_bar(images: int, shown: str) -> None:
    out = io.StringIO()
    stages = Stages(Console(file=out, width=80, force_terminal=True))
    with stages.stage("features", images, lambda: 250_000):
        _wait(lambda: re.search(r"features.*━.*" + shown, out.getvalue()))


def test_a_stage_that_fails_is_not_reported_as_done() -> None:
    out = io.StringIO()
    stages = Stages(Console(file=out))
    with pytest.raises(ZeroDivisionError), stages.stage("plan"):
        _ = 1 / 0
    assert not out.getvalue()
    assert not stages.seconds


def test_in_words_it_is_the_count_the_speed_and_the_time_left() -> None:
    def words(done: int, total: int, seconds: float) -> str:
        return str(StageProgress("features", done, total, seconds))

    assert words(0, 1000, 3.0) == "0 of 1,000"
    assert words(500, 2000, 10.0) == "500 of 2,000, 50 photos/s, 30 s left"
    assert words(1000, 2000, 65.0) == "1,000 of 2,000, 15 photos/s, 1 min 05 s left"
    assert words(2000, 2000, 10.0) == "2,000 of 2,000, 200 photos/s"
    assert words(2005, 2000, 10.0) == "2,005 of 2,000, 200 photos/s"  # a task that ran twice counts twice
    assert words(0, 0, 72.0) == "1 min 12 s so far"


def test_the_file_has_the_figures_and_can_be_read_back() -> None:
    text = FEATURES.to_json()
    fields = json.loads(text)
    assert (fields["images_per_second"], fields["seconds_left"]) == (50, 15)
    progress, written = StageProgress.from_json(text)
    assert progress == FEATURES
    assert timedelta(0) <= datetime.now(UTC) - written < timedelta(seconds=60)
    assert json.loads(StageProgress("plan").to_json())["seconds_left"] is None


def _wait(condition: Callable[[], object]) -> None:
    """Wait until a condition holds. There is no time-out but pytest's, which a busy machine does not reach."""
    while not condition():
        time.sleep(0.01)


def test_progress_is_written_soon_and_then_at_most_every_20_s(monkeypatch: pytest.MonkeyPatch) -> None:
    stages, waits, written = _silent(), list[float](), list[str]()
    looks = iter([None, FEATURES, FEATURES])
    monkeypatch.setattr(stages, "_look", lambda: next(looks))

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        return len(waits) > 3

    stages._write_often(written.append, wait)
    assert waits == [0.2, 0.2, 20, 20]
    assert [StageProgress.from_json(text)[0] for text in written] == [FEATURES, FEATURES]


def test_a_write_that_hangs_blocks_neither_a_stage_nor_the_end() -> None:
    stages, began, hung = _silent(), threading.Event(), threading.Event()

    def write(_: str) -> None:
        began.set()
        hung.wait()

    with stages.written(write):
        with stages.stage("features"):
            began.wait()
        with stages.stage("pca"):
            pass
    assert set(stages.seconds) == {"features", "pca"}
    hung.set()


def test_only_stages_after_the_claim_are_written_and_nothing_after_the_end() -> None:
    stages, written = _silent(), list[str]()

    def stages_seen(wait: Callable[[], object]) -> list[str]:
        wait()
        return [json.loads(text)["stage"] for text in written]

    with stages.stage("plan"):
        pass
    with stages.written(written.append):
        assert stages_seen(lambda: time.sleep(0.5)) == []
        with stages.stage("features", 10, lambda: 3):
            assert stages_seen(lambda: _wait(lambda: written)) == ["features"]
        with stages.stage("pca"):
            assert stages_seen(lambda: time.sleep(0.5)) == ["features"]
    assert stages_seen(lambda: None) == ["features"]
    fields = json.loads(written[0])
    assert (fields["done"], fields["total"], list(fields["finished"])) == (3, 10, ["plan"])


def test_progress_that_cannot_be_written_does_not_fail_the_run() -> None:
    stages, tries = _silent(), list[str]()

    def write(text: str) -> None:
        tries.append(text)
        raise PermissionError("access is denied")

    with stages.written(write), stages.stage("features"):
        _wait(lambda: tries)
    assert "features" in stages.seconds
