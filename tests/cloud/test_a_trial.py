"""What ``make try-aws`` does on a deployed stage, and that it leaves neither photos nor a cluster behind."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from spark_job import demo
from tests.cloud.deployed import Deployed, wait_until
from tests.local_aws.emulator import ARCHITECTURE, ROOT

pytestmark = pytest.mark.slow

#: It points at a run that has been forgotten since, so the job does not read it.
BEFORE = b'{"run_id": "old", "manifest": "runs/old/manifest.json", "started": "2026-01-01T00:00:00+00:00"}'


def start(dev: Deployed, *options: str) -> "subprocess.Popen[str]":
    """Start the command as a person does, with two photos per label."""
    command = [sys.executable, "-m", "cdk_app.trial", "-c", f"architecture={ARCHITECTURE}", "--per-label=2", *options]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **dev.aws.variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def last_execution(dev: Deployed) -> dict[str, str]:
    client = dev.aws.client("stepfunctions")
    found = client.list_executions(stateMachineArn=dev.machine)["executions"]
    newest: dict[str, str] = max(found, key=lambda one: one["startDate"])
    return newest


@pytest.fixture
def tidy(dev: Deployed) -> Iterator[Deployed]:
    """A stage whose `latest.json` is somebody's. The command must leave it so, and no photo and no cluster."""
    s3 = dev.aws.client("s3")
    latest = dev.read(dev.results, "latest.json")
    s3.put_object(Bucket=dev.results, Key="latest.json", Body=BEFORE)
    yield dev
    dev.aws.control("faults", {})
    assert dev.read(dev.results, "latest.json") == BEFORE
    versions = s3.list_object_versions(Bucket=dev.data, Prefix="trials/")
    assert not versions.get("Versions")
    assert not versions.get("DeleteMarkers")
    dev.wait_until_no_cluster()
    if latest:
        s3.put_object(Bucket=dev.results, Key="latest.json", Body=latest)
    else:
        s3.delete_object(Bucket=dev.results, Key="latest.json")


def test_a_trial_checks_and_measures_a_run(tidy: Deployed, tmp_path: Path) -> None:
    process = start(tidy, "--json")
    out, err = process.communicate()
    assert process.returncode == 0, err
    result = json.loads(out)
    assert (result["problems"], result["photos"]) == ([], demo.draw(tmp_path, photos_per_label=2))
    measured = {row["name"]: row["measured"] for row in result["rows"]}
    assert measured["nodes"] == 3
    assert all(value > 0 for value in measured.values()), measured
    assert "<html" in Path(result["report"]).read_text()
    assert re.search(r"^ +[\d.]+ s +cluster ", err, re.MULTILINE), err
    shutil.rmtree(Path(result["report"]).parent)


def test_a_job_that_fails_is_one_sentence(tidy: Deployed) -> None:
    tidy.aws.control("faults", {"driver": "killed"})
    process = start(tidy)
    out, err = process.communicate()
    assert (process.returncode, out) == (1, "")
    assert re.match(
        r"fruits: The execution trial-\w+ ended as FAILED\. The job ended without giving a reason", err.splitlines()[-1]
    )


def test_an_interruption_stops_the_execution_and_ends_the_cluster(tidy: Deployed) -> None:
    """EventBridge is silent here, so the command itself must terminate the cluster."""
    tidy.aws.control("faults", {"startup_seconds": 600, "events_lost": True})
    process = start(tidy)
    wait_until(lambda: bool(tidy.clusters()), "a cluster")
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)  # an impatient person must not prevent the cleaning up
    out, err = process.communicate()
    assert (process.returncode, out) == (1, "")
    assert err.splitlines()[-1] == "fruits: Interrupted. The execution is stopped, and the photos are removed."
    assert last_execution(tidy)["status"] == "ABORTED"


def test_without_a_deployed_stage_there_is_nothing_to_try(tidy: Deployed) -> None:
    process = start(tidy, "-c", "stage=prod")
    out, err = process.communicate()
    assert (process.returncode, out) == (2, "")
    assert err.startswith("fruits: There is no deployed stack fruits-prod in eu-west-3; deploy it first, or give the ")
