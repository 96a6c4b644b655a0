import io
import re
import time

import pytest
from rich.console import Console

from spark_job.progress import Stages, describe


def test_a_stage_prints_its_progress_to_a_log_at_intervals() -> None:
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


def test_a_stage_that_fails_is_not_reported_as_done() -> None:
    out = io.StringIO()
    stages = Stages(Console(file=out))
    with pytest.raises(ZeroDivisionError), stages.stage("plan"):
        _ = 1 / 0
    assert not out.getvalue()
    assert not stages.seconds


def test_describe_gives_the_count_the_speed_and_the_time_left() -> None:
    assert describe(0, 1000, 3.0) == "0 of 1,000"
    assert describe(500, 2000, 10.0) == "500 of 2,000, 50 images/s, 30 s left"
    assert describe(1000, 2000, 65.0) == "1,000 of 2,000, 15 images/s, 1 min 05 s left"
    assert describe(2000, 2000, 10.0) == "2,000 of 2,000, 200 images/s"
