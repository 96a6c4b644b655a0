from collections.abc import Iterator
from typing import Any

import pytest
from ministack.services import ec2, emr

from tests.local_aws.plugin import network

ATTRIBUTES = {
    "Ec2SubnetId": "subnet-1",
    "EmrManagedMasterSecurityGroup": "sg-1",
    "EmrManagedSlaveSecurityGroup": "sg-2",
    "ServiceAccessSecurityGroup": "sg-3",
}


@pytest.fixture
def cluster() -> Iterator[dict[str, Any]]:
    cluster = {"Id": "j-1", "Status": {"State": "STARTING"}, "Ec2InstanceAttributes": ATTRIBUTES}
    emr._clusters["j-1"] = cluster
    yield cluster
    del emr._clusters["j-1"]


def deleted(name: str) -> list[str]:
    done: list[str] = []
    network._unless_in_use(lambda name, _: done.append(name))(name, {})
    return done


@pytest.mark.parametrize("used", ATTRIBUTES.values())
@pytest.mark.parametrize("state", ["STARTING", "RUNNING", "TERMINATING"])
def test_what_a_cluster_uses_cannot_be_deleted(cluster: dict[str, Any], used: str, state: str) -> None:
    cluster["Status"]["State"] = state
    with pytest.raises(ValueError, match=f"DependencyViolation: {used} has dependencies.*j-1"):
        deleted(used)
    assert deleted("subnet-2") == ["subnet-2"]


@pytest.mark.parametrize("state", ["TERMINATED", "TERMINATED_WITH_ERRORS"])
def test_a_cluster_that_has_ended_uses_nothing(cluster: dict[str, Any], state: str) -> None:
    cluster["Status"]["State"] = state
    assert deleted("subnet-1") == ["subnet-1"]


@pytest.mark.parametrize("used", ["vpc-1", "subnet-1"])
def test_what_an_endpoint_uses_cannot_be_deleted(used: str) -> None:
    ec2._vpc_endpoints["vpce-1"] = {"VpcEndpointId": "vpce-1", "VpcId": "vpc-1", "SubnetIds": ["subnet-1"]}
    try:
        with pytest.raises(ValueError, match=r"DependencyViolation.*vpce-1"):
            deleted(used)
    finally:
        del ec2._vpc_endpoints["vpce-1"]
