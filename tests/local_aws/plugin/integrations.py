"""The API calls of Task states: they go over TLS, with credentials of the state machine's role."""

import contextvars
import json
import threading
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError
from botocore.response import StreamingBody
from ministack.services import stepfunctions

from tests.local_aws.integration_calls import CALLS, IntegrationCall, Json, integration
from tests.local_aws.plugin import roles
from tests.local_aws.plugin.control import replace

_MAX_RESULT_BYTES = 256 * 1024  # what a state may pass on
# The SDKs have classes for these errors. All others get the name of the service.
_MODELLED = {"NoSuchKey", "NoSuchBucket", "InternalServerException", "InvalidRequestException"}
_SERVICES = {"S3": "S3", "Emr": "Emr", "EMR": "AmazonElasticMapReduce"}

_execution: contextvars.ContextVar[Json] = contextvars.ContextVar("execution")


def install() -> None:
    """Replace the way MiniStack calls services. Its own ignores roles and does not support EMR."""
    replace(stepfunctions, "_invoke_resource", _invoke)

    def execute_task(state: Json, given: Json, execution: Json, context: Json) -> Any:
        _execution.set(execution)
        return execute(state, given, execution, context)

    execute = replace(stepfunctions, "_execute_task", execute_task)
    _end_in_time()


def _invoke(resource: str, given: Json) -> Json:
    name = integration(resource)
    if name not in CALLS:
        raise stepfunctions._ExecutionError("States.Runtime", f"The local AWS does not support the integration {name}.")
    result = _call(CALLS[name], CALLS[name].parameters(given or {}))
    if name == "elasticmapreduce:createCluster":
        result = {"ClusterId": result["JobFlowId"], "ClusterArn": result["ClusterArn"]}
    if name == "elasticmapreduce:addStep":
        result = {"StepId": result["StepIds"][0]}
    if len(json.dumps(result)) > _MAX_RESULT_BYTES:
        raise stepfunctions._ExecutionError("States.DataLimitExceeded", f"The result of {name} is larger than 256 KiB.")
    return result


def _call(call: IntegrationCall, parameters: Json) -> Json:
    machine = stepfunctions._state_machines[_execution.get()["stateMachineArn"]]
    try:
        credentials = roles.assume(machine["roleArn"], "states", machine["stateMachineArn"])
        result = getattr(roles.client(call.service, credentials), call.method)(**parameters)
    except roles.RefusedError as error:
        raise stepfunctions._ExecutionError("States.TaskFailed", str(error)) from error
    except ClientError as error:
        raise _as_step_functions(call, error) from error
    result.pop("ResponseMetadata")
    plain: Json = json.loads(json.dumps(result, default=_plain))
    return plain


def _as_step_functions(call: IntegrationCall, error: ClientError) -> Exception:
    """Return an error with the name and the text that Step Functions gives it."""
    code, text = error.response["Error"]["Code"], error.response["Error"]["Message"]
    name = code if code in _MODELLED else _SERVICES.get(call.errors, code)
    if call.errors == "EMR":  # an optimised integration, which adds what version 1 of the SDK knows
        text += f" (Service: {_SERVICES['EMR']}; Status Code: 400; Error Code: {code}; Request ID: local)"
    failure: Exception = stepfunctions._ExecutionError(
        f"{call.errors}.{name if name.endswith('Exception') else name + 'Exception'}", text
    )
    return failure


def _plain(value: Any) -> str:
    """Convert values without a JSON type as Step Functions does."""
    if isinstance(value, StreamingBody):
        return str(value.read(), "utf-8")
    assert isinstance(value, datetime), value
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def _end_in_time() -> None:
    """End executions after the ``TimeoutSeconds`` of their state machine, and end no execution twice."""

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

    run = replace(stepfunctions, "_run_execution", run_execution)
    fail_once = replace(stepfunctions, "_fail_execution", fail)


def _time_out(execution: Json) -> None:
    if execution["status"] != "RUNNING":
        return
    execution["status"] = "TIMED_OUT"
    execution["stopDate"] = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
    stepfunctions._add_event(execution, "ExecutionTimedOut", {"executionTimedOutEventDetails": {}})
    stepfunctions._emit_execution_status_event(execution)
