import io
import json
import re
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.console import Console

from spark_job.progress import StageProgress, Stages, write_often

FEATURES = StageProgress("features", 250, 1000, 5.0, {"plan": 1.5})


def _silent() -> Stages:
    return Stages(Console(file=io.StringIO()))


def test_a_stage_prints_its_progress_to_a_log_at_intervals() -> None:
    out = io.StringIO()
    stages = Stages(Console(file=out, width=200), log_seconds=0.05)
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


class Run:
    """A run on a clock that only waiting and writing move. It ends after some seconds."""

    def __init__(self, seconds: float, write_seconds: list[float], first_stage: float) -> None:
        self.clock, self.writes = 0.0, list[tuple[float, float]]()
        self._end, self._takes, self._first_stage = seconds, write_seconds, first_stage

    def look(self) -> StageProgress | None:
        return FEATURES if self.clock >= self._first_stage else None

    def write(self, text: str) -> None:
        assert StageProgress.from_json(text)[0] == FEATURES
        began = self.clock
        takes = self._takes[len(self.writes) % len(self._takes)]
        self.clock += takes
        self.writes.append((began, self.clock))
        if takes > 10:
            raise ConnectionError("the storage does not answer")

    def wait(self, seconds: float) -> bool:
        self.clock = min(self.clock + seconds, max(self.clock, self._end))  # not += the difference, which is rounded
        return self.clock >= self._end


@given(st.floats(0, 1000), st.lists(st.floats(0, 90), min_size=1), st.floats(0, 100))
@example(0.85, [0.0], 0.0)
def test_progress_is_written_soon_and_then_at_most_every_20_s(
    seconds: float, write_seconds: list[float], first_stage: float
) -> None:
    run = Run(seconds, write_seconds, first_stage)
    write_often(run.look, run.write, run.wait)
    begins = [began for began, _ in run.writes]
    assert all(later - earlier > 19.999 for earlier, later in pairwise(begins))
    assert all(later - ended < 20.001 for (_, ended), later in zip(run.writes, begins[1:], strict=False))
    assert all(first_stage <= began < seconds for began in begins)
    if begins:
        assert begins[0] <= first_stage + 0.2001
    else:
        assert seconds <= first_stage + 0.2001


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
