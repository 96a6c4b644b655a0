"""What each role may and may not do, and which resources a stage keeps."""

from typing import Any

import aws_cdk as cdk
import pytest
from ministack.core import iam_evaluator

from cdk_app.bundle import Bundle
from cdk_app.stack import FruitsStack
from cdk_app.stage_settings import Stage, StageSettings
from tests.infra.conftest import CONTEXT, Synthesise
from tests.infra.template import ACCOUNT, REGION, Synthesised

NODES, SERVICE, WORKFLOW, CLEAN_UP = "ClusterInstanceRole", "ClusterServiceRole", "WorkflowRole", "CleanUpRole"
DATA, RESULTS, LOGS = "arn:aws:s3:::StorageData", "arn:aws:s3:::StorageResults", "arn:aws:s3:::StorageLogs"
ASSETS = f"arn:aws:s3:::cdk-hnb659fds-assets-{ACCOUNT}-{REGION}"
ROLE, EXECUTION = f"arn:aws:iam::{ACCOUNT}:role", f"arn:aws:states:{REGION}:{ACCOUNT}:execution"
CLUSTER = f"arn:aws:elasticmapreduce:{REGION}:{ACCOUNT}:cluster/j-1"
OURS = {"elasticmapreduce:resourcetag/stack": "fruits-dev"}
THEIRS = {"elasticmapreduce:resourcetag/stack": "fruits-prod"}
GROUP = f"arn:aws:ec2:{REGION}:{ACCOUNT}:security-group/sg-1"
ENDPOINT = f"arn:aws:ec2:{REGION}:{ACCOUNT}:vpc-endpoint/vpce-1"
EMRS = {"aws:resourcetag/name": "emr-service-vpce", "aws:resourcetag/for-use-with-amazon-emr-managed-policies": "true"}
#: CloudFormation replaces a resource whose logical ID changes. These would lose objects, messages or history.
STATEFUL = {
    "AWS::S3::Bucket": {"StorageData6BB23F4E", "StorageResultsB2A4FB2E", "StorageLogs2A2D4D26"},
    "AWS::Logs::LogGroup": {"WorkflowLogD7C9FC7F", "StorageEmptying49D00EA8", "CleanUpLog005EBAD0"},
    "AWS::StepFunctions::StateMachine": {"WorkflowMachine0C2E3460"},
    "AWS::SNS::Topic": {"WatchTopicE125D5FE"},
    "AWS::SNS::Subscription": {"WatchTopicfruitsexamplecomE53A3AB7"},
    "AWS::Budgets::Budget": {"WatchBudget1233585C"},
    "AWS::KMS::Key": {"ClusterDiskKeyB15BEE86"},
}
#: Types that cost nothing while nothing runs, except for stored bytes. The first ten alarms of an account are free.
FREE_WHILE_IDLE = {
    *("AWS::Athena::NamedQuery", "AWS::Athena::WorkGroup", "AWS::Glue::Database", "AWS::Glue::Table"),
    *("AWS::S3::Bucket", "AWS::S3::BucketPolicy", "AWS::Logs::LogGroup", "AWS::Lambda::Function"),
    *("AWS::Lambda::Permission", "AWS::StepFunctions::StateMachine", "AWS::Events::Rule", "AWS::CloudWatch::Alarm"),
    *("AWS::SNS::Topic", "AWS::SNS::TopicPolicy", "AWS::EMR::SecurityConfiguration", "AWS::IAM::ManagedPolicy"),
    *("AWS::IAM::Role", "AWS::IAM::Policy", "AWS::IAM::InstanceProfile", "AWS::EC2::VPC", "AWS::EC2::Subnet"),
    *("AWS::EC2::RouteTable", "AWS::EC2::SubnetRouteTableAssociation", "AWS::EC2::SecurityGroup"),
    *("AWS::EC2::SecurityGroupIngress", "AWS::EC2::SecurityGroupEgress", "AWS::EC2::VPCEndpoint"),
    *("Custom::S3AutoDeleteObjects", "Custom::CleanUp"),
}
#: The role of CDK's function that empties buckets. CDK writes it, and the app cannot add a denial to it.
ROLE_OF_CDK = "CustomS3AutoDeleteObjectsCustomResourceProviderRole"
SETTINGS = [
    StageSettings.of(),
    StageSettings.of("prod", email="fruits@example.com", monthly_budget=50, disk_key="own"),
    StageSettings.of(architecture="x86_64", engine="tensorflow", spot_nodes=4),
]


