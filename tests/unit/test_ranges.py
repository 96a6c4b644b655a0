"""Key ranges against a sorted list of keys, which answers like S3."""

import bisect
import datetime
import hashlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_job.storage import ranges
from spark_job.storage.ranges import KeyRange, divide

CHARACTERS = st.one_of(
    st.sampled_from("01a/.-~ \x00\x01\x7f\x80\ud7ff\ue000\uffff\U00010000\U0010ffff🍐"),
    st.characters(exclude_categories=["Cs"]),
)
NAMES = st.lists(st.text(CHARACTERS, max_size=6), min_size=1, max_size=300)


class Bucket:
    """The sorted keys of a bucket. It counts requests, and refuses what S3 refuses."""

    def __init__(self, keys: list[str]) -> None:
        self.keys = sorted({key for key in keys if key}, key=str.encode)
        self.requests = 0

    def after(self, start: str, count: int) -> list[str]:
        self.requests += 1
        assert len(start.encode()) <= 1024
        first = bisect.bisect_right(self.keys, start)
        return self.keys[first : first + count]

    def sizes(self, parts: list[KeyRange]) -> list[int]:
        return [len(self.inside(part)) for part in parts]

    def inside(self, part: KeyRange) -> list[str]:
        end = len(self.keys) if part.until is None else bisect.bisect_right(self.keys, part.until)
        return self.keys[bisect.bisect_right(self.keys, part.after) : end]


@pytest.fixture(autouse=True)
def small_pages(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few keys must already need several pages, unless a test is about many keys."""
    if "size" not in request.fixturenames:
        for name, value in (("KEYS_PER_PAGE", 8), ("_SAMPLE", 8), ("_SKIPPED", 2), ("_NEIGHBOURS", 2)):
            monkeypatch.setattr(ranges, name, value)


def in_order(parts: list[KeyRange]) -> list[KeyRange]:
    return sorted(parts, key=lambda part: part.after)


def assert_tiled(parts: list[KeyRange]) -> None:
    """Each range begins where the one before it ends, the first at the start of the bucket, the last without end."""
    parts = in_order(parts)
    assert [part.after for part in parts] == ["", *(part.until for part in parts[:-1])]
    assert parts[-1].until is None
    assert all(part.until is None or part.after < part.until for part in parts)


@given(NAMES, st.sampled_from(["", "x", "photos/", "é" * 450, "🍐" * 250]), st.integers(1, 40))
def test_every_key_is_in_exactly_one_range(names: list[str], prefix: str, count: int) -> None:
    bucket = Bucket([prefix + name for name in names])
    parts = divide(bucket.after, count)
    assert_tiled(parts)
    assert [key for part in in_order(parts) for key in bucket.inside(part)] == bucket.keys
    assert [sum(key in part for part in parts) for key in bucket.keys] == [1] * len(bucket.keys)


@given(NAMES, NAMES, st.integers(0, 10_000))
def test_ranges_hold_although_keys_come_and_go_meanwhile(before: list[str], after: list[str], seed: int) -> None:
    """Each request sees other keys, except those that exist all the time."""
    rng = random.Random(seed)
    always = Bucket(before)

    def changing(start: str, count: int) -> list[str]:
        return Bucket([*before, *rng.sample(after, rng.randint(0, len(after)))]).after(start, count)

    parts = divide(changing, 20)
    assert_tiled(parts)
    assert [key for part in in_order(parts) for key in always.inside(part)] == always.keys


@given(NAMES, st.integers(1, 40))
def test_the_number_of_requests_is_bounded(names: list[str], count: int) -> None:
    bucket = Bucket(names)
    parts = divide(bucket.after, count)
    assert bucket.requests <= 1 + 200 * count
    if len(bucket.keys) < ranges.KEYS_PER_PAGE:
        assert (parts, bucket.requests) == ([KeyRange()], 1)


def _days(count: int, seed: int) -> list[str]:
    rng, first = random.Random(seed), datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)
    times = sorted(first + datetime.timedelta(days=366 * rng.random()) for _ in range(count))
    return [f"IMG_{time:%Y%m%d_%H%M%S}_{number % 100:02d}.jpg" for number, time in enumerate(times)]


def _hashes(count: int) -> list[str]:
    return [hashlib.sha256(str(number).encode()).hexdigest() for number in range(count)]


def _chinese(count: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    return ["".join(chr(rng.randrange(0x4E00, 0x9FFF)) for _ in range(3)) for _ in range(count)]


SIZE = 100_000
FLAT = {
    "numbers": [f"{number:07d}.jpg" for number in range(SIZE)],
    "numbers without zeros": [f"{number}.jpg" for number in range(SIZE)],
    "hashes": _hashes(SIZE),
    "dates": _days(SIZE, 1),
    "900 bytes in common": [f"{'x' * 900}/{number:06d}.jpg" for number in range(SIZE)],
    "Chinese": _chinese(SIZE, 2),
    "labels": [f"Apple {number % 90}/r_{number % 360}_{number}.jpg" for number in range(SIZE)],
    "one big folder among small ones": [
        *(f"{number % 300:03d}/{number}.jpg" for number in range(SIZE // 10)),
        *(f"150/{number:08d}.jpg" for number in range(SIZE)),
    ],
    "many small folders": [f"label {number // 20:04d}/{number}.jpg" for number in range(SIZE)],
    "other files first": [*_hashes(700), *(f"x{number:07d}.jpg" for number in range(SIZE))],
}


@pytest.mark.parametrize("names", FLAT)
@pytest.mark.parametrize("size", [SIZE])
def test_no_range_is_much_larger_than_the_others(names: str, size: int) -> None:
    """Eight tasks that take one range after the other finish when at most a third of the pages has been listed."""
    bucket = Bucket(FLAT[names])
    sizes = bucket.sizes(divide(bucket.after, 24))
    tasks = [0] * 8
    for keys in sizes:
        tasks[tasks.index(min(tasks))] += 1 + keys // 1000
    assert max(tasks) <= size / 1000 / 3, sizes
    assert bucket.requests <= 1_000
