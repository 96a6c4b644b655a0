"""A run on a real YARN: what its driver gets, and on which node it runs."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cloud.conftest import SETTINGS
from tests.cloud.deployed import Deployed
from tests.local_aws import cdk, jars
from tests.local_aws.plugin import on_yarn
from tests.local_aws.yarn import EMR_DEFAULTS, HADOOP, OF_YARN, SCALED

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def on_yarn_node(dev: Deployed, drawn: Path) -> Iterator[dict[str, Any]]:
    """What the driver of a successful run found on its node. The stage has on-demand and spot nodes."""
    try:
        jars.fetch(*jars.YARN, *jars.S3A)
    except jars.JarsUnavailableError as error:
        pytest.skip(str(error))
    cdk.deploy(dev.aws, **SETTINGS, core_nodes=1, spot_nodes=1)
    dev.put_photos(drawn, "yarn")
    dev.aws.control("faults", {"spark": "yarn"})
    execution = dev.run({"input_prefix": "yarn/", "max_rejected": 0.2}, "yarn")
    assert execution.status == "SUCCEEDED", execution.cause
    yield json.loads((dev.aws.folder / "steps" / "yarn.json").read_text())
    dev.aws.control("faults", {})


def test_the_step_gets_what_the_state_machine_sent_and_little_else(dev: Deployed, on_yarn_node: dict[str, Any]) -> None:
    """Only memory and cores are smaller. YARN's own variables come from `launch_container.sh`, as on EMR."""
    description = dev.aws.client("stepfunctions").describe_state_machine(stateMachineArn=dev.machine)
    create = json.loads(description["definition"])["States"]["Create cluster"]["Arguments"]
    sent = {one["Classification"]: one["Properties"] for one in create["Configurations"]}
    given = on_yarn_node
    assert set(sent) == {"core-site", "spark-defaults", "yarn-site"}
    for file, properties in sent.items():
        assert given["files"][file] == given["files"][file] | properties | (SCALED if file == "spark-defaults" else {})
    assert set(given["files"]["core-site"]) - set(sent["core-site"]) <= {*on_yarn.ADDED_SETTINGS, *HADOOP}
    assert set(given["files"]["spark-defaults"]) - set(sent["spark-defaults"]) <= set(EMR_DEFAULTS)
    application_master = "spark.yarn.appMasterEnv."
    variables = {
        name.removeprefix(application_master): value
        for name, value in sent["spark-defaults"].items()
        if name.startswith(application_master)
    }
    python_path = given["environment"].pop("PYTHONPATH").split(":")
    assert ":".join(python_path[:2]) == variables.pop("PYTHONPATH")  # Spark appends pyspark
    assert given["environment"] == given["environment"] | variables
    assert set(given["environment"]) - set(variables) - OF_YARN <= set(on_yarn.ADDED_VARIABLES)
    added = [*on_yarn.ADDED_VARIABLES, *on_yarn.ADDED_SETTINGS]
    assert not [name for name in added if "region" in name.lower()]


def test_the_driver_is_not_on_a_spot_node(on_yarn_node: dict[str, Any]) -> None:
    """Every node has a label here, so a driver that asked for none would find no node."""
    assert on_yarn_node["driver_market"] == "ON_DEMAND"
