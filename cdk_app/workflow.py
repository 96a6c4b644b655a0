"""The state machine of a run: its states in their sequence, from the input to the results."""

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from cdk_app import europe, nag
from cdk_app.buckets import retention
from cdk_app.jsonata import expression
from cdk_app.states import END_SECONDS, NO_SUCH_KEY, NOW, States

_MAX_LOOKS = 200  # after 20,000 objects that are not photos, let the job decide
_MAX_THROTTLED = 5
_CAUSE = "($exists($states.errorOutput.Cause) ? $states.errorOutput.Cause : $states.errorOutput.Error)"
# Nothing documents the name of this error in Step Functions. People report EMR.AmazonElasticMapReduceException, which
# may be any error of EMR. So the text decides: https://repost.aws/knowledge-center/emr-cluster-status-throttling-error
_THROTTLED = "/ThrottlingException|Rate exceeded/"
_NOT_COMPLETED = "['FAILED', 'CANCELLED', 'INTERRUPTED']"
_ENDED = "['TERMINATED', 'TERMINATED_WITH_ERRORS']"
_MAX_END_LOOKS = 40  # ten minutes in all
_NOT_ENDED = f"was told to terminate, but had not ended {_MAX_END_LOOKS * END_SECONDS // 60} minutes later"
_JOB_FAILED = {"error_name": "JobFailed", "failure": expression("step_failure")}
_NO_SUMMARY = {
    "published": "{% false %}",
    "error_name": "{% $error_name = '' ? 'NoSummary' : $error_name %}",
    "failure": "{% $failure = '' ? 'The job succeeded but wrote no summary.' : $failure %}",
}


def longest_execution(longest_run_hours: int) -> cdk.Duration:
    """Return how long an execution may take: the job, and one hour for all other states.

    The state machine must end the job first: Step Functions runs no catch after the time-out of a state machine.
    """
    return cdk.Duration.hours(longest_run_hours + 1)


