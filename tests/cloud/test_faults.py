"""Everything that can go wrong during a run: the rows of the table in `docs/reliability.md`."""

import gzip
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.cloud import faults
from tests.cloud.deployed import Deployed, wait_until
from tests.cloud.faults import FAULTS, FEW, Fault

#: The rows that ``make test`` has: one for each way in which a run fails, and for each that ends a cluster soon.
FAST = {
    "no photo under the prefix",
    "no capacity",
    "job exits with an error",
    "stopped while the cluster starts",
}


@pytest.fixture(scope="module")
def few(dev: Deployed, drawn: Path) -> Deployed:
    """The stage with a few photos of two labels. Some are broken."""
    for label in ("Banana", "Lemon"):
        dev.put_photos(drawn / label, f"few/{label}")
        dev.put_photos(drawn / label, f"few/{label}/again")
    return dev


@pytest.fixture(autouse=True)
def nothing_left(few: Deployed) -> Iterator[None]:
    """Start and end without clusters."""
    few.wait_until_no_cluster()
    yield
    few.aws.control("faults", {})


def latest(dev: Deployed) -> str:
    return str(json.loads(dev.read(dev.results, "latest.json") or b'{"run_id": ""}')["run_id"])


def logs(dev: Deployed, name: str) -> bytes:
    keys = [key for key in dev.keys(dev.logs, "emr/") if key.endswith(name)]
    return b"".join(gzip.decompress(dev.read(dev.logs, key) or b"") for key in keys)


def wait_for_alarm(dev: Deployed) -> None:
    """Wait for what raises the alarm. The local AWS does not raise it by itself, so this looks at what it looks at."""
    client = dev.aws.client("cloudwatch")
    (alarm,) = [one for one in client.describe_alarms()["MetricAlarms"] if "ClusterOutlivedRun" in one["AlarmName"]]
    metric = {name: alarm[name] for name in ("Namespace", "MetricName", "Dimensions", "Period")}
    now = datetime.now(UTC)

    def errors() -> float:
        times = {"StartTime": now - timedelta(hours=1), "EndTime": now + timedelta(hours=1)}
        points = client.get_metric_statistics(**metric, **times, Statistics=[alarm["Statistic"]])["Datapoints"]
        return max((point[alarm["Statistic"]] for point in points), default=0)

    wait_until(lambda: errors() >= alarm["Threshold"], "the errors of the clean-up")


@pytest.mark.parametrize(
    "fault",
    [pytest.param(fault, id=fault.what, marks=() if fault.what in FAST else pytest.mark.slow) for fault in FAULTS],
)
def test_a_fault(few: Deployed, fault: Fault) -> None:
    name = f"fault-{FAULTS.index(fault)}"
    before = latest(few)
    with fault.arrange(few):
        execution = faults.run(few, fault, name)
        if "alarm" in fault.cleared_by:
            wait_for_alarm(few)
        if fault.hours:
            assert len(few.clusters()) == 1, "something else has ended the cluster"
            few.aws.control("hours", fault.hours)
        few.wait_until_no_cluster()
    assert f"{execution.status} {execution.error}".strip() == fault.ends, execution.cause
    assert faults.has_reason(execution, fault.reason), execution.cause
    assert few.read(few.results, f"runs/{name}/manifest.json") is None
    assert latest(few) == before


def test_people_are_notified(few: Deployed) -> None:
    """No other test notices a failure to notify, because the run keeps its reason then."""
    arn = few.start({"input_prefix": "nothing/"}, "notifying")
    few.wait(arn)
    events = few.aws.client("stepfunctions").get_execution_history(executionArn=arn, maxResults=1000)["events"]
    assert "Notify people" in [event.get("stateEnteredEventDetails", {}).get("name") for event in events]
    assert "TaskFailed" not in [event["type"] for event in events]


@pytest.mark.slow
def test_the_log_says_why_the_nodes_could_not_write(few: Deployed) -> None:
    assert b"cannot be written" in logs(few, "stdout.gz")


@pytest.mark.slow
def test_two_executions_at_once_each_publish_their_own(few: Deployed) -> None:
    started = [few.start(FEW, name) for name in ("one", "other")]
    ended = [few.wait(arn) for arn in started]
    few.wait_until_no_cluster()
    for execution in ended:
        assert execution.status == "SUCCEEDED", execution.cause
        manifest = few.manifest(execution.name)
        assert manifest["counts"]["found"] == execution.output["images"]["found"] > 0
    assert latest(few) in ("one", "other")
