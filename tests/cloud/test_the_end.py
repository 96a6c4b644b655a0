"""Destroying a stage: `dev` leaves nothing, `prod` keeps data and results. Runs last: it destroys the shared stage."""

from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from tests.cloud.conftest import SETTINGS
from tests.cloud.deployed import Deployed
from tests.local_aws import cdk
from tests.local_aws.emulator import LocalAws


def test_prod_is_protected_and_keeps_its_data(aws: LocalAws, drawn: Path) -> None:
    cdk.deploy(aws, stage="prod")
    prod = Deployed.find(aws, "fruits-prod")
    keys = prod.put_photos(drawn)
    with pytest.raises(cdk.CdkError, match=r"[Tt]ermination ?[Pp]rotection"):
        cdk.destroy(aws, stage="prod")
    aws.client("cloudformation").update_termination_protection(StackName=prod.name, EnableTerminationProtection=False)
    cdk.destroy(aws, stage="prod")
    left = [bucket["Name"] for bucket in aws.client("s3").list_buckets()["Buckets"] if prod.name in bucket["Name"]]
    assert sorted(left) == sorted([prod.data, prod.results])
    assert prod.keys(prod.data) == keys


def test_destroying_leaves_nothing(aws: LocalAws, dev: Deployed) -> None:
    cdk.destroy(aws, **SETTINGS)
    with pytest.raises(ClientError, match="does not exist"):
        Deployed.find(aws, dev.name)
    assert not [bucket for bucket in aws.client("s3").list_buckets()["Buckets"] if dev.name in bucket["Name"]]
    assert aws.client("stepfunctions").list_state_machines()["stateMachines"] == []
    assert not [role for role in aws.client("iam").list_roles()["Roles"] if role["RoleName"].startswith(dev.name)]