def allows(stack: Synthesised, role: str, action: str, resource: str, **keys: str) -> bool:
    """Return whether the policies of a role allow an action."""
    return decide(stack.statements(role), role, action, resource, REGION, **keys)


def decide(statements: list[dict[str, Any]], role: str, action: str, resource: str, region: str, **keys: str) -> bool:
    """Ask MiniStack's evaluator, which supports explicit denials, wildcards and conditions."""
    context = iam_evaluator.EvalContext(
        principal_arn=f"arn:aws:iam::{ACCOUNT}:role/{role}",
        principal_type="AssumedRole",
        principal_account=ACCOUNT,
        action=action,
        resource_arn=resource,
        region=region,
        service_context=keys,
    )
    document = {"Version": "2012-10-17", "Statement": statements}
    decision: str = iam_evaluator.evaluate(context, [iam_evaluator.parse_policy_document(document)]).decision
    return decision == "Allow"


@pytest.mark.parametrize(
    ("role", "action", "resource", "keys"),
    [
        # What the runs on the local AWS do not try. They show the other permissions.
        (NODES, "s3:GetObject", f"{ASSETS}/next.zip", {}),
        (WORKFLOW, "elasticmapreduce:PutAutoTerminationPolicy", CLUSTER, {}),
        (CLEAN_UP, "ec2:DeleteVpcEndpoints", ENDPOINT, EMRS),
        (CLEAN_UP, "ec2:DeleteVpcEndpoints", ENDPOINT, {"aws:resourcetag/guarddutymanaged": "true"}),
        (CLEAN_UP, "ec2:DeleteSecurityGroup", GROUP, {"ec2:vpc": f"arn:aws:ec2:{REGION}:{ACCOUNT}:vpc/NetworkVpc"}),
        (CLEAN_UP, "logs:PutLogEvents", f"arn:aws:logs:{REGION}:{ACCOUNT}:CleanUpLog", {}),
        # What runs need, here for the sake of the table below
        (NODES, "s3:GetObject", f"{DATA}/photos/1.jpg", {}),
        (NODES, "s3:PutObject", f"{RESULTS}/runs/run-1/manifest.json", {}),
        (WORKFLOW, "s3:GetObject", f"{RESULTS}/summaries/run-1.json", {}),
        (WORKFLOW, "elasticmapreduce:RunJobFlow", "*", {"elasticmapreduce:requesttag/stack": "fruits-dev"}),
        (WORKFLOW, "elasticmapreduce:TerminateJobFlows", CLUSTER, OURS),
        (CLEAN_UP, "elasticmapreduce:TerminateJobFlows", CLUSTER, OURS),
        (CLEAN_UP, "states:StopExecution", f"{EXECUTION}:fruits-dev:run-1", {}),
    ],
)
def test_a_role_may(dev: Synthesised, role: str, action: str, resource: str, keys: dict[str, str]) -> None:
    assert allows(dev, role, action, resource, **keys)


