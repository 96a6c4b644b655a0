"""What the two state machines have in common: how they are logged, traced and kept inside their region."""

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from cdk_app import europe
from cdk_app.settings import Settings
from cdk_app.storage import retention


def machine_role(scope: Construct, settings: Settings, description: str) -> iam.Role:
    """Return a role that Step Functions may take for this account, and that may log and trace."""
    role = iam.Role(
        scope,
        "Role",
        assumed_by=iam.ServicePrincipal(
            "states.amazonaws.com", conditions={"StringEquals": {"aws:SourceAccount": cdk.Aws.ACCOUNT_ID}}
        ),
        description=description,
    )
    role.add_to_policy(
        iam.PolicyStatement(
            sid="LogAndTrace",
            actions=[
                "logs:CreateLogDelivery",
                "logs:GetLogDelivery",
                "logs:UpdateLogDelivery",
                "logs:DeleteLogDelivery",
                "logs:ListLogDeliveries",
                "logs:PutResourcePolicy",
                "logs:DescribeResourcePolicies",
                "logs:DescribeLogGroups",
                "xray:PutTraceSegments",
                "xray:PutTelemetryRecords",
                "xray:GetSamplingRules",
                "xray:GetSamplingTargets",
            ],
            resources=["*"],
            conditions={"StringEquals": {"aws:RequestedRegion": settings.region}},
        )
    )
    acknowledge(
        role, "Resource::*", "Log delivery, X-ray, RunJobFlow and ListClusters know no resources; hence conditions."
    )
    europe.confine(role, settings.region)
    return role


def machine(  # noqa: PLR0913 - what differs between the two
    scope: Construct,
    settings: Settings,
    *,
    name: str,
    comment: str,
    role: iam.Role,
    story: sfn.IChainable,
    timeout: cdk.Duration,
) -> sfn.StateMachine:
    """Return a state machine in JSONata whose executions are logged whole and traced."""
    made = sfn.StateMachine(
        scope,
        "Machine",
        state_machine_name=name,
        comment=comment,
        query_language=sfn.QueryLanguage.JSONATA,
        definition_body=sfn.DefinitionBody.from_chainable(story),
        timeout=timeout,
        role=role.without_policy_updates(),  # CDK's own additions are broader than what is written here
        tracing_enabled=True,
        logs=sfn.LogOptions(
            level=sfn.LogLevel.ALL,
            include_execution_data=True,
            destination=logs.LogGroup(
                scope,
                "Log",
                log_group_name=f"/aws/vendedlogs/states/{name}",  # AWS's prefix for logs that services deliver
                retention=retention(settings.keep_logs_days),
                removal_policy=cdk.RemovalPolicy.DESTROY,
            ),
        ),
    )
    made.node.add_dependency(role)  # it is refused while its role may not log yet
    return made


def acknowledge(construct: Construct, finding: str, reason: str) -> None:
    """Accept a wildcard that cdk-nag found in the policy of `construct`, and say why."""
    cdk.Validations.of(construct).acknowledge(cdk.Acknowledgment(id=f"AwsSolutions-IAM5[{finding}]", reason=reason))
