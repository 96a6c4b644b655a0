import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docs import costs

ROOT = Path(__file__).parents[2]
WAYS = {way.name: way for way in costs.ways()}
EMR = WAYS["EMR on EC2 (this project)"]
any_way = st.sampled_from(costs.ways())
any_count = st.integers(1, 10**9)
any_speed = st.floats(1, 1000)


def test_an_estimate_matches_a_calculation_by_hand() -> None:
    node = 0.1904 * 1.25 + 64 * 0.093 / 730
    run = costs.estimate(EMR, photos=10_000_000, speed=100)
    assert run.workers == 14  # 10 million / (100 x 4 cores x 1,800 s) = 13.9
    assert run.hours == pytest.approx(7 / 60 + 10_000_000 / (100 * 4 * 14) / 3600)
    assert run.machines == pytest.approx(run.hours * 15 * node)
    assert run.requests == pytest.approx(10_000 * 0.00042 + 10 * 0.0053)
    assert costs.kilowatt_hours(run) == pytest.approx(run.hours * 15 * 23.2 * 1.13 / 1000)


@given(any_way, any_count, any_speed)
def test_the_wanted_time_is_met_unless_workers_reach_their_maximum(way: costs.Way, photos: int, speed: float) -> None:
    run = costs.estimate(way, photos, speed, minutes=30, most=50)
    computing = run.hours - way.start_minutes / 60
    assert way.workers in (None, run.workers)
    assert 2 <= run.workers <= 50
    assert computing <= 0.5 + 1e-9 or run.workers == (way.workers or 50)


@given(any_way, any_count, any_speed)
def test_more_speed_never_costs_more_and_more_photos_never_cost_less(way: costs.Way, photos: int, speed: float) -> None:
    run = costs.estimate(way, photos, speed, minutes=1e9)
    faster, more = costs.estimate(way, photos, 2 * speed, 1e9), costs.estimate(way, 2 * photos, speed, 1e9)
    assert faster.hours <= run.hours <= more.hours
    assert faster.machines <= run.machines <= more.machines
    assert run.requests < more.requests


@pytest.mark.parametrize("name", costs.PRICES)
def test_every_price_is_positive_and_has_a_source_and_a_date(name: str) -> None:
    price = costs.PRICES[name]
    assert price.known > 0
    assert price.source
    assert date.fromisoformat(price.read)


def test_the_command_accepts_other_numbers() -> None:
    command = [sys.executable, "-m", "docs.costs", "--photos", "5000", "--speed", "22"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert costs.table([5000], 22) in printed
    assert costs.price_table() in printed