@pytest.mark.parametrize(
    ("role", "action", "resource", "keys"),
    [
        (NODES, "s3:PutObject", f"{DATA}/photos/1.jpg", {}),
        (NODES, "s3:DeleteObject", f"{DATA}/photos/1.jpg", {}),
        (NODES, "s3:PutObject", f"{RESULTS}/elsewhere.json", {}),
        (NODES, "s3:DeleteObject", f"{RESULTS}/runs/run-1/manifest.json", {}),
        (NODES, "s3:GetObject", f"{LOGS}/emr/j-1/node/log.gz", {}),
        (NODES, "s3:PutObject", f"{LOGS}/access/data/log", {}),
        (NODES, "s3:GetObject", "arn:aws:s3:::somebody-elses/secret", {}),
        (NODES, "s3:PutObject", f"{ASSETS}/other.zip", {}),
        (NODES, "s3:ListBucket", ASSETS, {}),
        (NODES, "s3:PutBucketPolicy", DATA, {}),
        (NODES, "elasticmapreduce:RunJobFlow", "*", {}),
        (NODES, "elasticmapreduce:TerminateJobFlows", CLUSTER, OURS),
        (NODES, "iam:PassRole", f"{ROLE}/{NODES}", {}),
        (NODES, "sts:AssumeRole", f"{ROLE}/{WORKFLOW}", {}),
        (SERVICE, "s3:GetObject", f"{DATA}/photos/1.jpg", {}),
        (SERVICE, "kms:CreateGrant", f"arn:aws:kms:{REGION}:{ACCOUNT}:ClusterDiskKey", {}),
        (SERVICE, "iam:PassRole", f"{ROLE}/admin", {"iam:passedtoservice": "ec2.amazonaws.com"}),
        (SERVICE, "iam:CreateServiceLinkedRole", f"{ROLE}/aws-service-role/spot.amazonaws.com/x", {}),
        (WORKFLOW, "s3:GetObject", f"{DATA}/photos/1.jpg", {}),
        (WORKFLOW, "s3:GetObject", f"{RESULTS}/runs/run-1/manifest.json", {}),
        (WORKFLOW, "s3:PutObject", f"{RESULTS}/runs/run-1/manifest.json", {}),
        (WORKFLOW, "elasticmapreduce:RunJobFlow", "*", {"elasticmapreduce:requesttag/stack": "fruits-prod"}),
        (WORKFLOW, "elasticmapreduce:AddJobFlowSteps", CLUSTER, THEIRS),
        (WORKFLOW, "elasticmapreduce:TerminateJobFlows", CLUSTER, {}),
        (WORKFLOW, "sns:Publish", f"arn:aws:sns:{REGION}:{ACCOUNT}:other", {}),
        (CLEAN_UP, "elasticmapreduce:TerminateJobFlows", CLUSTER, THEIRS),
        (CLEAN_UP, "elasticmapreduce:DescribeCluster", CLUSTER, {}),
        (CLEAN_UP, "elasticmapreduce:RunJobFlow", "*", {"elasticmapreduce:requesttag/stack": "fruits-dev"}),
        (CLEAN_UP, "states:StopExecution", f"{EXECUTION}:fruits-prod:run-1", {}),
        (CLEAN_UP, "states:StopExecution", f"{EXECUTION}:fruits-dev-other:1", {}),
        (CLEAN_UP, "ec2:DeleteVpcEndpoints", ENDPOINT, {"aws:resourcetag/name": "emr-service-vpce"}),
        (CLEAN_UP, "ec2:DeleteVpcEndpoints", ENDPOINT, {"aws:resourcetag/guarddutymanaged": "false"}),
        (CLEAN_UP, "ec2:DeleteSecurityGroup", GROUP, {"ec2:vpc": f"arn:aws:ec2:{REGION}:{ACCOUNT}:vpc/vpc-other"}),
        (CLEAN_UP, "ec2:DeleteSubnet", f"arn:aws:ec2:{REGION}:{ACCOUNT}:subnet/subnet-1", {}),
        (CLEAN_UP, "s3:GetObject", f"{RESULTS}/runs/run-1/manifest.json", {}),
    ],
)
def test_a_role_may_not(dev: Synthesised, role: str, action: str, resource: str, keys: dict[str, str]) -> None:
    assert not allows(dev, role, action, resource, **keys)


@pytest.mark.parametrize(
    ("role", "service", "right"),
    [
        (NODES, "ec2.amazonaws.com", True),
        (SERVICE, "elasticmapreduce.amazonaws.com", True),
        (NODES, "lambda.amazonaws.com", False),
        (SERVICE, "ec2.amazonaws.com", False),
        (WORKFLOW, "elasticmapreduce.amazonaws.com", False),
        (CLEAN_UP, "ec2.amazonaws.com", False),
    ],
)
def test_the_workflow_passes_two_roles_each_to_its_service(
    dev: Synthesised, role: str, service: str, *, right: bool
) -> None:
    arn = f"arn:aws:iam::{ACCOUNT}:role/{role}"
    assert allows(dev, WORKFLOW, "iam:PassRole", arn, **{"iam:passedtoservice": service}) is right
    assert not allows(dev, WORKFLOW, "iam:PassRole", arn)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_nothing_is_allowed_everywhere(synthesise: Synthesise, settings: StageSettings) -> None:
    stack = synthesise(settings)
    for role in roles_of_the_app(stack):
        for statement in stack.statements(role):
            if statement["Effect"] == "Deny":
                continue
            assert all("*" not in action for action in _list(statement["Action"])), statement
            if "*" in _list(statement["Resource"]) and statement.get("Sid") != "LogAndTrace":
                assert statement["Condition"], statement


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_every_role_is_denied_every_other_region(synthesise: Synthesise, settings: StageSettings) -> None:
    """Each role gets an administrator's rights here. Nothing but its denial then keeps it in the region."""
    stack = synthesise(settings)
    administrator = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    for role in roles_of_the_app(stack):
        statements = [*stack.statements(role), administrator]
        for action in ("s3:GetObject", "ec2:RunInstances", "lambda:InvokeFunction"):
            assert decide(statements, role, action, "*", REGION), role
            assert not decide(statements, role, action, "*", "eu-west-1"), role
            assert not decide(statements, role, action, "*", "us-east-1"), role


