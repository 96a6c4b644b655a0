"""What a Task state calls: the service's own API, over TLS, signed by a session of the state machine's role."""

import contextvars
import json
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError
from botocore.response import StreamingBody
from ministack.services import stepfunctions

from tests.local_aws.plugin import patches, roles

_LARGEST = 256 * 1024  # bytes of what a state hands on
_ENDED_BADLY = ("FAILED", "CANCELLED", "INTERRUPTED")

Json = dict[str, Any]
Calls = dict[str, tuple[str, str, str, Callable[[Json], Json]]]

#: Optimised integration -> client, its method, prefix of its errors, the method's parameters.
_OPTIMISED: Calls = {
    "elasticmapreduce:createCluster": ("emr", "run_job_flow", "ElasticMapReduce", lambda given: given),
    "elasticmapreduce:addStep": (
        *("emr", "add_job_flow_steps", "ElasticMapReduce"),
        lambda given: {"JobFlowId": given["ClusterId"], "Steps": [given["Step"]]},
    ),
    "elasticmapreduce:terminateCluster": (
        *("emr", "terminate_job_flows", "ElasticMapReduce"),
        lambda given: {"JobFlowIds": [given["ClusterId"]]},
    ),
    "sns:publish": ("sns", "publish", "SNS", lambda given: given),
    "states:startExecution": (
        *("stepfunctions", "start_execution", "StepFunctions"),
        lambda given: {"stateMachineArn": given["StateMachineArn"], "input": json.dumps(given.get("Input", {}))},
    ),
}
#: SDK integration -> client, its method, prefix of its errors, the method's parameters.
_SDK: Calls = {
    "s3:listObjectsV2": ("s3", "list_objects_v2", "S3", lambda given: given),
    "s3:getObject": ("s3", "get_object", "S3", lambda given: given),
    "emr:describeCluster": ("emr", "describe_cluster", "Emr", lambda given: given),
    "emr:listSteps": ("emr", "list_steps", "Emr", lambda given: given),
    "emr:listClusters": ("emr", "list_clusters", "Emr", lambda given: given),
}
_MODELLED = {"NoSuchKey", "NoSuchBucket"}  # S3's errors that the SDK has a class for; the others are S3Exception

_execution: contextvars.ContextVar[Json] = contextvars.ContextVar("execution")


def install() -> None:
    """Replace MiniStack's own way of calling a service, which knows no role and no EMR."""
    patches.replace(stepfunctions, "_invoke_resource", _invoke)

    def execute_task(state: Json, given: Json, execution: Json, context: Json) -> Any:
        _execution.set(execution)
        return execute(state, given, execution, context)

    execute = patches.replace(stepfunctions, "_execute_task", execute_task)
    _end_in_time()


def _invoke(resource: str, given: Json) -> Json:
    name = resource.partition(":states:::")[2]
    called = name.removeprefix("aws-sdk:").removesuffix(".sync")
    calls = _SDK if name.startswith("aws-sdk:") else _OPTIMISED
    if called not in calls:
        raise stepfunctions._ExecutionError("States.Runtime", f"The local AWS does not have the integration {name}.")
    service, method, prefix, parameters = calls[called]
    result = _call(service, method, prefix, parameters(given or {}))
    if called == "elasticmapreduce:createCluster":
        result = {"ClusterId": result["JobFlowId"], "ClusterArn": result["ClusterArn"]}
    if called == "elasticmapreduce:addStep":
        result = {"StepId": result["StepIds"][0]}
        if name.endswith(".sync"):
            result["Step"] = _wait_for_step(given["ClusterId"], result["StepId"])
    if len(json.dumps(result)) > _LARGEST:
        raise stepfunctions._ExecutionError("States.DataLimitExceeded", f"The result of {name} is above 256 KiB.")
    return result


def _call(service: str, method: str, prefix: str, given: Json) -> Json:
    machine = stepfunctions._state_machines[_execution.get()["stateMachineArn"]]
    try:
        credentials = roles.take(machine["roleArn"], "states", machine["stateMachineArn"])
        result = getattr(roles.client(service, credentials), method)(**given)
    except roles.RefusedError as error:
        raise stepfunctions._ExecutionError("States.TaskFailed", str(error)) from error
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if service == "s3":
            code = code if code in _MODELLED else "S3"
        code = code if code.endswith("Exception") else f"{code}Exception"
        raise stepfunctions._ExecutionError(f"{prefix}.{code}", error.response["Error"]["Message"]) from error
    result.pop("ResponseMetadata")
    plain: Json = json.loads(json.dumps(result, default=_plain))
    return plain


def _plain(value: Any) -> str:
    """Return what JSON has no type for as Step Functions does."""
    if isinstance(value, StreamingBody):
        return str(value.read(), "utf-8")
    assert isinstance(value, datetime), value
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def _wait_for_step(cluster: str, step: str) -> Json:
    """Wait as ``.sync`` does; the wait ends with its execution, the step does not."""
    execution = _execution.get()
    while execution["status"] == "RUNNING":
        found: Json = _call("emr", "describe_step", "ElasticMapReduce", {"ClusterId": cluster, "StepId": step})["Step"]
        state = found["Status"]["State"]
        if state == "COMPLETED":
            return found
        if state in _ENDED_BADLY:
            raise stepfunctions._ExecutionError("States.TaskFailed", json.dumps(found))
        time.sleep(0.2)
    raise stepfunctions._ExecutionError("States.TaskFailed", "The execution has ended.")


def _end_in_time() -> None:
    """Let a state machine's own ``TimeoutSeconds`` end its executions, and let nothing end one twice."""

    def run_execution(execution_arn: str) -> None:
        execution = stepfunctions._executions[execution_arn]
        definition = json.loads(stepfunctions._state_machines[execution["stateMachineArn"]]["definition"])
        limit = definition.get("TimeoutSeconds")
        context = contextvars.copy_context()
        timer = threading.Timer(limit or 0, lambda: context.run(_time_out, execution))
        timer.daemon = True
        if limit:
            timer.start()
        try:
            run(execution_arn)
        finally:
            timer.cancel()

    def fail(execution: Json, error: str, cause: str) -> None:
        if execution["status"] == "RUNNING":
            fail_once(execution, error, cause)

    run = patches.replace(stepfunctions, "_run_execution", run_execution)
    fail_once = patches.replace(stepfunctions, "_fail_execution", fail)


def _time_out(execution: Json) -> None:
    if execution["status"] != "RUNNING":
        return
    execution["status"] = "TIMED_OUT"
    execution["stopDate"] = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
    stepfunctions._add_event(execution, "ExecutionTimedOut", {"executionTimedOutEventDetails": {}})
    stepfunctions._emit_execution_status_event(execution)
