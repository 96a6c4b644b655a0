"""Destroying a stage: `dev` leaves nothing, whatever runs in it; `prod` keeps data and results.

Runs last: it destroys the shared stage.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.cloud.conftest import SETTINGS
from tests.cloud.deployed import Deployed, wait_until
from tests.local_aws import cdk
from tests.local_aws.emulator import LocalAws

_EMR_ENDPOINT = {"Name": "emr-service-vpce", "for-use-with-amazon-emr-managed-policies": "true"}


def test_prod_is_protected_and_keeps_its_data(aws: LocalAws, drawn: Path, destroy_rows: list[tuple[str, str]]) -> None:
    cdk.deploy(aws, stage="prod")
    prod = Deployed.find(aws, "fruits-prod")
    keys = prod.put_photos(drawn)
    with pytest.raises(cdk.CdkError, match=r"[Tt]ermination ?[Pp]rotection"):
        cdk.destroy(aws, stage="prod")
    aws.client("cloudformation").update_termination_protection(StackName=prod.name, EnableTerminationProtection=False)
    begun = time.monotonic()
    cdk.destroy(aws, stage="prod")
    destroy_rows.append(("while idle", f"{time.monotonic() - begun:.0f} s"))
    left = [bucket["Name"] for bucket in aws.client("s3").list_buckets()["Buckets"] if prod.name in bucket["Name"]]
    assert sorted(left) == sorted([prod.data, prod.results])
    assert prod.keys(prod.data) == keys


def seconds_after_a_run(dev: Deployed) -> None:
    dev.aws.control("faults", {"ending_seconds": 4})
    assert dev.run({"max_rejected": 0.5}, "last").status == "SUCCEEDED"


def while_a_cluster_starts(dev: Deployed) -> None:
    dev.aws.control("faults", {"startup_seconds": 600, "ending_seconds": 4})
    _start_until(dev, "STARTING")


def during_the_job(dev: Deployed) -> None:
    dev.aws.control("faults", {"driver": "hangs", "ending_seconds": 4})
    _start_until(dev, "RUNNING")


def with_an_endpoint_that_emr_created(dev: Deployed) -> None:
    """Create the endpoint that EMR documents for its release 8."""
    ec2 = dev.aws.client("ec2")
    (subnet, *_) = [subnet for subnet in ec2.describe_subnets()["Subnets"] if _is_of(dev, subnet)]
    ec2.create_vpc_endpoint(
        VpcId=subnet["VpcId"],
        VpcEndpointType="Interface",
        ServiceName="com.amazonaws.eu-west-3.elasticmapreduce",
        SubnetIds=[subnet["SubnetId"]],
        TagSpecifications=[
            {
                "ResourceType": "vpc-endpoint",
                "Tags": [{"Key": key, "Value": value} for key, value in _EMR_ENDPOINT.items()],
            }
        ],
    )


def _start_until(dev: Deployed, state: str) -> None:
    dev.start({"max_rejected": 0.5}, f"until-{state}")
    wait_until(lambda: [cluster["Status"]["State"] for cluster in dev.clusters()] == [state], state)


def _is_of(dev: Deployed, resource: dict[str, Any]) -> bool:
    return {"Key": "stack", "Value": dev.name} in resource.get("Tags", [])


@pytest.fixture
def stage(aws: LocalAws, dev: Deployed, drawn: Path) -> Iterator[Deployed]:
    """The stage `dev` with photos. It is deployed again if a test has destroyed it."""
    try:
        stage = Deployed.find(aws, dev.name)
    except ClientError:
        cdk.deploy(aws, **SETTINGS)
        stage = Deployed.find(aws, dev.name)
    stage.put_photos(drawn)
    yield stage
    aws.control("faults", {})


@pytest.mark.parametrize(
    "arrange",
    [seconds_after_a_run, while_a_cluster_starts, during_the_job, with_an_endpoint_that_emr_created],
    ids=lambda arrange: arrange.__name__,
)
def test_destroying_leaves_nothing(
    aws: LocalAws, stage: Deployed, arrange: Callable[[Deployed], None], destroy_rows: list[tuple[str, str]]
) -> None:
    arrange(stage)
    begun = time.monotonic()
    cdk.destroy(aws, **SETTINGS)
    destroy_rows.append((arrange.__name__.replace("_", " "), f"{time.monotonic() - begun:.0f} s"))
    with pytest.raises(ClientError, match="does not exist"):
        Deployed.find(aws, stage.name)
    assert stage.clusters() == []
    for service, method, key in (
        ("s3", "list_buckets", "Buckets"),
        ("stepfunctions", "list_state_machines", "stateMachines"),
        ("iam", "list_roles", "Roles"),
        ("lambda", "list_functions", "Functions"),
        ("events", "list_rules", "Rules"),
        ("logs", "describe_log_groups", "logGroups"),
    ):
        left = getattr(aws.client(service), method)()[key]
        assert not [resource for resource in left if stage.name in str(resource)], method
    ec2 = aws.client("ec2")
    assert not [one for one in ec2.describe_vpcs()["Vpcs"] if not one["IsDefault"]]
    assert ec2.describe_vpc_endpoints()["VpcEndpoints"] == []
