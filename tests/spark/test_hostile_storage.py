"""Runs on an S3 that throttles, breaks connections, loses objects, changes objects and refuses credentials."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from spark_job.manifest import Manifest
from spark_job.report.summary import summary
from tests.hostile import encoded, picture
from tests.s3_stand_in import Fault, Object, StandIn, environment

OLD = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def _jpeg(seed: int) -> bytes:
    return encoded(picture(seed=seed), "JPEG")


def test_a_run_on_a_storage_that_misbehaves(tmp_path: Path, model_file: str) -> None:
    """All faults in one run: the run ends, each photo is counted once, and the manifest contains the retries."""
    s3 = StandIn()
    for number in range(40):
        s3.put(f"photos/{'Apple' if number % 2 else 'Pear'}/{number}.jpg", _jpeg(number))
    for number, fault in enumerate([Fault.SLOW_DOWN, Fault.INTERNAL, Fault.RESET, Fault.CUT, Fault.SHORT] * 2):
        s3.faults[f"photos/{'Apple' if number % 2 else 'Pear'}/{number}.jpg"] = [fault]
    s3.faults["photos/Pear/10.jpg"] = [Fault.LOST]
    s3.faults["photos/Apple/11.jpg"] = [Fault.DENIED]
    s3.changes["photos/Pear/12.jpg"] = Object(_jpeg(99), OLD)
    done = _run(s3, tmp_path, model_file)
    assert done.returncode == 0, done.stderr
    made = Manifest.from_json(done.stdout)
    assert made == Manifest.from_json((tmp_path / "runs" / "one" / "manifest.json").read_text())
    assert (made.counts.found, made.counts.computed, made.counts.rejected) == (40, 38, 2)
    assert made.rejected == {"denied": 1, "missing": 1}
    assert made.retries == 10
    assert "10 reads were repeated" in summary(made)
    table = pd.read_parquet(tmp_path / "runs" / "one" / "features").set_index("path")
    assert table.index.is_unique
    assert table.loc["Pear/12.jpg", "size"] == len(_jpeg(99))
    assert table.loc["Pear/12.jpg", "modified"] == pd.Timestamp(OLD)


def _run(s3: StandIn, output: Path, model_file: str) -> "subprocess.CompletedProcess[str]":
    with s3.serve() as url:
        return subprocess.run(
            [
                *(sys.executable, "-m", "spark_job", "run", "--input", "s3://photos", "--output", str(output)),
                *("--weights", model_file, "--components", "3", "--max-rejected", "0.1", "--run-id", "one", "--json"),
            ],
            cwd=Path(__file__).parents[2],
            env=os.environ | environment(url),
            capture_output=True,
            text=True,
            check=False,
        )


def test_a_token_that_expires_ends_the_run_and_rejects_no_photo(tmp_path: Path, model_file: str) -> None:
    s3 = StandIn()
    for number in range(8):
        s3.put(f"photos/Apple/{number}.jpg", _jpeg(number))
    s3.faults["photos/Apple/7.jpg"] = [(400, "ExpiredToken")] * 99
    done = _run(s3, tmp_path, model_file)
    sentence = "S3 refuses s3://photos/Apple/7.jpg: the credentials have expired. Sign in again"
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(f"fruits: {sentence}")
    assert "Traceback" not in done.stderr
    run = tmp_path / "runs" / "one"
    assert json.loads((run / "_failed.json").read_text())["reason"].startswith(sentence)
    assert not (run / "rejected").exists()
