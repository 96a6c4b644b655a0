"""What a trial says about results that are not complete, and what it measures. `tests.cloud.test_trial` runs one."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from cdk_app.stage_settings import StageSettings
from cdk_app.trial import judgement
from cdk_app.trial.judgement import Published, Times
from spark_job.demo import BROKEN

GOOD = ["Apple/00.jpg", "Banana/00.jpg"]
PHOTOS = [*GOOD, *BROKEN]
COUNTS = {"found": 4, "computed": 2, "reused": 0, "rejected": 2}
OUTPUT: dict[str, Any] = {"images": COUNTS, "components": 2, "cluster": {"nodes": 3, "minutes": 9.5, "usd": 0.12}}
PUBLISHED = Published(
    sizes=dict.fromkeys(
        (
            *("report.html", "manifest.json", "model/metadata/part-00000"),
            *("features/0.parquet", "pca/0.parquet", "rejected/0.parquet"),
            *("neighbours/0.parquet", "findings/0.parquet"),
        ),
        1,
    ),
    report=b"<!doctype html><html></html>",
    manifest={"counts": COUNTS},
    summary={"counts": COUNTS, "images_per_second": 400.0},
    tables={
        "features": pa.table({"path": GOOD, "features": [[0.0] * 1280] * 2}),
        "pca": pa.table({"path": GOOD, "pca": [[0.0] * 2] * 2}),
        "neighbours": pa.table({"path": GOOD}),
        "rejected": pa.table({"path": list(BROKEN)}),
    },
)
BEGIN = datetime(2026, 11, 28, 12, tzinfo=UTC)
TIMES = Times(
    entered={
        "Create cluster": BEGIN,
        "Terminate cluster": BEGIN + timedelta(minutes=7, seconds=40),
        "Add up the cost": BEGIN + timedelta(minutes=9, seconds=40),
    },
    job_started=BEGIN + timedelta(minutes=6),
    job_ended=BEGIN + timedelta(minutes=7, seconds=30),
    cluster_state="TERMINATED",
)


def test_a_complete_run_has_no_problem() -> None:
    assert judgement.problems(OUTPUT, PUBLISHED, TIMES, PHOTOS) == []


def without(name: str) -> Published:
    return replace(PUBLISHED, sizes={path: size for path, size in PUBLISHED.sizes.items() if not path.startswith(name)})


def with_table(name: str, table: pa.Table) -> Published:
    return replace(PUBLISHED, tables={**PUBLISHED.tables, name: table})


@pytest.mark.parametrize(
    ("published", "sentence"),
    [
        (without("report.html"), "The run has no report.html."),
        (replace(PUBLISHED, summary={}), "The run has no summary."),
        (without("model"), "The run has no model/."),
        (without("rejected"), "The run has no rejected/."),
        (without("findings"), "The run has no findings/."),
        (replace(PUBLISHED, manifest={"counts": {**COUNTS, "reused": 1}}), "manifest.json counts {'found': 4, "),
        (with_table("pca", PUBLISHED.tables["pca"].slice(1)), "The table pca has 1 rows, not 2: Apple/00.jpg."),
        (
            with_table("features", pa.table({"path": GOOD, "features": [[0.0] * 1280, [0.0]]})),
            "The numbers per photo in features are [1, 1280], not [1280].",
        ),
        (replace(PUBLISHED, report=b"{}"), "report.html is not a page of HTML."),
    ],
)
def test_whatever_is_wrong_is_named(published: Published, sentence: str) -> None:
    (problem,) = judgement.problems(OUTPUT, published, TIMES, PHOTOS)
    assert problem.startswith(sentence)


def test_a_wrong_output_and_a_cluster_that_lives_are_named() -> None:
    output = OUTPUT | {"images": {**COUNTS, "rejected": 1}}
    found = judgement.problems(output, PUBLISHED, replace(TIMES, cluster_state="RUNNING"), PHOTOS)
    assert [sentence.partition(" {")[0] for sentence in found] == [
        "The cluster is still RUNNING.",
        "The output of the execution counts",
    ]


def test_each_measured_value_is_beside_the_assumed_one() -> None:
    rows = judgement.rows(OUTPUT, PUBLISHED.summary, TIMES, StageSettings.of())
    assert judgement.table(rows).splitlines() == [
        "| | measured | assumed |",
        "|---|---|---|",
        "| start of the cluster | 6 min | 7 min |",
        "| job | 1.5 min | 1 min |",
        "| photos/s per vCPU | 50 | 90 |",
        "| tail | 10 s | 15 s |",
        "| termination | 2 min | 2 min |",
        "| whole run | 9.5 min | 10.2 min |",
        "| nodes | 3 | 3 |",
        "| cost | 0.12 USD | 0.13 USD |",
    ]


def test_an_unknown_price_is_no_number() -> None:
    output = OUTPUT | {"cluster": {**OUTPUT["cluster"], "usd": None}}
    assert judgement.table(judgement.rows(output, PUBLISHED.summary, TIMES, StageSettings.of())).endswith(
        "| cost | unknown | 0.13 USD |"
    )
