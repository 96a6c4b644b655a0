"""The state that creates a cluster, and the permissions to create, use and end the clusters of the stack."""

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_stepfunctions as sfn
from aws_cdk.aws_stepfunctions_tasks import EmrCreateCluster
from constructs import Construct

from cdk_app import nag
from cdk_app.emr_cluster import RELEASE, EmrCluster


def create_cluster(
    scope: Construct, construct_id: str, cluster: EmrCluster, *, name: str, log_uri: str
) -> EmrCreateCluster:
    """Return the state that starts a cluster called `name` (JSONata). It assigns the id to `$cluster_id`."""
    return EmrCreateCluster.jsonata(
        scope,
        construct_id,
        comment="Does not wait until the cluster has started, so the later states know its id whatever happens.",
        name=name,
        release_label=RELEASE,
        applications=[EmrCreateCluster.ApplicationConfigProperty(name="Spark")],
        instances=cluster.instances(),
        configurations=[
            EmrCreateCluster.ConfigurationProperty(classification=file, properties=properties)
            for file, properties in cluster.configurations.items()
        ],
        auto_termination_policy_idle_timeout=cluster.idle_timeout,
        security_configuration=cluster.security_configuration,
        # The stack and the cluster write the policies of these roles. CDK would add broader ones.
        service_role=cluster.service_role.without_policy_updates(),
        cluster_role=cluster.instance_role.without_policy_updates(),
        log_uri=log_uri,
        tags=cluster.tags,
        # With .sync, a failed start would lose the id.
        integration_pattern=sfn.IntegrationPattern.REQUEST_RESPONSE,
        task_timeout=minutes(5),
        assign={"cluster_id": "{% $states.result.ClusterId %}"},
    )


def allow_running_jobs(role: iam.Role, cluster: EmrCluster) -> None:
    """Allow `role` to create clusters with the tag of this stack, run steps on them, and terminate them."""
    stack = cdk.Stack.of(role)
    tag = {"elasticmapreduce:RequestTag/stack": stack.stack_name}
    _allow(
        role,
        ["elasticmapreduce:RunJobFlow"],
        "*",
        {**tag, "aws:RequestedRegion": stack.region},
        sid="AskForTaggedClusters",
    )
    _allow(role, ["elasticmapreduce:AddTags"], _clusters(stack), tag, sid="TagThem")
    actions = ("AddJobFlowSteps", "DescribeStep", "DescribeCluster")
    _allow(role, [f"elasticmapreduce:{action}" for action in actions], _clusters(stack), _own_tag(stack), sid="UseThem")
    # RunJobFlow with an auto-termination policy needs this. The cluster has no tag yet that a condition could require
    # (EMR Management Guide, "Using an auto-termination policy").
    _allow(role, ["elasticmapreduce:PutAutoTerminationPolicy"], _clusters(stack), sid="EndIdleClusters")
    allow_terminating_clusters(role)
    for passed, service in ((cluster.service_role, "elasticmapreduce"), (cluster.instance_role, "ec2")):
        _allow(role, ["iam:PassRole"], passed.role_arn, {"iam:PassedToService": f"{service}.amazonaws.com"})
    _allow(
        role,
        ["iam:CreateServiceLinkedRole"],
        f"arn:aws:iam::{cdk.Aws.ACCOUNT_ID}:role/aws-service-role/elasticmapreduce.amazonaws.com/"
        "AWSServiceRoleForEMRCleanup",
        {"iam:AWSServiceName": "elasticmapreduce.amazonaws.com"},
        sid="LetEmrCleanUp",
    )


def allow_terminating_clusters(role: iam.Role) -> None:
    """Allow `role` to terminate the clusters that have the tag of this stack, and no others."""
    stack = cdk.Stack.of(role)
    _allow(role, ["elasticmapreduce:TerminateJobFlows"], _clusters(stack), _own_tag(stack))
    reason = "EMR chooses the id of a cluster. The condition requires the tag of this stack."
    nag.accept_wildcard(role, _clusters(stack), reason)


def allow_describing_clusters(role: iam.Role) -> None:
    """Allow `role` to describe the clusters that have the tag of this stack, and no others."""
    stack = cdk.Stack.of(role)
    _allow(role, ["elasticmapreduce:DescribeCluster"], _clusters(stack), _own_tag(stack))


def allow_listing_clusters(role: iam.Role) -> None:
    """Allow `role` to list the clusters of the region."""
    _allow(role, ["elasticmapreduce:ListClusters"], "*", {"aws:RequestedRegion": cdk.Stack.of(role).region})


def minutes(count: int) -> sfn.Timeout:
    """Return a time-out of `count` minutes."""
    return sfn.Timeout.duration(cdk.Duration.minutes(count))


def _clusters(stack: cdk.Stack) -> str:
    return f"arn:aws:elasticmapreduce:{stack.region}:{cdk.Aws.ACCOUNT_ID}:cluster/*"


def _own_tag(stack: cdk.Stack) -> dict[str, str]:
    return {"elasticmapreduce:ResourceTag/stack": stack.stack_name}


def _allow(
    role: iam.Role, actions: list[str], resource: str, equals: dict[str, str] | None = None, sid: str | None = None
) -> None:
    conditions = {"StringEquals": equals} if equals else None
    role.add_to_policy(iam.PolicyStatement(sid=sid, actions=actions, resources=[resource], conditions=conditions))
