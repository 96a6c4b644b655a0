"""The guard: a custom resource that CloudFormation deletes first. Its deletion ends all runs."""

from pathlib import Path

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct, IConstruct

from cdk_app import emr_states, europe, nag
from cdk_app.buckets import retention
from cdk_app.vpc import EMR_MANAGED

#: The tags of the interface endpoints that EMR creates in a network, from release 8 on.
_EMR_ENDPOINT = {"Name": "emr-service-vpce", EMR_MANAGED[0]: EMR_MANAGED[1]}

_CODE = Path(__file__).with_name("guard_function")
_LONGEST = cdk.Duration.minutes(15)  # Lambda's limit


class Guard(Construct):
    """Stops the executions of the workflow and terminates the clusters of the stack when the stack is deleted.

    A cluster uses the subnets and the security groups, so CloudFormation could not delete them during a run, and it
    would delete everything that could end the cluster.
    """

    def __init__(
        self, scope: Construct, construct_id: str, *, workflow: sfn.StateMachine, vpc: ec2.IVpc, keep_logs_days: int
    ) -> None:
        super().__init__(scope, construct_id)
        stack = cdk.Stack.of(self)
        log = logs.LogGroup(self, "Log", retention=retention(keep_logs_days), removal_policy=cdk.RemovalPolicy.DESTROY)
        role = iam.Role(
            self,
            "Role",
            assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"),
            description="The guard: end all runs before the stack is deleted",
        )
        log.grant_write(role)
        _allow_stopping_executions(role, workflow)
        emr_states.allow_listing_clusters(role)
        emr_states.allow_describing_clusters(role)
        emr_states.allow_terminating_clusters(role)
        _allow_deleting_endpoints_of_emr(role)
        europe.confine(role)
        function = lambda_.Function(
            self,
            "Function",
            description="Ends all runs before the stack is deleted.",
            runtime=lambda_.Runtime.PYTHON_3_14,
            code=lambda_.Code.from_asset(str(_CODE), exclude=["__pycache__"]),
            handler="index.handler",
            role=role.without_policy_updates(),
            log_group=log,
            timeout=_LONGEST,
            memory_size=256,
        )
        function.node.add_dependency(role)
        self._resource = cdk.CustomResource(
            self,
            "Resource",
            resource_type="Custom::Guard",
            service_token=function.function_arn,
            service_timeout=_LONGEST.plus(cdk.Duration.minutes(1)),  # without it, CloudFormation waits for an hour
            properties={
                "Stack": stack.stack_name,
                "StateMachine": workflow.state_machine_arn,
                "Vpc": vpc.vpc_id,
                "EndpointTags": _EMR_ENDPOINT,
            },
        )

    def delete_before(self, *constructs: IConstruct) -> None:
        """Let CloudFormation delete the guard before any resource of `constructs`, and create it after them."""
        self._resource.node.add_dependency(*constructs)


def _allow_stopping_executions(role: iam.Role, workflow: sfn.StateMachine) -> None:
    role.add_to_policy(iam.PolicyStatement(actions=["states:ListExecutions"], resources=[workflow.state_machine_arn]))
    stack = cdk.Stack.of(role)
    executions = f"arn:aws:states:{stack.region}:{cdk.Aws.ACCOUNT_ID}:execution:{stack.stack_name}:*"
    role.add_to_policy(iam.PolicyStatement(actions=["states:StopExecution"], resources=[executions]))
    nag.accept_wildcard(role, executions, "People choose the names of executions.")


def _allow_deleting_endpoints_of_emr(role: iam.Role) -> None:
    region = cdk.Stack.of(role).region
    role.add_to_policy(
        iam.PolicyStatement(
            actions=["ec2:DescribeVpcEndpoints"],
            resources=["*"],
            conditions={"StringEquals": {"aws:RequestedRegion": region}},
        )
    )
    nag.accept_wildcard(
        role, "*", "ListClusters and DescribeVpcEndpoints support no resource ARNs. Conditions restrict them."
    )
    endpoints = f"arn:aws:ec2:{region}:{cdk.Aws.ACCOUNT_ID}:vpc-endpoint/*"
    role.add_to_policy(
        iam.PolicyStatement(
            actions=["ec2:DeleteVpcEndpoints"],
            resources=[endpoints],
            # EC2 has no condition key for the network of an endpoint.
            conditions={"StringEquals": {f"aws:ResourceTag/{key}": value for key, value in _EMR_ENDPOINT.items()}},
        )
    )
    nag.accept_wildcard(
        role,
        endpoints,
        "EC2 chooses the id of an endpoint. The condition requires the tags of endpoints that EMR created.",
    )
