"""The states after a failure: find the reason, notify people, fail."""

from aws_cdk import aws_sns as sns
from aws_cdk import aws_stepfunctions as sfn
from aws_cdk import aws_stepfunctions_tasks as tasks
from constructs import Construct

from cdk_app import cost
from cdk_app.buckets import run_key
from cdk_app.prices import Nodes
from cdk_app.state_machine import minutes, retry, service_call
from spark_job import runs

#: JSONata in a catch: the message of the error.
CAUSE = "($exists($states.errorOutput.Cause) ? $states.errorOutput.Cause : $states.errorOutput.Error)"
#: The variables that hold the reasons.
REASONS = ("job_reason", "cluster_reason", "step_reason")
# The workflow or the step itself ends clusters with these codes, so they explain nothing.
_CLUSTER_REASON = {
    "cluster_reason": "{% ($reason := $states.result.Cluster.Status.StateChangeReason; "
    "$exists($reason.Message) and $not($reason.Code in ['USER_REQUEST', 'STEP_FAILURE', "
    "'ALL_STEPS_COMPLETED']) ? $reason.Message : '') %}"
}
# EMR knows no reason if the driver was killed, or if the node of the driver was lost.
_NO_REASON = "The job ended without giving a reason. Perhaps its driver was killed, or the node of the driver was lost."
_STEP_REASON = {
    "step_reason": "{% ($details := $states.result.Steps[0].Status.FailureDetails; "
    f"$join([$details.Reason = 'Unknown Error.' ? '{_NO_REASON}' : $details.Reason, "
    "$details.Message, $details.LogFile], ' ')) %}"
}


def caught(error: str) -> dict[str, str]:
    """Return the assignments of a catch that fails the run: the name of the error, and its message."""
    return {"error_name": error, "failure": f"{{% {CAUSE} %}}"}


def failure_states(  # noqa: PLR0913 - what people are told
    scope: Construct, *, stack_name: str, results: str, logs_uri: str, topic: sns.ITopic, nodes: Nodes
) -> sfn.Chain:
    """Return the states that every failed run goes through. `results` is the name of the results bucket."""
    fail = sfn.Fail.jsonata(scope, "Run failed", error="{% $error_name %}", cause="{% $states.input.cause %}")
    notify = _notify_people(scope, stack_name, topic, fail)
    explain = _choose_reason(scope, logs_uri, nodes)
    cluster = _ask_emr(scope, "Ask why the cluster ended", "describeCluster", _CLUSTER_REASON, explain)
    step = _ask_emr(scope, "Ask why the step ended", "listSteps", _STEP_REASON, cluster)
    job = service_call(
        scope,
        "Read the job's failure reason",
        "s3",
        "getObject",
        {"Bucket": results, "Key": f"{{% {run_key(runs.FAILED)} %}}"},
        comment="The job writes its reason here, unless it was killed.",
        assign={"job_reason": "{% $parse($states.result.Body).reason %}"},
    )
    job.add_catch(step, errors=["States.ALL"])
    job.next(step).next(cluster).next(explain).next(notify).next(fail)
    return sfn.Chain.start(
        sfn.Choice.jsonata(scope, "Was there a cluster?")
        .when(sfn.Condition.jsonata("{% $cluster_id != '' %}"), job)
        .otherwise(explain)
    )


def _ask_emr(
    scope: Construct, construct_id: str, action: str, reason: dict[str, str], after: sfn.IChainable
) -> tasks.CallAwsService:
    """Return the state that asks EMR for a `reason`. The run goes on if EMR does not answer."""
    task = service_call(scope, construct_id, "emr", action, {"ClusterId": "{% $cluster_id %}"}, assign=reason)
    retry(task)
    task.add_catch(after, errors=["States.ALL"])
    return task


def _choose_reason(scope: Construct, logs_uri: str, nodes: Nodes) -> sfn.Pass:
    return sfn.Pass.jsonata(
        scope,
        "Choose the reason",
        comment="The job's reason comes first, then EMR's, then the error of the state that failed.",
        outputs={
            "cause": "{% $join([\n"
            "  $error_name = 'JobTookTooLong' ? $failure :\n"
            "    $filter([$job_reason, $cluster_reason, $step_reason, $failure], function($it) { $it != '' })[0],\n"
            f"  $cluster_id = '' ? '' : ' Logs: {logs_uri}' & $cluster_id & "
            "'/ (the driver: containers/*/*_000001/stdout.gz).',\n"
            f"  $cluster_id = '' ? '' : {cost.sentence(nodes)},\n"
            "  $leak = '' ? '' : ' ' & $leak]) %}"
        },
    )


def _notify_people(scope: Construct, stack_name: str, topic: sns.ITopic, fail: sfn.Fail) -> tasks.SnsPublish:
    task = tasks.SnsPublish.jsonata(
        scope,
        "Notify people",
        topic=topic,
        subject=f"{{% $substring('{stack_name}: ' & $run & ' failed', 0, 100) %}}",
        message=sfn.TaskInput.from_text("{% $error_name & ': ' & $states.input.cause %}"),
        task_timeout=minutes(1),
        outputs="{% $states.input %}",
    )
    retry(task)
    task.add_catch(fail, errors=["States.ALL"], outputs="{% $states.input %}")
    return task
