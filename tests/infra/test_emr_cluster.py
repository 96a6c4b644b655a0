import importlib.resources
import json
from typing import Any

import pytest

from cdk_app import emr_cluster, europe
from cdk_app.stage_settings import StageSettings
from tests.infra.conftest import Synthesise
from tests.infra.template import ACCOUNT, REGION, Synthesised


@pytest.fixture
def own_key(synthesise: Synthesise) -> Synthesised:
    return synthesise(StageSettings.of(disk_key="own"))


def request(stack: Synthesised) -> dict[str, Any]:
    arguments: dict[str, Any] = stack.definition()["States"]["Create cluster"]["Arguments"]
    return arguments


def fleets(stack: Synthesised) -> dict[str, dict[str, Any]]:
    return {fleet["InstanceFleetType"]: fleet for fleet in request(stack)["Instances"]["InstanceFleets"]}


def test_the_request_is_for_emr_7_14_with_spark_and_idle_termination(dev: Synthesised) -> None:
    given = request(dev)
    assert given["ReleaseLabel"] == "emr-7.14.0"
    assert given["Applications"] == [{"Name": "Spark"}]
    assert given["AutoTerminationPolicy"] == {"IdleTimeout": 900}
    assert given["Instances"]["KeepJobFlowAliveWhenNoSteps"] is True
    assert len(given["Instances"]["Ec2SubnetIds"]) == 3
    assert given["LogUri"] == "s3://StorageLogs/emr/"
    assert {"Key": "stack", "Value": "fruits-dev"} in given["Tags"]
    assert {"Key": "for-use-with-amazon-emr-managed-policies", "Value": "true"} in given["Tags"]


def test_primary_and_core_are_on_demand(dev: Synthesised) -> None:
    assert {role: (it["TargetOnDemandCapacity"], it["TargetSpotCapacity"]) for role, it in fleets(dev).items()} == {
        "MASTER": (1, 0),
        "CORE": (2, 0),
    }


def test_spot_nodes_are_optional_and_fall_back(synthesise: Synthesise) -> None:
    stack = synthesise(StageSettings.of(architecture="x86_64", engine="tensorflow", spot_nodes=4))
    task = fleets(stack)["TASK"]
    assert (task["TargetOnDemandCapacity"], task["TargetSpotCapacity"]) == (0, 4)
    assert task["LaunchSpecifications"]["SpotSpecification"] == {
        "TimeoutAction": "SWITCH_TO_ON_DEMAND",
        "TimeoutDurationMinutes": 10,
        "AllocationStrategy": "price-capacity-optimized",
    }
    files = {it["Classification"]: it["Properties"] for it in request(stack)["Configurations"]}
    assert files["spark-defaults"]["spark.executor.instances"] == "6"
    assert files["yarn-site"]["yarn.node-labels.am.default-node-label-expression"] == "ON_DEMAND"


@pytest.mark.parametrize("architecture", ["arm64", "x86_64"])
def test_every_region_has_the_instance_types(architecture: Any) -> None:
    known = json.loads(
        importlib.resources.files("cfnlint.data.schemas.extensions.aws_emr_cluster")
        .joinpath("instancetypeconfig_instancetype_enum.json")
        .read_text()
    )
    for region in europe.REGIONS:
        chosen = emr_cluster.instance_types(architecture, region)
        assert chosen == [name for name in emr_cluster.INSTANCE_TYPES[architecture] if name in known[region]["enum"]]
        assert chosen, f"EMR offers none of the types in {region}"


@pytest.mark.parametrize("engine_mib", [250, 1024], ids=["litert", "tensorflow"])
def test_an_executor_and_the_driver_fit_a_node(engine_mib: int) -> None:
    def mib(size: str) -> int:
        return int(size.removesuffix("g")) * 1024

    executor = mib(emr_cluster.EXECUTOR_HEAP) + mib(emr_cluster.EXECUTOR_OVERHEAD)
    driver = mib(emr_cluster.DRIVER_HEAP) + mib(emr_cluster.DRIVER_OVERHEAD)
    assert executor + driver <= 12288, "what EMR gives YARN on 16 GiB"
    assert emr_cluster.CORES * engine_mib <= mib(emr_cluster.EXECUTOR_OVERHEAD)


