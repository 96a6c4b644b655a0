"""The clean-up: one Lambda function that ends clusters which no run needs, and everything that calls it."""

from pathlib import Path

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct, IConstruct

from cdk_app import emr_states, europe, nag
from cdk_app.buckets import retention
from cdk_app.cleanup_function.decisions import EMR_ENDPOINT, GUARDDUTY_ENDPOINT

_CODE = Path(__file__).with_name("cleanup_function")
_TIME_LIMIT = cdk.Duration.minutes(15)  # Lambda's limit


class CleanUp(Construct):
    """Ends the clusters that no run needs any more. The event that the function gets depends on the trigger.

    - EventBridge, every hour: ``{}``. It ends clusters that are older than any run can be. If nothing runs, it also
      deletes the endpoints that EMR has created, because they cost money.
    - EventBridge, after a run that was aborted, timed out or failed: ``{run, alarm: false}``. It ends the cluster of
      the run. Step Functions itself runs no catch after an abort or a time-out.
    - The state machine of a run, if the cluster does not end: ``{run, alarm: true}``. It does the same, and raises the
      alarm.
    - CloudFormation, before it deletes the stack: it ends all runs, and removes from the network what the stack did not
      create.

    All calls except CloudFormation's are asynchronous, with AWS's defaults: EventBridge tries for 24 hours to deliver
    an event, and Lambda runs a failed call twice again. If all this fails, one of the next hours finds the cluster.

    Create it after everything that has security groups or endpoints. It must know those of the stack.
    """

    def __init__(
        self, scope: Construct, construct_id: str, *, vpc: ec2.Vpc, longest_run: cdk.Duration, keep_logs_days: int
    ) -> None:
        super().__init__(scope, construct_id)
        stack = cdk.Stack.of(self)
        # This is no reference to the state machine, because the state machine refers to this function.
        state_machine = f"arn:aws:states:{stack.region}:{cdk.Aws.ACCOUNT_ID}:stateMachine:{stack.stack_name}"
        log = logs.LogGroup(self, "Log", retention=retention(keep_logs_days), removal_policy=cdk.RemovalPolicy.DESTROY)
        role = iam.Role(
            self,
            "Role",
            assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"),
            description="The clean-up: end the clusters of this stack that no run needs",
        )
        log.grant_write(role)
        _allow_stopping_executions(role, state_machine)
        emr_states.allow_listing_clusters(role)
        emr_states.allow_describing_clusters(role)
        emr_states.allow_terminating_clusters(role)
        _allow_emptying_network(role, vpc)
        europe.confine(role)
        self.function = lambda_.Function(
            self,
            "Function",
            description="Ends the clusters that no run needs any more.",
            runtime=lambda_.Runtime.PYTHON_3_14,
            # The code is a package, so that its modules can import each other here and there.
            code=lambda_.Code.from_asset(
                str(_CODE.parent),
                exclude=["*", f"!{_CODE.name}", f"!{_CODE.name}/*.py"],
                ignore_mode=cdk.IgnoreMode.GIT,
            ),
            handler=f"{_CODE.name}.index.handler",
            environment={
                "STACK": stack.stack_name,
                "STATE_MACHINE": state_machine,
                "LONGEST_RUN_SECONDS": str(longest_run.to_seconds()),
                "VPC": vpc.vpc_id,
                "OWN": ",".join(_own_parts_of_network(stack)),
            },
            role=role.without_policy_updates(),
            log_group=log,
            timeout=_TIME_LIMIT,
            memory_size=256,
        )
        self.function.node.add_dependency(role)
        events.Rule(
            self,
            "EveryHour",
            description="Ends clusters that are older than the longest run.",
            schedule=events.Schedule.rate(cdk.Duration.hours(1)),
            targets=[targets.LambdaFunction(self.function, event=events.RuleTargetInput.from_object({}))],
        )

    @staticmethod
    def event_after(run: str, *, alarm: bool) -> dict[str, object]:
        """Return the event that makes the function end the cluster of a run."""
        return {"run": run, "alarm": alarm}

    def clean_up_after(self, workflow: sfn.IStateMachine) -> None:
        """End the cluster of every run of `workflow` that is aborted, times out or fails."""
        event = self.event_after(events.EventField.from_path("$.detail.name"), alarm=False)
        events.Rule(
            self,
            "RunEndedBadly",
            description="Ends the cluster of an aborted, timed-out or failed run.",
            event_pattern=events.EventPattern(
                source=["aws.states"],
                detail_type=["Step Functions Execution Status Change"],
                detail={
                    "status": ["ABORTED", "TIMED_OUT", "FAILED"],
                    "stateMachineArn": [workflow.state_machine_arn],
                },
            ),
            targets=[targets.LambdaFunction(self.function, event=events.RuleTargetInput.from_object(event))],
        )

    def clean_up_before_deletion_of(self, *constructs: IConstruct) -> None:
        """End everything before CloudFormation deletes `constructs`.

        Clusters use the subnets and the security groups, so CloudFormation could not delete them during a run, and it
        would delete everything that could end the cluster.
        """
        resource = cdk.CustomResource(
            self,
            "BeforeDeletion",
            resource_type="Custom::CleanUp",
            service_token=self.function.function_arn,
            service_timeout=_TIME_LIMIT.plus(cdk.Duration.minutes(1)),  # without it, CloudFormation waits for an hour
        )
        # CloudFormation creates the resource after what it depends on, and deletes it before.
        resource.node.add_dependency(*constructs, *(child for child in self.node.children if child is not resource))


