import math
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from typing import cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from spark_job.duration import duration
from spark_job.findings import Kind
from spark_job.findings.kinds import Finding
from spark_job.manifest import Counts, Manifest, ModelRecord, PcaRecord
from spark_job.report.cases import Case, Chapter, Picture
from spark_job.report.drawing import bars, stages, ticks
from spark_job.report.map import (
    MAP_FRAME,
    THUMBNAIL,
    Point,
    equal_scales,
    look,
    photo_map,
    place_thumbnails,
)
from spark_job.report.page import accuracy_by_chance, render
from spark_job.report.text import NO_LABEL
from spark_job.report.variance import cumulative, variance_curve
from spark_job.settings import Engine
from spark_job.tables import RejectedPhoto
from tests.example import MANIFEST
from tests.hostile import encoded

HOSTILE = """"'><script>alert(1)</script><img src=x onerror=alert(2)>{{ 7*7 }}"""
VOID = {"meta", "link", "input", "col", "br", "img"}

RUN = replace(
    MANIFEST,
    run_id="20261122T050353Z-7f3a",
    started="2026-11-22T05:03:53+00:00",
    finished="2026-11-22T05:05:31+00:00",
    output="s3://results/",
    settings={"components": 0.9, "standardize": False, "recompute": None},
    counts=Counts(found=45, computed=30, reused=12, rejected=3),
    rejected={"truncated": 2, "not_an_image": 1},
    labels={"apple": 30, "cherry": 12},
    model=ModelRecord("litert", "imagenet", "aa" * 32, "bb" * 32, "bicubic 224x224"),
    pca=PcaRecord(3, 0.9, False, 0.95, 0.93, 42),
    seconds={"plan": 1.5, "features": 61.0, "pca": 4.0},
    images_per_second=123.4,
    reused={"20261115T050401Z-19c0": 12},
    mixed_labels={"Apple / Pear": 0.12},
)
NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
PHOTO = encoded(NOISE, "JPEG", quality=85)  # noise compresses no better than a photo
VARIANCE = [0.6, 0.2, 0.1, 0.06, 0.04]


def sample(count: int, labels: list[str | None], pictures: int = 0) -> list[Point]:
    places = np.random.default_rng(count).normal(size=(count, 2)) * (5, 2)
    return [
        Point(f"{i}.jpg", labels[i % len(labels)], float(x), float(y), PHOTO if i < pictures else None)
        for i, (x, y) in enumerate(places)
    ]


