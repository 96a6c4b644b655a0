"""What a trial says about results that are not complete, and what it measures. `tests.cloud.test_a_trial` runs one."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cdk_app.stage_settings import StageSettings
from cdk_app.trial import judgement
from cdk_app.trial.judgement import Times
from spark_job.demo import BROKEN

GOOD = ["Apple/00.jpg", "Banana/00.jpg"]
PHOTOS = [*GOOD, *BROKEN]
COUNTS = {"found": 4, "computed": 2, "reused": 0, "rejected": 2}
WRONG = {**COUNTS, "reused": 1}
OUTPUT: dict[str, Any] = {"images": COUNTS, "components": 2, "cluster": {"nodes": 3, "minutes": 9.5, "usd": 0.12}}
TABLES: dict[str, dict[str, Any]] = {
    "features": {"path": GOOD, "features": [[0.0] * 1280] * 2},
    "pca": {"path": GOOD, "pca": [[0.0] * 2] * 2},
    "neighbours": {"path": GOOD},
    "rejected": {"path": list(BROKEN)},
}
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


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a run that is complete."""
    for name, columns in TABLES.items():
        write(tmp_path, name, **columns)
    for name in ("findings", "model"):
        (tmp_path / name).mkdir()
    (tmp_path / "report.html").write_text("<!doctype html><html></html>")
    (tmp_path / "manifest.json").write_text(json.dumps({"counts": COUNTS}))
    return tmp_path


def write(run: Path, name: str, **columns: Any) -> None:
    (run / name).mkdir(exist_ok=True)
    pq.write_table(pa.table(columns), run / name / "0.parquet")


def problems(run: Path, **given: Any) -> list[str]:
    complete = {"output": OUTPUT, "summary": {"counts": COUNTS}, "athena": [["4", "2", "0", "2"]]}
    return judgement.problems(PHOTOS, run=run, **complete | given)


def test_a_complete_run_has_no_problem(run: Path) -> None:
    assert problems(run) == []


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"summary": {}}, "The summary counts None, not {'found': 4, "),
        ({"output": OUTPUT | {"images": WRONG}}, "The output of the execution counts {'found': 4, "),
        ({"athena": []}, "Athena counts [], not [['4', '2', '0', '2']]."),
    ],
)
def test_a_wrong_count_is_named(run: Path, given: dict[str, Any], sentence: str) -> None:
    (problem,) = problems(run, **given)
    assert problem.startswith(sentence)


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda run: (run / "report.html").unlink(), "The run has no report.html."),
        (lambda run: (run / "model").rmdir(), "The run has no model."),
        (lambda run: (run / "manifest.json").write_text(json.dumps({"counts": WRONG})), "manifest.json counts {"),
        (lambda run: (run / "report.html").write_text("{}"), "report.html is not a page of HTML."),
        (
            lambda run: write(run, "neighbours", path=[*GOOD, GOOD[0]]),
            "The rows of the table neighbours are 3, not 2.",
        ),
        (
            lambda run: write(run, "neighbours", path=[GOOD[0], "b"]),
            "The table neighbours has other photos than it should, such as Banana/00.jpg.",
        ),
        (
            lambda run: write(run, "features", path=GOOD, features=[[0.0] * 1280, [0.0]]),
            "The numbers per photo in features are [1, 1280], not [1280].",
        ),
    ],
)
def test_whatever_is_wrong_in_the_folder_is_named(run: Path, spoil: Callable[[Path], None], sentence: str) -> None:
    spoil(run)
    (problem,) = problems(run)
    assert problem.startswith(sentence)


def test_each_measured_value_is_beside_the_assumed_one() -> None:
    rows = judgement.rows(OUTPUT, {"images_per_second": 400.0}, TIMES, StageSettings.of())
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
    assert judgement.table(judgement.rows(output, {"images_per_second": 400.0}, TIMES, StageSettings.of())).endswith(
        "| cost | unknown | 0.13 USD |"
    )