def _own_parts_of_network(stack: cdk.Stack) -> list[str]:
    """Return the IDs of the endpoints and security groups of a stack."""
    endpoints = [part.attr_id for part in stack.node.find_all() if isinstance(part, ec2.CfnVPCEndpoint)]
    groups = [part.attr_group_id for part in stack.node.find_all() if isinstance(part, ec2.CfnSecurityGroup)]
    return endpoints + groups


def _allow_stopping_executions(role: iam.Role, state_machine: str) -> None:
    role.add_to_policy(iam.PolicyStatement(actions=["states:ListExecutions"], resources=[state_machine]))
    executions = state_machine.replace(":stateMachine:", ":execution:") + ":*"
    role.add_to_policy(iam.PolicyStatement(actions=["states:StopExecution"], resources=[executions]))
    nag.accept_wildcard(role, executions, "People choose the names of executions.")


def _allow_emptying_network(role: iam.Role, vpc: ec2.Vpc) -> None:
    """Allow `role` to delete endpoints of EMR and GuardDuty, and the security groups in the network of the stack."""
    region = cdk.Stack.of(role).region
    role.add_to_policy(
        iam.PolicyStatement(
            actions=["ec2:DescribeVpcEndpoints", "ec2:DescribeSecurityGroups"],
            resources=["*"],
            conditions={"StringEquals": {"aws:RequestedRegion": region}},
        )
    )
    nag.accept_wildcard(role, "*", "ListClusters and Describe* support no resource ARNs. Conditions restrict them.")
    endpoints = f"arn:aws:ec2:{region}:{cdk.Aws.ACCOUNT_ID}:vpc-endpoint/*"
    for tags in (EMR_ENDPOINT, GUARDDUTY_ENDPOINT):
        role.add_to_policy(
            iam.PolicyStatement(
                actions=["ec2:DeleteVpcEndpoints"],
                resources=[endpoints],
                # EC2 has no condition key for the network of an endpoint.
                conditions={"StringEquals": {f"aws:ResourceTag/{key}": value for key, value in tags.items()}},
            )
        )
    reason = "EC2 chooses the ID of an endpoint. The conditions require the tags of endpoints of EMR or GuardDuty."
    nag.accept_wildcard(role, endpoints, reason)
    groups = f"arn:aws:ec2:{region}:{cdk.Aws.ACCOUNT_ID}:security-group/*"
    role.add_to_policy(
        iam.PolicyStatement(
            actions=["ec2:DeleteSecurityGroup"],
            resources=[groups],
            conditions={"ArnEquals": {"ec2:Vpc": vpc.vpc_arn}},
        )
    )
    nag.accept_wildcard(role, groups, "EC2 chooses the ID of a group. The condition requires the stack's own network.")