class Workflow(Construct):
    """The state machine that a person starts with ``{}`` in the console.

    Every run takes the same path, whether the job succeeds or fails: first the cluster is terminated, then the summary
    decides. The job writes the summary after everything else, so a run with a summary has a result.
    """

    def __init__(
        self, scope: Construct, construct_id: str, *, states: States, longest_run_hours: int, keep_logs_days: int
    ) -> None:
        super().__init__(scope, construct_id)
        self.role = self._make_role()
        name = cdk.Stack.of(self).stack_name
        self.state_machine = sfn.StateMachine(
            self,
            "Machine",
            state_machine_name=name,
            comment="Image features of the photos in the data bucket. Start it with {}.",
            query_language=sfn.QueryLanguage.JSONATA,
            definition_body=sfn.DefinitionBody.from_chainable(_sequence(states)),
            timeout=longest_execution(longest_run_hours),
            role=self.role.without_policy_updates(),  # CDK would add broader permissions than those written here
            tracing_enabled=True,
            logs=sfn.LogOptions(
                level=sfn.LogLevel.ALL,
                include_execution_data=True,
                destination=logs.LogGroup(
                    self,
                    "Log",
                    log_group_name=f"/aws/vendedlogs/states/{name}",  # AWS's prefix for logs that services deliver
                    retention=retention(keep_logs_days),
                    removal_policy=cdk.RemovalPolicy.DESTROY,
                ),
            ),
        )
        self.state_machine.node.add_dependency(self.role)  # creation fails until the role may write logs

    def _make_role(self) -> iam.Role:
        """Return a role that Step Functions may assume for this account. It may write logs and traces."""
        role = iam.Role(
            self,
            "Role",
            assumed_by=iam.ServicePrincipal(
                "states.amazonaws.com", conditions={"StringEquals": {"aws:SourceAccount": cdk.Aws.ACCOUNT_ID}}
            ),
            description="The workflow: create one cluster per run, run the job, end the cluster",
        )
        # The Step Functions guide ("Using CloudWatch Logs to log execution history") has no condition here. The denial
        # of other regions restricts this statement too.
        role.add_to_policy(
            iam.PolicyStatement(
                sid="LogAndTrace",
                actions=[
                    *(
                        "logs:CreateLogDelivery",
                        "logs:GetLogDelivery",
                        "logs:UpdateLogDelivery",
                        "logs:DeleteLogDelivery",
                    ),
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


def _sequence(states: States) -> sfn.IChainable:
    """Connect the states, from the first to the last, and return the first."""
    # The input and the photos, before anything that costs money
    states.read_input.next(states.is_input_valid)
    states.is_input_valid.when(_if("$problems != ''"), states.input_is_invalid).otherwise(states.fill_in_defaults)
    states.fill_in_defaults.next(states.prepare_run).next(states.look_for_photos).next(states.is_there_a_photo)
    states.look_for_photos.add_catch(states.was_there_a_cluster, assign=_caught("InputUnreadable"))
    (
        states.is_there_a_photo.when(_if("$photos > 0"), states.create_cluster)
        .when(_if("$not($has_more)"), states.was_there_a_cluster, assign=states.no_photos)
        .when(_if(f"$looks < {_MAX_LOOKS}"), states.look_for_photos)
        .otherwise(states.create_cluster)
    )
    # The cluster and the job
    states.create_cluster.next(states.start_job)
    states.create_cluster.add_catch(states.was_it_throttled, assign=_caught("ClusterNotCreated"))
    (
        states.was_it_throttled.when(
            _if(f"$throttled < {_MAX_THROTTLED} and $contains($failure, {_THROTTLED})"),
            states.wait_to_create,
            assign={"error_name": "", "failure": "", "throttled": "{% $throttled + 1 %}"},
        ).otherwise(states.was_there_a_cluster)
    )
    states.wait_to_create.next(states.create_cluster)
    states.start_job.next(states.wait_for_job).next(states.look_at_job).next(states.is_job_over)
    states.start_job.add_catch(states.terminate_cluster, assign=_caught("JobFailed"))
    states.look_at_job.add_catch(states.terminate_cluster, assign=_caught("JobFailed"))
    (
        states.is_job_over.when(_if("$step.State = 'COMPLETED'"), states.terminate_cluster)
        .when(_if(f"$step.State in {_NOT_COMPLETED}"), states.terminate_cluster, assign=_JOB_FAILED)
        .when(_if(f"{NOW} > $deadline"), states.terminate_cluster, assign=states.too_long)
        .when(_if("$step.State = 'RUNNING'"), states.read_progress)
        .otherwise(states.wait_for_job)
    )
    states.read_progress.next(states.wait_for_job)
    states.read_progress.add_catch(states.wait_for_job, outputs={})
    # The end of the cluster, whether the job succeeded or failed
    states.terminate_cluster.next(states.has_cluster_ended).next(states.is_cluster_gone)
    states.terminate_cluster.add_catch(states.call_clean_up, assign=_leak("could not be terminated"))
    states.has_cluster_ended.add_catch(states.call_clean_up, assign=_leak("may not have ended"))
    (
        states.is_cluster_gone.when(_if(f"$cluster_state in {_ENDED}"), states.add_up_cost)
        .when(_if(f"$end_looks = {_MAX_END_LOOKS}"), states.call_clean_up, assign=_leak(_NOT_ENDED, ""))
        .otherwise(states.wait_for_end)
    )
    states.wait_for_end.next(states.has_cluster_ended)
    states.call_clean_up.next(states.add_up_cost)
    states.call_clean_up.add_catch(states.add_up_cost)
    # The result
    states.add_up_cost.next(states.read_summary).next(states.is_result_published)
    states.read_summary.add_catch(states.is_result_published, errors=[NO_SUCH_KEY], assign=_NO_SUMMARY)
    states.read_summary.add_catch(states.is_result_published, assign={"published": "{% $error_name = '' %}"})
    (
        states.is_result_published.when(_if("$published and $summary != ''"), states.add_cost_to_summary)
        .when(_if("$published"), states.summarise_run)
        .otherwise(states.was_there_a_cluster)
    )
    states.add_cost_to_summary.next(states.summarise_run)
    states.add_cost_to_summary.add_catch(states.summarise_run)
    states.summarise_run.next(states.run_succeeded)
    # The reason for a failure
    states.was_there_a_cluster.when(_if("$cluster_id != ''"), states.read_reason).otherwise(states.choose_reason)
    states.read_reason.next(states.ask_why_cluster_ended).next(states.choose_reason)
    states.read_reason.add_catch(states.ask_why_cluster_ended)
    states.ask_why_cluster_ended.add_catch(states.choose_reason)
    states.choose_reason.next(states.notify_people).next(states.run_failed)
    states.notify_people.add_catch(states.run_failed, outputs="{% $states.input %}")
    return states.read_input


def _if(condition: str) -> sfn.Condition:
    return sfn.Condition.jsonata(f"{{% {condition} %}}")


def _caught(error: str) -> dict[str, str]:
    """Return the assignments of a catch that fails the run: the name of the error, and its message."""
    return {"error_name": error, "failure": f"{{% {_CAUSE} %}}"}


def _leak(what: str, detail: str = f" & ' (' & {_CAUSE} & ')'") -> dict[str, str]:
    """Return the warning that the cluster may still run; `detail` is JSONata."""
    return {"leak": f"{{% 'The cluster ' & $cluster_id & ' {what}; the clean-up was called.'{detail} %}}"}
