import io
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from spark_job.progress import Stages, describe, duration


def test_a_stage_in_a_log_says_how_far_it_is_now_and_then() -> None:
    out = io.StringIO()
    stages = Stages(Console(file=out, width=200), log_seconds=0.05)
    with stages.stage("features", 1000, lambda: 250):
        time.sleep(0.4)
    lines = out.getvalue().splitlines()
    assert 2 <= len(lines) <= 9
    assert lines[0].startswith("features   250 of 1,000, ")
    assert "images/s" in lines[0]
    assert lines[0].endswith(" left")
    assert stages.seconds["features"] >= 0.4


def test_a_stage_on_a_terminal_shows_a_bar() -> None:
    out = io.StringIO()
    stages = Stages(Console(file=out, width=80, force_terminal=True))
    with stages.stage("features", 2_000_000, lambda: 250_000):
        time.sleep(0.6)
    assert re.search(r"250,000 of 2,000,000, [\d,]+ images/s, [\d.]+ s left", out.getvalue())


def test_a_stage_that_fails_is_not_said_to_be_done() -> None:
    out = io.StringIO()
    stages = Stages(Console(file=out))
    with pytest.raises(ZeroDivisionError), stages.stage("plan"):
        _ = 1 / 0
    assert not out.getvalue()
    assert not stages.seconds


def test_progress_in_words() -> None:
    assert describe(0, 1000, 3.0) == "0 of 1,000"
    assert describe(500, 2000, 10.0) == "500 of 2,000, 50 images/s, 30 s left"
    assert describe(2000, 2000, 10.0) == "2,000 of 2,000, 200 images/s"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.4, "0.4 s"), (59.4, "59 s"), (60, "1 min 0 s"), (3599, "59 min 59 s"), (7800, "2 h 10 min")],
)
def test_durations_in_words(seconds: float, said: str) -> None:
    assert duration(seconds) == said


@given(st.floats(0, 1e6))
def test_a_duration_never_says_sixty(seconds: float) -> None:
    assert "60 s" not in duration(seconds)
    assert "60 min" not in duration(seconds)
