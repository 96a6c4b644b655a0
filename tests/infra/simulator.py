"""Runs a state machine in MiniStack's interpreter against a small S3, EMR and SNS.

Tests can make each call fail. Time passes only while the state machine waits.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any

import botocore.session
import pytest
from botocore.validate import ParamValidator
from ministack.services import stepfunctions

from tests.infra import jsonata
from tests.infra.template import ACCOUNT, REGION
from tests.local_aws.integration_calls import CALLS, integration


class AwsError(stepfunctions._ExecutionError):  # type: ignore[misc]  # MiniStack has no types
    """An error of a service, with the name that Step Functions gives it."""


@dataclass
class Clock:
    """The time of an execution. Waiting moves it, so that a day takes no time."""

    seconds: float = field(default_factory=time.time)

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds

    def time(self) -> float:
        return self.seconds

    def iso(self) -> str:
        return datetime.fromtimestamp(self.seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass
class Aws:
    """The services that the state machines call.

    Parameters
    ----------
    photos, results, clusters
        The keys of the data bucket, the objects of the results bucket, and the clusters that exist.
    fails, fails_once
        The errors that calls raise, every time or once.
    job
        What the job does, given these services and the name of the run.
    start_seconds, job_seconds, step_state
        How long the step waits for the cluster, how long it then runs, and the state in which it ends.
    cluster_ended, step_ended
        EMR's reasons for the end of the cluster and for the failure of the step.
    looks_until_ended
        How often EMR still shows the cluster as terminating.
    calls
        All calls with their parameters.
    clock
        The time of the execution.
    """

    photos: list[str] = field(default_factory=lambda: ["photos/apple/1.jpg"])
    results: dict[str, str] = field(default_factory=dict)
    clusters: list[dict[str, Any]] = field(default_factory=list)
    fails: dict[str, AwsError] = field(default_factory=dict)
    fails_once: dict[str, AwsError] = field(default_factory=dict)
    job: Callable[["Aws", str], None] = lambda *_: None
    cluster_ended: dict[str, str] = field(default_factory=lambda: {"Code": "USER_REQUEST", "Message": "By request"})
    start_seconds: float = 0
    job_seconds: float = 0
    step_state: str = "COMPLETED"
    step_ended: dict[str, str] = field(default_factory=dict)
    looks_until_ended: int = 0
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    clock: Clock = field(default_factory=Clock)

    def __call__(self, resource: str, given: dict[str, Any]) -> Any:
        """Check the parameters of a state's call against botocore's model of the service, and answer it."""
        _validate(integration(resource), given)
        name = integration(resource).removeprefix("aws-sdk:")
        self.calls.append((name, given))
        if name in self.fails_once:
            raise self.fails_once.pop(name)
        if name in self.fails:
            raise self.fails[name]
        return getattr(self, "_" + name.partition(":")[2])(given)

    def named(self, name: str) -> list[dict[str, Any]]:
        """Return the parameters of all calls of an integration, such as ``s3:getObject``."""
        return [given for call, given in self.calls if call == name]

    def _listObjectsV2(self, given: dict[str, Any]) -> dict[str, Any]:
        keys = sorted(key for key in self.photos if key.startswith(given["Prefix"]) and key > given["StartAfter"])
        page = [{"Key": key, "Size": 1} for key in keys[: given["MaxKeys"]]]
        return {"IsTruncated": len(keys) > len(page), "KeyCount": len(page)} | ({"Contents": page} if page else {})

    def _getObject(self, given: dict[str, Any]) -> dict[str, Any]:
        if given["Key"] not in self.results:
            raise AwsError("S3.NoSuchKeyException", "The specified key does not exist.")
        return {"Body": self.results[given["Key"]]}

    def _putObject(self, given: dict[str, Any]) -> dict[str, Any]:
        self.results[given["Key"]] = json.dumps(given["Body"])
        return {}

    def _createCluster(self, given: dict[str, Any]) -> dict[str, Any]:
        self.clusters.append({"Id": "j-NEW", "Name": given["Name"]})
        return {"ClusterId": "j-NEW"}

    def _addStep(self, given: dict[str, Any]) -> dict[str, Any]:
        self.job(self, given["Step"]["Name"])
        self.added = self.clock.time()
        return {"StepId": "s-1"}

    def _describeStep(self, given: dict[str, Any]) -> dict[str, Any]:
        running = self.clock.time() - self.added - self.start_seconds
        if running < 0:
            status: dict[str, Any] = {"State": "PENDING"}
        elif running < self.job_seconds:
            status = {"State": "RUNNING"}
        else:
            status = {"State": self.step_state} | ({"FailureDetails": self.step_ended} if self.step_ended else {})
        return {"Step": {"Id": given["StepId"], "Status": {"StateChangeReason": {}, "Timeline": {}} | status}}

    def _terminateCluster(self, given: dict[str, Any]) -> dict[str, Any]:
        self.clusters = [one for one in self.clusters if one["Id"] != given["ClusterId"]]
        return {}

    def _describeCluster(self, given: dict[str, Any]) -> dict[str, Any]:
        state = "TERMINATED" if self.looks_until_ended == 0 else "TERMINATING"
        self.looks_until_ended = max(0, self.looks_until_ended - 1)
        return {
            "Cluster": {"Id": given["ClusterId"], "Status": {"State": state, "StateChangeReason": self.cluster_ended}}
        }

    def _publish(self, given: dict[str, Any]) -> dict[str, Any]:
        return {"MessageId": "1"}

    def _invoke(self, given: dict[str, Any]) -> dict[str, Any]:
        return {"StatusCode": 202}


@dataclass(frozen=True)
class Execution:
    """How an execution ended, and the states that it went through."""

    status: str
    output: Any
    error: str
    cause: str
    states: tuple[str, ...]


def execute(definition: Mapping[str, Any], aws: Aws, given: Any = None, stop_in: str = "") -> Execution:
    """Run a definition to its end, or until somebody stops it in the state `stop_in`."""
    arn = f"arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:tested"

    def add_event(execution: dict[str, Any], kind: str, details: dict[str, Any] | None = None) -> None:
        execution["events"].append({"type": kind, **(details or {})})
        if stop_in and (details or {}).get("stateEnteredEventDetails", {}).get("name") == stop_in:
            execution["status"] = "ABORTED"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stepfunctions, "_invoke_resource_with_timeout", lambda *given: aws(*given[:2]))
        patch.setattr(stepfunctions, "_evaluate_jsonata", _evaluate)
        patch.setattr(stepfunctions, "_add_event", add_event)
        patch.setattr(stepfunctions, "time", aws.clock)
        patch.setattr(stepfunctions, "now_iso", aws.clock.iso)
        run = stepfunctions._run_execution
        patch.setattr(stepfunctions, "_run_execution", lambda _: None)
        stepfunctions.reset()
        made = json.loads(
            stepfunctions._create_state_machine(
                {"name": "tested", "definition": json.dumps(definition), "roleArn": arn.replace("states", "iam")}
            )[2]
        )
        started = stepfunctions._start_execution(
            {"stateMachineArn": made["stateMachineArn"], "name": "run-1", "input": json.dumps(given or {})}
        )
        execution = stepfunctions._executions[json.loads(started[2])["executionArn"]]
        run(execution["executionArn"])
    events = (event.get("stateEnteredEventDetails") for event in execution["events"])
    return Execution(
        execution["status"],
        json.loads(execution["output"]) if execution["status"] == "SUCCEEDED" else None,
        execution.get("error") or "",
        execution.get("cause") or "",
        tuple(event["name"] for event in events if event),
    )


def _evaluate(expression: str, given: Any, context: Any = None, result: Any = None, error: Any = None) -> Any:
    """Evaluate JSONata as Step Functions does. MiniStack's own engine is another one."""
    context = dict(context or {})
    variables = context.pop("variables", {})
    states = {"input": given, "context": context}
    states |= {} if result is None else {"result": result}
    states |= {} if error is None else {"errorOutput": error}
    try:
        return jsonata.evaluate(expression, states, variables)
    except jsonata.JsonataError as failure:
        raise stepfunctions._ExecutionError("States.QueryEvaluationError", str(failure)) from failure


def _validate(name: str, given: dict[str, Any]) -> None:
    report = ParamValidator().validate(CALLS[name].parameters(given), _input_shape(name))
    assert not report.has_errors(), f"{name}: {report.generate_report()}"


@cache
def _input_shape(name: str) -> Any:
    model = botocore.session.get_session().get_service_model(CALLS[name].service)
    return model.operation_model(CALLS[name].operation).input_shape
