"""What happens to a run that loses an executor or a node. The runs share the time, but each has a YARN of its own."""

import io
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.cloud import faults
from tests.cloud.conftest import SETTINGS
from tests.cloud.deployed import Deployed, Execution
from tests.cloud.faults import NODE_FAULTS
from tests.local_aws import cdk, jars

pytestmark = pytest.mark.slow
_COPIES = 20
_GIVEN = {"input_prefix": "many/", "max_rejected": 0.2, "recompute": True}


@pytest.fixture(scope="module")
def ended(dev: Deployed, drawn: Path) -> Iterator[dict[str, Execution]]:
    """How each run ended. All executions run at the same time."""
    try:
        jars.fetch(*jars.YARN, *jars.S3A)
    except jars.JarsUnavailableError as error:
        pytest.skip(str(error))
    cdk.deploy(dev.aws, **SETTINGS, core_nodes=1, spot_nodes=1)
    for copy in range(_COPIES):
        dev.put_photos(drawn, f"many/{copy}")
    runs = {kind: f"nodes-{number}" for number, kind in enumerate(NODE_FAULTS)}
    dev.aws.control("faults", {"spark": "yarn", "nodes": {run: kind for kind, run in runs.items()}})
    started = {kind: dev.start(_GIVEN, run) for kind, run in runs.items()}
    executions = {kind: dev.wait(arn) for kind, arn in started.items()}
    dev.wait_until_no_cluster()
    yield executions
    dev.aws.control("faults", {})


@pytest.mark.parametrize("kind", NODE_FAULTS)
def test_a_lost_node(dev: Deployed, ended: dict[str, Execution], kind: str) -> None:
    fault, execution = NODE_FAULTS[kind], ended[kind]
    assert f"{execution.status} {execution.error}".strip() == fault.ends, execution.cause
    if execution.status == "FAILED":
        assert faults.has_reason(execution, fault.reason), execution.cause
        assert dev.read(dev.results, f"runs/{execution.name}/manifest.json") is None
    else:
        check_every_photo_counts_once(dev, execution)


def check_every_photo_counts_once(dev: Deployed, execution: Execution) -> None:
    images = execution.output["images"]
    photos = [key.removeprefix("many/") for key in dev.keys(dev.data, "many/")]
    assert images["found"] == images["computed"] + images["rejected"] == len(photos)
    paths = [
        path
        for table in ("features", "rejected")
        for key in dev.keys(dev.results, f"runs/{execution.name}/{table}/")
        for path in pq.read_table(io.BytesIO(dev.read(dev.results, key) or b""), columns=["path"])["path"].to_pylist()
    ]
    assert sorted(paths) == sorted(photos)
