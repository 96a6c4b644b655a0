"""The janitor: a second state machine, which ends clusters that have outlived their run."""

import json

import aws_cdk as cdk
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from cdk_app import emr_states, europe
from cdk_app.state_machine import state_machine, state_machine_role

_ALIVE = ["STARTING", "BOOTSTRAPPING", "RUNNING", "WAITING"]
# EMR's API sends seconds since 1970. SDK integrations of other services turn such times into ISO 8601, and nothing
# documents it for EMR, so both are accepted.
_CREATION_MILLIS = (
    "($created := Status.Timeline.CreationDateTime; $type($created) = 'number' ? $created * 1000 : $toMillis($created))"
)


class Janitor(Construct):
    """Ends the cluster of a run that ended badly, and every hour the clusters older than `oldest`.

    Step Functions runs no catch when an execution is aborted or times out, so the janitor handles these cases.

    Input: ``run``, the name of a run whose cluster must end (default: none); ``alarm``, whether to fail after ending a
    cluster, which raises an alarm (default: true).
    """

    def __init__(self, scope: Construct, construct_id: str, *, oldest: cdk.Duration, keep_logs_days: int) -> None:
        super().__init__(scope, construct_id)
        self._oldest = oldest
        self._workflow_name = cdk.Stack.of(self).stack_name
        role = state_machine_role(self, "The janitor: list clusters and end those of this stack")
        emr_states.allow_terminating_clusters(role)
        emr_states.allow_listing_clusters(role)
        self.state_machine = state_machine(
            self,
            name=f"{self._workflow_name}-janitor",
            comment="Ends clusters that have outlived their run.",
            role=role,
            definition=self._definition(),
            timeout=cdk.Duration.minutes(30),
            keep_logs_days=keep_logs_days,
        )
        self._start_role = iam.Role(
            self,
            "StartRole",
            assumed_by=iam.ServicePrincipal(
                "events.amazonaws.com", conditions={"StringEquals": {"aws:SourceAccount": cdk.Aws.ACCOUNT_ID}}
            ),
            description="EventBridge: start the janitor",
        )
        europe.confine(self._start_role)
        self.state_machine.grant_start_execution(self._start_role)
        events.Rule(
            self,
            "EveryHour",
            description="Ends clusters that are older than the longest run.",
            schedule=events.Schedule.rate(cdk.Duration.hours(1)),
            targets=[self._target({"run": "", "alarm": True})],
        )

    def clean_up_after(self, workflow: sfn.IStateMachine) -> None:
        """Start the janitor when an execution of `workflow` is aborted, times out or fails."""
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

    def _target(self, given: dict[str, object]) -> targets.SfnStateMachine:
        return targets.SfnStateMachine(
            self.state_machine, role=self._start_role, input=events.RuleTargetInput.from_object(given)
        )

    def _definition(self) -> sfn.Chain:
        look = self._list_clusters()
        end = self._end_each().next(
            sfn.Choice.jsonata(self, "Raise the alarm?")
            .when(
                sfn.Condition.jsonata("{% $alarm %}"),
                sfn.Fail.jsonata(
                    self,
                    "A cluster outlived its run",
                    comment="Fails on purpose after ending the cluster, which raises the alarm.",
                    error="ClusterOutlivedItsRun",
                    cause="{% 'Terminated ' & $join($clusters, ', ') & ', which no run used any more.' %}",
                ),
            )
            .otherwise(sfn.Succeed.jsonata(self, "Cleaned up"))
        )
        wait = sfn.Wait.jsonata(
            self,
            "Wait for EMR",
            comment="EMR may not list a cluster yet that was created just before the run ended.",
            time=sfn.WaitTime.duration(cdk.Duration.minutes(1)),
        ).next(look)
        return (
            sfn.Pass.jsonata(
                self,
                "Read the janitor's input",
                assign={
                    "run": "{% $exists($states.input.run) ? $states.input.run : '' %}",
                    "alarm": "{% $exists($states.input.alarm) ? $states.input.alarm : true %}",
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
        """Return the state that reads one page of the account's clusters.

        It is a custom state because the state of CDK has no optional parameters, and the marker is optional.
        """
        prefix = f"{self._workflow_name}-"
        oldest = self._oldest.to_milliseconds()
        state = sfn.CustomState(
            self,
            "List clusters",
            state_json={
                "Type": "Task",
                "Comment": "Finds the cluster of the run, and clusters older than any run can be.",
                "Resource": "arn:aws:states:::aws-sdk:emr:listClusters",
                "TimeoutSeconds": 60,
                "Arguments": "{% $merge([" + json.dumps({"ClusterStates": _ALIVE}) + ", "
                "$marker = '' ? {} : {'Marker': $marker}]) %}",
                "Assign": {
                    "clusters": "{% $append($clusters, [$states.result.Clusters["
                    f"Name = '{prefix}' & $run or ($substring(Name, 0, {len(prefix)}) = '{prefix}' and "
                    f"$millis() - {_CREATION_MILLIS} > {oldest})].Id]) %}}",
                    "marker": "{% $exists($states.result.Marker) ? $states.result.Marker : '' %}",
                    "looks": "{% $looks + 1 %}",
                },
            },
        )
        state.add_retry(errors=["States.TaskFailed", "States.Timeout"], max_attempts=4)
        return state

    def _end_each(self) -> sfn.Map:
        end = emr_states.terminate_cluster(self, "End the cluster", "{% $states.input %}")
        end.add_retry(errors=["States.TaskFailed", "States.Timeout"], max_attempts=5)
        return sfn.Map.jsonata(self, "End clusters", items=sfn.ProvideItems.jsonata("{% $clusters %}")).item_processor(
            end
        )