class Page(HTMLParser):
    """A parsed page. Parsing fails if a tag is closed out of order or not at all."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.styles = ""
        self.text = ""
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "style":
            self.styles += data
        elif not self.open or self.open[-1] != "script":
            self.text += data

    def all(self, tag: str, **wanted: str) -> list[dict[str, str | None]]:
        return [
            found
            for name, found in self.tags
            if name == tag and all(found.get(key.rstrip("_").replace("_", "-")) == wanted[key] for key in wanted)
        ]


def page(
    manifest: Manifest = RUN,
    variance: list[float] = VARIANCE,
    points: list[Point] | None = None,
    rejected: list[RejectedPhoto] | None = None,
) -> Page:
    points = sample(42, ["apple", "cherry"], pictures=6) if points is None else points
    rejected = [RejectedPhoto("truncated", "a/b.jpg", "ends early")] if rejected is None else rejected
    return Page(render(manifest, variance, points, rejected))


def test_the_page_describes_the_run() -> None:
    read = page()
    assert RUN.run_id in read.text
    assert "22 November 2026, 05:03 UTC" in read.text
    assert "s3://results/runs/20261122T050353Z-7f3a" in read.text  # one slash, not two
    assert "42 photos, 3 numbers each, 90.0\u202f% of the variance" in read.text
    assert "12 unchanged photos from run 20261115T050401Z-19c0" in read.text
    assert "1 of 3 shown" in read.text
    for fact in ("1 min 38 s", "123", "ends early", "bb" * 32, "3.5.8", "bicubic 224x224"):
        assert fact in read.text


def test_every_photo_is_on_the_map_with_its_label() -> None:
    read = page()
    assert len(read.all("g", class_="marks look-0")) == 1
    assert len(read.all("use", href="#circle")) >= 42
    assert [entry["title"] for entry in read.all("button", aria_pressed="false")] == ["apple", "cherry"]
    assert all((image["href"] or "").startswith("data:image/jpeg;base64,") for image in read.all("image"))


def test_only_random_weights_show_the_warning() -> None:
    random = replace(RUN, model=replace(RUN.model, weights="random"))
    assert "mean nothing about fruit" in page(random).text
    assert "mean nothing about fruit" not in page().text


ONE_PHOTO = replace(
    RUN, counts=Counts(1, 1, 0, 0), rejected={}, labels={"": 1}, pca=PcaRecord(1, 0.0, False, None, None, 1), reused={}
)
ONE_COMPONENT = replace(RUN, pca=replace(RUN.pca, components=1))
ONE_LABEL = replace(RUN, labels={"apple": 42}, pca=replace(RUN.pca, one_nn_accuracy_features=None))
THOUSAND = [f"kind {i:04}" for i in range(1000)]


@pytest.mark.parametrize(
    ("manifest", "variance", "points", "says"),
    [
        (ONE_PHOTO, [0.0] * 1280, [Point("a.jpg", None, 0, 0, PHOTO)], NO_LABEL),
        (ONE_PHOTO, [math.nan], [Point("a.jpg", None, 0, 0, None)], "same features"),
        (ONE_PHOTO, [1.0], [], "nothing to draw"),
        (ONE_LABEL, VARIANCE, sample(42, ["apple"]), "at least two labels"),
        (ONE_COMPONENT, [1.0], [Point("a.jpg", "apple", x, 0, PHOTO) for x in range(9)], "photos lie on one line"),
        (replace(RUN, counts=Counts(42, 30, 12, 0), rejected={}), VARIANCE, [], "None: every photo"),
        (replace(RUN, labels=dict.fromkeys(THOUSAND, 2)), VARIANCE, sample(2000, [*THOUSAND]), "and 970 more labels"),
        (replace(RUN, counts=Counts(3, 0, 0, 3), labels={}), VARIANCE, [], "No photo could be used"),
    ],
)
def test_unusual_runs_have_a_sensible_page(
    manifest: Manifest, variance: list[float], points: list[Point], says: str
) -> None:
    read = page(manifest, variance, points, [])
    assert says in read.text
    assert "nan" not in " ".join(value or "" for _, attributes in read.tags for value in attributes.values())


def test_hostile_names_appear_only_as_text() -> None:
    hostile = replace(
        RUN,
        run_id=HOSTILE,
        input=HOSTILE,
        output=HOSTILE,
        settings={HOSTILE: HOSTILE},
        rejected={HOSTILE: 3},
        labels={HOSTILE: 42},
        model=ModelRecord(cast("Engine", HOSTILE), HOSTILE, HOSTILE, HOSTILE, HOSTILE),
        seconds={HOSTILE: 1.0},
        versions={HOSTILE: HOSTILE},
        reused_from=HOSTILE,
        reused={HOSTILE: 12},
    )
    read = page(
        hostile, points=[Point(HOSTILE, HOSTILE, 0, 0, PHOTO)], rejected=[RejectedPhoto(HOSTILE, HOSTILE, HOSTILE)]
    )
    assert len(read.all("script")) == 1
    assert not read.all("img")
    assert not [name for _, attributes in read.tags for name in attributes if name.startswith("on")]
    assert read.text.count(HOSTILE) >= 10
    assert read.all("g", data_group="0", data_label=HOSTILE)


@given(name=st.text(max_size=40), count=st.integers(0, 10**9))
@settings(max_examples=25)
def test_any_name_gives_a_well_formed_page(name: str, count: int) -> None:
    read = page(
        replace(RUN, labels={name: count}, input=name, output=name),
        points=[Point(name, name, 1e6, -1e-6, None), Point(name, None, 0, 0, None)],
        rejected=[RejectedPhoto(name, name, name)],
    )
    assert len(read.all("script")) == 1


def test_the_page_loads_nothing() -> None:
    read = page(points=sample(60, ["https://example.com/x.js"], 60))
    for _, attributes in read.tags:
        for name in {"src", "href", "srcset", "action", "poster", "data", "xlink:href"} & attributes.keys():
            assert (attributes[name] or "").startswith(("#", "data:"))
        assert "url(" not in (attributes.get("style") or "")
    assert "url(" not in read.styles
    assert "@import" not in read.styles
    policy = read.all("meta", http_equiv="Content-Security-Policy")[0]["content"]
    assert policy is not None
    assert policy.startswith("default-src 'none'")


def test_a_full_sample_with_long_names_stays_under_3_mb() -> None:
    points = [replace(point, path="<" * 1024) for point in sample(2000, ["apple", "cherry"], 60)]
    assert len(render(RUN, [1 / 1280] * 1280, points, []).encode()) < 3_000_000


def test_snippets_are_python_and_contain_the_path_of_the_run() -> None:
    html = page(replace(RUN, output="/home/o'hara/results"))
    pandas = html.text.partition("import numpy as np")[2].partition("Needs pip")[0]
    compile(pandas, "snippet", "exec")
    assert '''"/home/o'hara/results/runs/20261122T050353Z-7f3a"''' in pandas
    assert "read_parquet('/home/o''hara/results/runs/20261122T050353Z-7f3a/pca/*.parquet')" in html.text
    assert "httpfs" not in html.text


@pytest.mark.parametrize(("seconds", "text"), [(9.96, "10 s"), (59.7, "1 min 00 s"), (3725, "1 h 02 min")])
def test_a_duration_has_one_or_two_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@given(st.floats(0, 1e6))
def test_a_duration_never_has_sixty_seconds_or_minutes(seconds: float) -> None:
    assert "60 s" not in duration(seconds)
    assert "60 min" not in duration(seconds)


@given(low=st.floats(-1e6, 1e6), width=st.floats(1e-3, 1e6), about=st.integers(2, 12))
def test_ticks_increase_within_the_range(low: float, width: float, about: int) -> None:
    values = ticks(low, low + width, about)
    assert all(low <= value <= low + width for value in values)
    assert all(a < b for a, b in pairwise(values))
    assert about / 2.5 - 1 <= len(values) <= about + 1


PLACES = st.lists(
    st.tuples(st.floats(MAP_FRAME.left, MAP_FRAME.right), st.floats(MAP_FRAME.top, MAP_FRAME.bottom)), max_size=60
)


@given(anchors=PLACES, dots=PLACES, same=st.booleans())
@settings(max_examples=40)
def test_thumbnails_never_overlap_and_stay_inside(
    anchors: list[tuple[float, float]], dots: list[tuple[float, float]], same: bool
) -> None:
    anchors = [anchors[0]] * len(anchors) if same and anchors else anchors  # equal anchors are the hardest case
    placed = place_thumbnails(anchors, dots)
    assert len(placed) == len(anchors)
    corners = [corner for corner in placed if corner]
    for x, y in corners:
        assert MAP_FRAME.left <= x <= MAP_FRAME.right - THUMBNAIL
        assert MAP_FRAME.top <= y <= MAP_FRAME.bottom - THUMBNAIL
    for i, (x, y) in enumerate(corners):
        assert all(abs(x - u) >= THUMBNAIL or abs(y - v) >= THUMBNAIL for u, v in corners[:i])


COORDINATES = st.floats(-1e4, 1e4).map(lambda value: round(value, 5))  # 0 or not tiny, as PCA's are


@given(st.lists(st.tuples(COORDINATES, COORDINATES), min_size=1, max_size=30))
def test_the_map_keeps_points_inside_and_units_equal(places: list[tuple[float, float]]) -> None:
    points = [Point("p", "l", x, y, None) for x, y in places]
    x, y = equal_scales(points)
    assert x.unit == -y.unit > 0
    for point in points:
        assert MAP_FRAME.left <= x(point.x) <= MAP_FRAME.right
        assert MAP_FRAME.top <= y(point.y) <= MAP_FRAME.bottom


def test_the_21_largest_labels_look_different_and_the_rest_are_grey() -> None:
    looks = [look(rank) for rank in range(30)]
    assert len(set(looks[:21])) == 21
    assert set(looks[21:]) == {(None, "circle")}
    drawn = photo_map(sample(30, [str(i) for i in range(30)]), {str(i): i for i in range(30)})
    assert [group.label for group in drawn.groups[:2]] == ["29", "28"]
    assert drawn.groups[-1].colour is None


@given(st.lists(st.floats(0, 1) | st.just(math.nan), min_size=1, max_size=50), st.integers(1, 60))
def test_the_variance_curve_rises_within_its_frame(ratios: list[float], components: int) -> None:
    total = cumulative(ratios)
    assert total[0] == 0
    assert all(a <= b <= 1 for a, b in pairwise(total))
    curve = variance_curve(ratios, components)
    assert (curve is None) == (total[-1] == 0)
    if curve:
        for kept in curve.shares:
            assert total[kept.components] >= kept.share - 1e-9 > total[kept.components - 1] - 2e-9
        for kept in [curve.chosen, *curve.shares]:
            assert 0 <= kept.components <= len(ratios)
            assert curve.frame.left <= kept.x <= curve.frame.right + 1e-9
            assert curve.frame.top - 1e-9 <= kept.y <= curve.frame.bottom


@given(st.dictionaries(st.text(max_size=5), st.integers(0, 10**9), max_size=60))
def test_bars_show_the_largest_counts_in_order(counts: dict[str, int]) -> None:
    drawn = bars(counts)
    assert [bar.value for bar in drawn] == sorted(counts.values(), reverse=True)[:30]
    assert all(0 <= bar.length <= 100 for bar in drawn)


@given(st.dictionaries(st.text(max_size=5), st.floats(0, 1e5), max_size=12))
def test_stages_follow_each_other(seconds: dict[str, float]) -> None:
    drawn = stages(seconds)
    assert [bar.name for bar in drawn] == list(seconds)
    for earlier, later in pairwise(drawn):
        assert later.start == pytest.approx(earlier.start + earlier.length)
    if sum(seconds.values()) > 0:
        assert drawn[-1].start + drawn[-1].length == pytest.approx(100)


def test_accuracy_by_chance_is_the_share_of_pairs_with_one_label() -> None:
    assert accuracy_by_chance({"a": 2, "b": 2}) == pytest.approx(1 / 3)
    assert accuracy_by_chance({"a": 5}) == 1
    assert accuracy_by_chance({"a": 1}) is None


def test_the_report_opens_with_what_was_found() -> None:
    photo = Picture(HOSTILE, b"\0\0\0")
    finding = Finding(Kind.WRONG_LABEL, HOSTILE, HOSTILE, 0.97, suggested_label="pear", detail=HOSTILE)
    chapter = Chapter(Kind.WRONG_LABEL, 4_000, [Case(finding, photo, [Picture("gone.jpg", None)])])
    html = render(replace(RUN, findings={"wrong label": 4_000}), VARIANCE, [], [], [chapter])
    assert "<script>alert" not in html
    assert html.index("4,000</b> wrong label") < html.index("Map of the photos")
    assert "0.97" in html
    assert "data:image/jpeg;base64,AAAA" in html
    assert "gone</span>" in html
    assert "Apple / Pear 12.0%" in html


def test_the_report_says_if_nothing_was_found() -> None:
    assert "Nothing: no photo is a copy" in render(RUN, VARIANCE, [], [])