@pytest.mark.parametrize("file", ["core-site", "spark-defaults"])
def test_s3a_knows_the_region(file: str) -> None:
    properties = emr_cluster.configurations("eu-west-1", core_nodes=2, spot_nodes=0)[file]
    assert {"fs.s3a.endpoint.region", "spark.hadoop.fs.s3a.endpoint.region"} & set(properties)
    assert "eu-west-1" in properties.values()


def test_by_default_there_is_no_key_and_nothing_that_needs_kms(dev: Synthesised) -> None:
    assert dev.of("AWS::KMS::Key") == {}
    assert dev.one("AWS::EMR::SecurityConfiguration", "Security")["SecurityConfiguration"] == {
        "InstanceMetadataServiceConfiguration": {
            "MinimumInstanceMetadataServiceVersion": 2,
            "HttpPutResponseHopLimit": 1,
        }
    }
    assert "kms" not in json.dumps(dev.template).lower()


def test_an_own_key_encrypts_the_disks_and_can_be_reached(own_key: Synthesised) -> None:
    configuration = own_key.one("AWS::EMR::SecurityConfiguration", "Security")["SecurityConfiguration"]
    disk = configuration["EncryptionConfiguration"]["AtRestEncryptionConfiguration"]["LocalDiskEncryptionConfiguration"]
    assert disk["EnableEbsEncryption"] is True
    assert disk["AwsKmsKey"].endswith("ClusterDiskKey")
    assert configuration["InstanceMetadataServiceConfiguration"]["MinimumInstanceMetadataServiceVersion"] == 2


def test_the_instance_profile_has_the_name_of_the_role(dev: Synthesised) -> None:
    profile = dev.one("AWS::IAM::InstanceProfile", "InstanceProfile")
    assert profile["Roles"] == [profile["InstanceProfileName"]] == [request(dev)["JobFlowRole"]]


def test_the_nodes_reach_kms_for_the_own_key_only(own_key: Synthesised) -> None:
    (endpoint,) = [it for it in own_key.of("AWS::EC2::VPCEndpoint").values() if it["VpcEndpointType"] == "Interface"]
    assert endpoint["ServiceName"] == f"com.amazonaws.{REGION}.kms"
    assert endpoint["PrivateDnsEnabled"] is True
    assert len(endpoint["SubnetIds"]) == 1
    (statement,) = endpoint["PolicyDocument"]["Statement"]
    assert statement["Resource"].endswith("ClusterDiskKey")
    assert statement["Condition"] == {"StringEquals": {"aws:PrincipalAccount": ACCOUNT}}
    (group,) = endpoint["SecurityGroupIds"]
    rules = [it for it in own_key.of("AWS::EC2::SecurityGroupIngress").values() if it["GroupId"] == group]
    assert {rule["SourceSecurityGroupId"].split(".")[0] for rule in rules} == {"NetworkPrimary", "NetworkWorkers"}
    assert {(rule["FromPort"], rule["ToPort"]) for rule in rules} == {(443, 443)}


def test_the_disks_key_serves_ec2_and_this_account_only(own_key: Synthesised) -> None:
    (key,) = own_key.of("AWS::KMS::Key").values()
    assert key["EnableKeyRotation"] is True
    (through,) = [it for it in key["KeyPolicy"]["Statement"] if it["Principal"] == {"AWS": "*"}]
    assert through["Condition"] == {
        "StringEquals": {"kms:CallerAccount": ACCOUNT, "kms:ViaService": f"ec2.{REGION}.amazonaws.com"}
    }
