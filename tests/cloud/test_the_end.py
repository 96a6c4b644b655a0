"""Destroying a stage: `dev` leaves nothing, whatever runs in it; `prod` keeps data and results.

Runs last: it destroys the shared stage.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from cdk_app.cleanup_function.decisions import EMR_ENDPOINT, GUARDDUTY_ENDPOINT
from tests.cloud.conftest import SETTINGS
from tests.cloud.deployed import Deployed, wait_until
from tests.local_aws import cdk
from tests.local_aws.emulator import LocalAws


@pytest.mark.slow
def test_prod_is_protected_and_keeps_its_data(aws: LocalAws, drawn: Path) -> None:
    cdk.deploy(aws, stage="prod")
    prod = Deployed.find(aws, "fruits-prod")
    keys = prod.put_photos(drawn)
    with pytest.raises(cdk.CdkError, match=r"[Tt]ermination ?[Pp]rotection"):
        cdk.destroy(aws, stage="prod")
    aws.client("cloudformation").update_termination_protection(StackName=prod.name, EnableTerminationProtection=False)
    cdk.destroy(aws, stage="prod")
    left = [bucket["Name"] for bucket in aws.client("s3").list_buckets()["Buckets"] if prod.name in bucket["Name"]]
    assert sorted(left) == sorted([prod.data, prod.results, prod.logs])
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


def with_endpoints_and_a_security_group_of_others(dev: Deployed) -> None:
    """Create the endpoints that EMR and GuardDuty document, and the security group of GuardDuty."""
    vpc = _create_endpoint(dev, "elasticmapreduce", EMR_ENDPOINT)
    _create_endpoint(dev, "guardduty-data", GUARDDUTY_ENDPOINT)
    dev.aws.client("ec2").create_security_group(
        GroupName="GuardDutyManagedSecurityGroup", Description="GuardDuty", VpcId=vpc
    )


def _create_endpoint(dev: Deployed, service: str, tags: dict[str, str]) -> str:
    """Create an interface endpoint in the network of the stack, and return the ID of the network."""
    ec2 = dev.aws.client("ec2")
    (subnet, *_) = [subnet for subnet in ec2.describe_subnets()["Subnets"] if _is_of(dev, subnet)]
    ec2.create_vpc_endpoint(
        VpcId=subnet["VpcId"],
        VpcEndpointType="Interface",
        ServiceName=f"com.amazonaws.eu-west-3.{service}",
        SubnetIds=[subnet["SubnetId"]],
        TagSpecifications=[
            {"ResourceType": "vpc-endpoint", "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}
        ],
    )
    return str(subnet["VpcId"])


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


def test_every_hour_the_endpoint_of_emr_is_removed(stage: Deployed) -> None:
    _create_endpoint(stage, "elasticmapreduce", EMR_ENDPOINT)
    _create_endpoint(stage, "guardduty-data", GUARDDUTY_ENDPOINT)

    def services() -> list[str]:
        endpoints = stage.aws.client("ec2").describe_vpc_endpoints()["VpcEndpoints"]
        return [one["ServiceName"].rpartition(".")[2] for one in endpoints if one["VpcEndpointType"] == "Interface"]

    stage.aws.control("hours", 1)
    wait_until(lambda: services() == ["guardduty-data"], "the endpoint to go")


@pytest.mark.parametrize(
    "arrange",
    [
        pytest.param(seconds_after_a_run, marks=pytest.mark.slow),
        pytest.param(while_a_cluster_starts, marks=pytest.mark.slow),
        during_the_job,
        pytest.param(with_endpoints_and_a_security_group_of_others, marks=pytest.mark.slow),
    ],
    ids=lambda arrange: arrange.__name__,
)
def test_destroying_leaves_nothing(aws: LocalAws, stage: Deployed, arrange: Callable[[Deployed], None]) -> None:
    arrange(stage)
    cdk.destroy(aws, **SETTINGS)
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
        ("athena", "list_work_groups", "WorkGroups"),
        ("athena", "list_named_queries", "NamedQueryIds"),
    ):
        left = getattr(aws.client(service), method)()[key]
        assert not [resource for resource in left if stage.name in str(resource)], method
    assert aws.client("glue").get_databases()["DatabaseList"] == []
    assert aws.client("iam").list_policies(Scope="Local")["Policies"] == []
    ec2 = aws.client("ec2")
    assert not [one for one in ec2.describe_vpcs()["Vpcs"] if not one["IsDefault"]]
    assert ec2.describe_vpc_endpoints()["VpcEndpoints"] == []
