"""A state machine with its role, logs and traces, and helpers for its states."""

from collections.abc import Mapping
from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from aws_cdk import aws_stepfunctions as sfn
from aws_cdk import aws_stepfunctions_tasks as tasks
from constructs import Construct

from cdk_app import europe, nag
from cdk_app.buckets import retention


def state_machine_role(scope: Construct, description: str) -> iam.Role:
    """Return a role that Step Functions may assume for this account. It may write logs and traces."""
    role = iam.Role(
        scope,
        "Role",
        assumed_by=iam.ServicePrincipal(
            "states.amazonaws.com", conditions={"StringEquals": {"aws:SourceAccount": cdk.Aws.ACCOUNT_ID}}
        ),
        description=description,
    )
    # The Step Functions guide ("Using CloudWatch Logs to log execution history") has no condition here. The denial of
    # other regions restricts this statement too.
    role.add_to_policy(
        iam.PolicyStatement(
            sid="LogAndTrace",
            actions=[
                *("logs:CreateLogDelivery", "logs:GetLogDelivery", "logs:UpdateLogDelivery", "logs:DeleteLogDelivery"),
                *("logs:ListLogDeliveries", "logs:PutResourcePolicy", "logs:DescribeResourcePolicies"),
                *("logs:DescribeLogGroups", "xray:PutTraceSegments", "xray:PutTelemetryRecords"),
                *("xray:GetSamplingRules", "xray:GetSamplingTargets"),
            ],
            resources=["*"],
        )
    )
    nag.accept_wildcard(role, "*", "Log delivery, X-Ray and RunJobFlow support no resource ARNs.")
    europe.confine(role)
    return role


def state_machine(  # noqa: PLR0913 - each of them is a property of a state machine
    scope: Construct,
    *,
    name: str,
    comment: str,
    role: iam.Role,
    definition: sfn.IChainable,
    timeout: cdk.Duration,
    keep_logs_days: int,
) -> sfn.StateMachine:
    """Return a state machine in JSONata. Its executions are traced and logged with all their data."""
    machine = sfn.StateMachine(
        scope,
        "Machine",
        state_machine_name=name,
        comment=comment,
        query_language=sfn.QueryLanguage.JSONATA,
        definition_body=sfn.DefinitionBody.from_chainable(definition),
        timeout=timeout,
        role=role.without_policy_updates(),  # CDK would add broader permissions than those written here
        tracing_enabled=True,
        logs=sfn.LogOptions(
            level=sfn.LogLevel.ALL,
            include_execution_data=True,
            destination=logs.LogGroup(
                scope,
                "Log",
                log_group_name=f"/aws/vendedlogs/states/{name}",  # AWS's prefix for logs that services deliver
                retention=retention(keep_logs_days),
                removal_policy=cdk.RemovalPolicy.DESTROY,
            ),
        ),
    )
    machine.node.add_dependency(role)  # creation fails until the role may write logs
    return machine


def service_call(
    scope: Construct, construct_id: str, service: str, action: str, parameters: Mapping[str, Any], **task: Any
) -> tasks.CallAwsService:
    """Return the state that calls an action of an AWS service, for one minute at most."""
    return tasks.CallAwsService.jsonata(
        scope,
        construct_id,
        service=service,
        action=action,
        parameters=parameters,
        iam_resources=["*"],  # CDK requires a value, but the role takes no policies from CDK
        task_timeout=minutes(1),
        **task,
    )


def retry(task: sfn.TaskStateBase, attempts: int = 3) -> None:
    """Retry `task` after any error. Use this only for tasks that may run twice."""
    task.add_retry(
        errors=["States.TaskFailed", "States.Timeout"], max_attempts=attempts, interval=cdk.Duration.seconds(2)
    )


def minutes(count: int) -> sfn.Timeout:
    """Return a time-out of `count` minutes."""
    return sfn.Timeout.duration(cdk.Duration.minutes(count))