def roles_of_the_app(stack: Synthesised) -> list[str]:
    """Return every role of the template but CDK's own."""
    found = set(stack.of("AWS::IAM::Role")) - {ROLE_OF_CDK}
    assert found == {NODES, SERVICE, WORKFLOW, CLEAN_UP}
    return sorted(found)


@pytest.mark.parametrize("role", [SERVICE, WORKFLOW])
def test_a_service_assumes_a_role_for_this_account_only(dev: Synthesised, role: str) -> None:
    (statement,) = dev.of("AWS::IAM::Role")[role]["AssumeRolePolicyDocument"]["Statement"]
    assert statement["Condition"]["StringEquals"]["aws:SourceAccount"] == ACCOUNT


@pytest.mark.parametrize(
    "kind",
    [
        *("AWS::S3::Bucket", "AWS::StepFunctions::StateMachine", "AWS::Lambda::Function", "AWS::Logs::LogGroup"),
        *("AWS::EC2::VPC", "AWS::EC2::VPCEndpoint", "AWS::KMS::Key"),
    ],
)
def test_every_resource_that_costs_carries_the_tags(synthesise: Synthesise, kind: str) -> None:
    """The stage has a key of its own, so that there is a resource of every kind."""
    found = {name: it for name, it in synthesise(SETTINGS[1]).of(kind).items() if not name.startswith("CustomS3Auto")}
    assert found
    for properties in found.values():
        tags = {tag["Key"]: tag["Value"] for tag in properties["Tags"]}
        assert tags.items() >= {"project": "fruits", "stage": "prod", "stack": "fruits-prod"}.items()


def test_nothing_costs_while_nothing_runs(dev: Synthesised) -> None:
    assert {resource["Type"] for resource in dev.template["Resources"].values()} <= FREE_WHILE_IDLE
    assert {endpoint["VpcEndpointType"] for endpoint in dev.of("AWS::EC2::VPCEndpoint").values()} == {"Gateway"}


def test_prod_keeps_its_buckets_and_dev_leaves_nothing(dev: Synthesised, synthesise: Synthesise) -> None:
    kept = [
        {name for name, it in stack.template["Resources"].items() if it.get("DeletionPolicy", "Delete") != "Delete"}
        for stack in (dev, synthesise(SETTINGS[1]))
    ]
    assert kept[0] == set()
    assert sorted(name[:-8] for name in kept[1]) == ["StorageData", "StorageLogs", "StorageResults"]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_no_bucket_that_is_kept_logs_to_a_bucket_that_is_deleted(
    synthesise: Synthesise, settings: StageSettings
) -> None:
    resources = synthesise(settings).template["Resources"]
    buckets = {name: it for name, it in resources.items() if it["Type"] == "AWS::S3::Bucket"}
    for bucket in buckets.values():
        if logging := bucket["Properties"].get("LoggingConfiguration"):
            target = buckets[logging["DestinationBucketName"]["Ref"]]
            assert target["DeletionPolicy"] == bucket["DeletionPolicy"]


def test_stateful_resources_keep_their_logical_ids(synthesise: Synthesise) -> None:
    resources = {name: it for settings in SETTINGS for name, it in synthesise(settings).template["Resources"].items()}
    found = {kind: {name for name, it in resources.items() if it["Type"] == kind} for kind in STATEFUL}
    assert found == STATEFUL


def test_prod_is_protected_from_destruction(bundle: Bundle) -> None:
    stages: tuple[Stage, ...] = ("dev", "prod")
    stacks = [FruitsStack(cdk.App(context=CONTEXT), stage, StageSettings.of(stage), bundle) for stage in stages]
    assert [stack.termination_protection for stack in stacks] == [False, True]


def _list(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]
