"""The janitor: a second state machine, which ends clusters that their run has left behind."""

import json

import aws_cdk as cdk
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_stepfunctions as sfn
from aws_cdk import aws_stepfunctions_tasks as tasks
from constructs import Construct

from cdk_app import europe
from cdk_app.machine import acknowledge, machine, machine_role
from cdk_app.settings import Settings

_ALIVE = ["STARTING", "BOOTSTRAPPING", "RUNNING", "WAITING"]


class Janitor(Construct):
    """Called with a run's name when the run has ended badly, and every hour for what has grown too old.

    Step Functions runs no catch when an execution is aborted or times out: this is the layer for that. A cluster that
    no run answers for any more is an alarm, raised by the janitor failing once it has ended the cluster.

    Input: ``run``, the name of a run whose cluster must go, or an empty string; ``alarm``, whether finding one is news.
    """

    def __init__(self, scope: Construct, construct_id: str, settings: Settings, oldest: cdk.Duration) -> None:
        super().__init__(scope, construct_id)
        self._settings, self._oldest = settings, oldest
        self.role = machine_role(self, settings, "The janitor: list clusters, end those of this stack")
        allow_ending_clusters(self.role, settings)
        self.role.add_to_policy(
            iam.PolicyStatement(
                actions=["elasticmapreduce:ListClusters"],
                resources=["*"],
                conditions={"StringEquals": {"aws:RequestedRegion": settings.region}},
            )
        )
        self.machine = machine(
            self,
            settings,
            name=f"{settings.name}-janitor",
            comment="Ends clusters that their run has left behind.",
            role=self.role,
            story=self._story(),
            timeout=cdk.Duration.minutes(30),
        )
        self._start_role = iam.Role(
            self,
            "StartRole",
            assumed_by=iam.ServicePrincipal(
                "events.amazonaws.com", conditions={"StringEquals": {"aws:SourceAccount": cdk.Aws.ACCOUNT_ID}}
            ),
            description="EventBridge: start the janitor",
        )
        europe.confine(self._start_role, settings.region)
        self.machine.grant_start_execution(self._start_role)
        events.Rule(
            self,
            "EveryHour",
            description="Looks for clusters that are older than the longest run.",
            schedule=events.Schedule.rate(cdk.Duration.hours(1)),
            targets=[self._target({"run": "", "alarm": True})],
        )

    def clean_up_after(self, workflow: sfn.IStateMachine) -> None:
        """Start whenever an execution of `workflow` ends in a way that may leave a cluster behind."""
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
            targets=[self._target({"run": events.EventField.from_path("$.detail.name"), "alarm": False})],
        )

    def _target(self, order: dict[str, object]) -> targets.SfnStateMachine:
        return targets.SfnStateMachine(
            self.machine, role=self._start_role, input=events.RuleTargetInput.from_object(order)
        )

    def _story(self) -> sfn.Chain:
        look = self._list_clusters()
        end = self._end_each().next(
            sfn.Choice.jsonata(self, "Is that news?")
            .when(
                sfn.Condition.jsonata("{% $alarm %}"),
                sfn.Fail.jsonata(
                    self,
                    "A cluster outlived its run",
                    comment="The alarm: it fails on purpose, after the cluster was ended.",
                    error="ClusterOutlivedItsRun",
                    cause="{% 'Terminated ' & $join($clusters, ', ') & ', which no run answered for any more.' %}",
                ),
            )
            .otherwise(sfn.Succeed.jsonata(self, "Cleaned up"))
        )
        wait = sfn.Wait.jsonata(
            self,
            "Wait for EMR",
            comment="A cluster that was asked for just before the run ended may not be listed yet.",
            time=sfn.WaitTime.duration(cdk.Duration.minutes(1)),
        ).next(look)
        return (
            sfn.Pass.jsonata(
                self,
                "Take the order",
                assign={
                    "run": "{% $states.input.run %}",
                    "alarm": "{% $states.input.alarm %}",
                    "clusters": [],
                    "marker": "",
                    "looks": 0,
                },
            )
            .next(look)
            .next(
                sfn.Choice.jsonata(self, "What was found?")
                .when(sfn.Condition.jsonata("{% $marker != '' %}"), look)
                .when(sfn.Condition.jsonata("{% $count($clusters) > 0 %}"), end)
                .when(sfn.Condition.jsonata("{% $run != '' and $looks < 3 %}"), wait)
                .otherwise(sfn.Succeed.jsonata(self, "Nothing to clean up"))
            )
        )

    def _list_clusters(self) -> sfn.CustomState:
        """Return the state that reads a page of the account's clusters.

        It is written out because CDK's own knows no parameter that is there or not, as the marker is.
        """
        prefix = f"{self._settings.name}-"
        oldest = self._oldest.to_milliseconds()
        state = sfn.CustomState(
            self,
            "List clusters",
            state_json={
                "Type": "Task",
                "Comment": "Those of the run, and those older than any run can be.",
                "Resource": "arn:aws:states:::aws-sdk:emr:listClusters",
                "TimeoutSeconds": 60,
                "Arguments": "{% $merge([" + json.dumps({"ClusterStates": _ALIVE}) + ", "
                "$marker = '' ? {} : {'Marker': $marker}]) %}",
                "Assign": {
                    "clusters": "{% $append($clusters, [$states.result.Clusters["
                    f"Name = '{prefix}' & $run or ($substring(Name, 0, {len(prefix)}) = '{prefix}' and "
                    f"$millis() - $toMillis(Status.Timeline.CreationDateTime) > {oldest})].Id]) %}}",
                    "marker": "{% $exists($states.result.Marker) ? $states.result.Marker : '' %}",
                    "looks": "{% $looks + 1 %}",
                },
            },
        )
        state.add_retry(errors=["States.TaskFailed", "States.Timeout"], max_attempts=4)
        return state

    def _end_each(self) -> sfn.Map:
        end = tasks.EmrTerminateCluster.jsonata(
            self,
            "End the cluster",
            cluster_id="{% $states.input %}",
            integration_pattern=sfn.IntegrationPattern.REQUEST_RESPONSE,
            task_timeout=sfn.Timeout.duration(cdk.Duration.minutes(1)),
        )
        end.add_retry(errors=["States.TaskFailed", "States.Timeout"], max_attempts=5)
        return sfn.Map.jsonata(self, "End them", items=sfn.ProvideItems.jsonata("{% $clusters %}")).item_processor(end)


def allow_ending_clusters(role: iam.Role, settings: Settings) -> None:
    """Let `role` terminate the clusters that carry this stack's tag, and no other."""
    role.add_to_policy(
        iam.PolicyStatement(
            actions=["elasticmapreduce:TerminateJobFlows"],
            resources=[clusters_arn(settings)],
            conditions=of_this_stack(settings),
        )
    )
    acknowledge(
        role,
        f"Resource::{clusters_arn(settings).replace(cdk.Aws.ACCOUNT_ID, '<AWS::AccountId>')}",
        "A cluster's id is EMR's to give; the condition asks for the tag of this stack.",
    )


def clusters_arn(settings: Settings) -> str:
    """Return the ARN of any cluster of the account and the region."""
    return f"arn:aws:elasticmapreduce:{settings.region}:{cdk.Aws.ACCOUNT_ID}:cluster/*"


def of_this_stack(settings: Settings) -> dict[str, dict[str, str]]:
    """Return the condition that a cluster carries this stack's tag."""
    return {"StringEquals": {"elasticmapreduce:ResourceTag/stack": settings.name}}
