"""The guard: CloudFormation deletes it before anything else, and its function ends every run and answers always."""

import json
import re
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from cdk_app.guard_function import index
from cdk_app.stage_settings import StageSettings
from tests.infra.conftest import Synthesise
from tests.infra.template import Synthesised

STACK, MACHINE, VPC = "fruits-dev", "arn:aws:states:eu-west-3:000000000000:stateMachine:fruits-dev", "vpc-1"
TAGS = {"Name": "emr-service-vpce", "for-use-with-amazon-emr-managed-policies": "true"}
PROPERTIES = {"Stack": STACK, "StateMachine": MACHINE, "Vpc": VPC, "EndpointTags": TAGS}
ARN = "arn:aws:states:eu-west-3:000000000000:execution:fruits-dev:run-1"
RUN = {"executionArn": ARN, "stateMachineArn": MACHINE, "name": "run-1", "status": "RUNNING", "startDate": 0}
STOP = {"executionArn": ARN, "error": "StackDeleted", "cause": "The stack is being deleted."}
NO_EXECUTION: dict[str, Any] = {"executions": []}
NO_CLUSTER: dict[str, Any] = {"Clusters": []}
NO_ENDPOINT: dict[str, Any] = {"VpcEndpoints": []}
EVENT = {
    "RequestType": "Delete",
    "ResponseURL": "https://cloudformation.example/answer",
    "StackId": "arn:aws:cloudformation:eu-west-3:000000000000:stack/fruits-dev/1",
    "RequestId": "request-1",
    "LogicalResourceId": "GuardResource",
    "PhysicalResourceId": "GuardResource",
    "ResourceProperties": PROPERTIES,
}


def references(value: Any) -> Iterator[str]:
    """Yield the logical IDs that a resource refers to or depends on."""
    match value:
        case {"Ref": str(name)} | {"Fn::GetAtt": [str(name), _]}:
            yield name
        case {"Fn::Sub": str(text)}:
            yield from re.findall(r"\$\{([^.}]+)", text)
        case dict():
            for key, item in value.items():
                if key == "DependsOn":
                    yield from [item] if isinstance(item, str) else item
                else:
                    yield from references(item)
        case list():
            for item in value:
                yield from references(item)


def needs(resources: dict[str, Any], name: str) -> set[str]:
    """Return what CloudFormation creates before a resource and deletes after it."""
    found: set[str] = set()
    todo = [name]
    while todo:
        new = {one for one in references(resources[todo.pop()]) if one in resources} - found
        found |= new
        todo += new
    return found


@pytest.mark.parametrize(
    "settings", [StageSettings(), StageSettings(stage="prod", email="fruits@example.com")], ids=str
)
def test_the_guard_is_deleted_before_everything_else(synthesise: Synthesise, settings: StageSettings) -> None:
    resources = synthesise(settings).template["Resources"]
    (guard,) = [name for name, it in resources.items() if it["Type"] == "Custom::Guard"]
    assert set(resources) - needs(resources, guard) == {guard}
    assert not [name for name in resources if name != guard and guard in references(resources[name])]


def test_its_function_may_still_log_and_act_when_it_is_called(dev: Synthesised) -> None:
    resources = dev.template["Resources"]
    (function,) = [name for name in resources if name.startswith("GuardFunction")]
    assert {name[:-8] for name in needs(resources, function)} >= {"GuardRole", "GuardRoleDefaultPolicy", "GuardLog"}


def test_cloudformation_waits_a_little_longer_than_the_function_can_run(dev: Synthesised) -> None:
    function, guard = dev.one("AWS::Lambda::Function", "Guard"), dev.one("Custom::Guard", "Guard")
    assert (function["Timeout"], guard["ServiceTimeout"]) == (900, "960")
    assert {name: value for name, value in guard.items() if name in PROPERTIES} == {
        "Stack": STACK,
        "StateMachine": dev.resolve({"Ref": next(n for n in resources_of(dev) if n.startswith("WorkflowMachine"))}),
        "Vpc": "NetworkVpc",
        "EndpointTags": TAGS,
    }


def resources_of(stack: Synthesised) -> dict[str, Any]:
    resources: dict[str, Any] = stack.template["Resources"]
    return resources


class Aws:
    """Stubbed clients, the time that goes by in pauses, and the answers to CloudFormation."""

    def __init__(self) -> None:
        names = ("stepfunctions", "emr", "ec2")
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "eu-west-3"}
        self.clients = {name: boto3.client(name, **keys) for name in names}
        self.stubs = {name: Stubber(client) for name, client in self.clients.items()}
        self.now = 0.0
        self.answers: list[dict[str, Any]] = []
        for stub in self.stubs.values():
            stub.activate()

    def get_remaining_time_in_millis(self) -> float:
        """Be the context of the function, which has 15 minutes."""
        return (900 - self.now) * 1000

    def pause(self, seconds: float) -> None:
        self.now += seconds

    def runs(self, executions: Sequence[Any], clusters: Sequence[Any], *, also: Sequence[Any] = ()) -> None:
        """Expect one look at executions and clusters. `clusters` are pairs of a name and a state."""
        self.expect("emr", "list_clusters", None, listed(*clusters))
        for name, _ in clusters:
            if name.startswith(f"{STACK}-"):
                self.expect("emr", "describe_cluster", {"ClusterId": f"j-{name}"}, described(STACK))
        self.expect("stepfunctions", "list_executions", None, {"executions": executions})
        for service, method, given, answer in also:
            self.expect(service, method, given, answer)

    def expect(self, service: str, method: str, given: Any, answer: Any) -> None:
        self.stubs[service].add_response(method, answer, given)

    def fail(self, service: str, method: str, code: str) -> None:
        self.stubs[service].add_client_error(method, code, "No.")

    def delete(self) -> str:
        """Delete the guard, check that all expected calls were made, and return the reason of a failure."""
        index.handler(EVENT, self)
        for stub in self.stubs.values():
            stub.assert_no_pending_responses()
        (answer,) = self.answers
        assert answer["Status"] == ("FAILED" if answer["Reason"] else "SUCCESS")
        return str(answer["Reason"])


def listed(*clusters: tuple[str, str], **more: str) -> dict[str, Any]:
    return {
        "Clusters": [{"Id": f"j-{name}", "Name": name, "Status": {"State": state}} for name, state in clusters]
    } | more


def described(stack: str) -> dict[str, Any]:
    return {"Cluster": {"Tags": [{"Key": "project", "Value": "fruits"}, {"Key": "stack", "Value": stack}]}}


def endpoint(name: str = "vpce-1", state: str = "available", **other: Any) -> dict[str, Any]:
    tags = [{"Key": key, "Value": value} for key, value in other.pop("tags", TAGS).items()]
    known = {"VpcEndpointId": name, "VpcId": VPC, "VpcEndpointType": "Interface", "State": state, "Tags": tags}
    return known | other


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Aws:
    aws = Aws()

    class Answered:
        def __enter__(self) -> None:
            """Do nothing."""

        def __exit__(self, *_: object) -> None:
            """Do nothing."""

    def put(request: Any, timeout: float) -> Answered:
        assert timeout <= 10
        assert request.get_method() == "PUT"
        assert request.full_url == EVENT["ResponseURL"]
        aws.answers.append(json.loads(request.data))
        return Answered()

    monkeypatch.setattr(index, "client", aws.clients.__getitem__)
    monkeypatch.setattr("urllib.request.urlopen", put)
    monkeypatch.setattr("time.sleep", aws.pause)
    monkeypatch.setattr("time.monotonic", lambda: aws.now)
    return aws


@pytest.mark.parametrize("request_type", ["Create", "Update"])
def test_creation_and_update_do_nothing(aws: Aws, request_type: str) -> None:
    event = EVENT | {"RequestType": request_type}
    if request_type == "Create":
        del event["PhysicalResourceId"]
    index.handler(event, aws)
    assert aws.answers == [
        {
            "Status": "SUCCESS",
            "Reason": "",
            "PhysicalResourceId": "GuardResource",
            **{key: EVENT[key] for key in ("StackId", "RequestId", "LogicalResourceId")},
        }
    ]


def test_of_an_idle_stack_it_looks_twice(aws: Aws) -> None:
    aws.runs([], [])
    aws.runs([], [])
    aws.expect("ec2", "describe_vpc_endpoints", None, NO_ENDPOINT)
    assert aws.delete() == ""
    assert aws.now == 5


def test_a_deletion_does_not_fail_if_somebody_deleted_the_state_machine(aws: Aws) -> None:
    for _ in range(2):
        aws.expect("emr", "list_clusters", None, NO_CLUSTER)
        aws.fail("stepfunctions", "list_executions", "StateMachineDoesNotExist")
    aws.expect("ec2", "describe_vpc_endpoints", None, NO_ENDPOINT)
    assert aws.delete() == ""


def test_a_run_is_stopped_and_its_cluster_terminated(aws: Aws) -> None:
    name = f"{STACK}-run-1"
    terminate: tuple[Any, ...] = ("emr", "terminate_job_flows", {"JobFlowIds": [f"j-{name}"]}, {})
    aws.runs([RUN], [(name, "RUNNING")], also=[("stepfunctions", "stop_execution", STOP, {"stopDate": 0}), terminate])
    aws.runs([], [(name, "TERMINATING")])
    aws.runs([], [])
    aws.runs([], [])
    aws.expect("ec2", "describe_vpc_endpoints", None, NO_ENDPOINT)
    assert aws.delete() == ""
    assert aws.now == 15


def test_a_cluster_that_emr_lists_late_is_terminated(aws: Aws) -> None:
    name = f"{STACK}-run-1"
    aws.runs([RUN], [], also=[("stepfunctions", "stop_execution", STOP, {"stopDate": 0})])
    for _ in range(4):
        aws.runs([], [])
    aws.runs([], [(name, "STARTING")], also=[("emr", "terminate_job_flows", {"JobFlowIds": [f"j-{name}"]}, {})])
    aws.runs([], [])
    aws.runs([], [])
    aws.expect("ec2", "describe_vpc_endpoints", None, NO_ENDPOINT)
    assert aws.delete() == ""


def test_an_execution_that_created_no_cluster_is_given_a_minute(aws: Aws) -> None:
    aws.runs([RUN], [], also=[("stepfunctions", "stop_execution", STOP, {"stopDate": 0})])
    for _ in range(13):
        aws.runs([], [])
    aws.expect("ec2", "describe_vpc_endpoints", None, NO_ENDPOINT)
    assert aws.delete() == ""
    assert aws.now == 65


def test_an_execution_that_starts_after_the_first_look_is_stopped(aws: Aws) -> None:
    name = f"{STACK}-run-1"
    aws.runs([], [])
    aws.runs(
        [RUN],
        [(name, "STARTING")],
        also=[
            ("stepfunctions", "stop_execution", STOP, {"stopDate": 0}),
            ("emr", "terminate_job_flows", {"JobFlowIds": [f"j-{name}"]}, {}),
        ],
    )
    aws.runs([], [])
    aws.runs([], [])
    aws.expect("ec2", "describe_vpc_endpoints", None, NO_ENDPOINT)
    assert aws.delete() == ""


def test_an_execution_that_ended_by_itself_is_no_error(aws: Aws) -> None:
    aws.runs([RUN], [(f"{STACK}-run-1", "TERMINATING")])
    aws.fail("stepfunctions", "stop_execution", "ExecutionDoesNotExist")
    aws.runs([], [])
    aws.runs([], [])
    aws.expect("ec2", "describe_vpc_endpoints", None, NO_ENDPOINT)
    assert aws.delete() == ""


def test_clusters_of_other_stacks_live_on(aws: Aws) -> None:
    for _ in range(2):
        aws.expect("emr", "list_clusters", None, listed(("fruits-prod-run", "RUNNING"), Marker="next"))
        aws.expect("emr", "list_clusters", None, listed(("fruits-dev-a", "RUNNING"), ("fruits-dev-b", "RUNNING")))
        aws.expect("emr", "describe_cluster", {"ClusterId": "j-fruits-dev-a"}, described("fruits-dev-a"))
        aws.fail("emr", "describe_cluster", "AccessDeniedException")
        aws.expect("stepfunctions", "list_executions", None, NO_EXECUTION)
    aws.expect("ec2", "describe_vpc_endpoints", None, NO_ENDPOINT)
    assert aws.delete() == ""


def test_all_pages_are_read_and_ten_clusters_terminated_per_call(aws: Aws) -> None:
    names = [f"{STACK}-{number}" for number in range(12)]
    aws.expect("emr", "list_clusters", None, listed(*((name, "WAITING") for name in names[:6]), Marker="next"))
    for name in names[:6]:
        aws.expect("emr", "describe_cluster", {"ClusterId": f"j-{name}"}, described(STACK))
    aws.expect("emr", "list_clusters", None, listed(*((name, "WAITING") for name in names[6:])))
    for name in names[6:]:
        aws.expect("emr", "describe_cluster", {"ClusterId": f"j-{name}"}, described(STACK))
    aws.expect("stepfunctions", "list_executions", None, {"executions": [], "nextToken": "next"})
    aws.expect("stepfunctions", "list_executions", None, NO_EXECUTION)
    aws.expect("emr", "terminate_job_flows", {"JobFlowIds": [f"j-{name}" for name in names[:10]]}, {})
    aws.expect("emr", "terminate_job_flows", {"JobFlowIds": [f"j-{name}" for name in names[10:]]}, {})
    aws.runs([], [])
    aws.runs([], [])
    aws.expect("ec2", "describe_vpc_endpoints", None, NO_ENDPOINT)
    assert aws.delete() == ""


def test_only_endpoints_that_emr_created_in_this_network_are_deleted(aws: Aws) -> None:
    aws.runs([], [])
    aws.runs([], [])
    found = [
        endpoint(),
        endpoint("vpce-2", tags={"Name": "emr-service-vpce"}),
        endpoint("vpce-3", tags={}),
        endpoint("vpce-4", VpcId="vpc-2"),
        endpoint("vpce-5", VpcEndpointType="Gateway"),
        endpoint("vpce-6", "deleting"),
        endpoint("vpce-7", "deleted"),
    ]
    aws.expect("ec2", "describe_vpc_endpoints", None, {"VpcEndpoints": found})
    aws.expect("ec2", "delete_vpc_endpoints", {"VpcEndpointIds": ["vpce-1"]}, {"Unsuccessful": []})
    aws.expect("ec2", "describe_vpc_endpoints", None, {"VpcEndpoints": [endpoint(state="deleting"), *found[1:5]]})
    aws.expect("ec2", "describe_vpc_endpoints", None, {"VpcEndpoints": found[1:5]})
    assert aws.delete() == ""


def test_an_endpoint_that_cannot_be_deleted_is_named(aws: Aws) -> None:
    aws.runs([], [])
    aws.runs([], [])
    refused = {"ResourceId": "vpce-1", "Error": {"Code": "OperationNotPermitted", "Message": "Managed by EMR."}}
    aws.expect("ec2", "describe_vpc_endpoints", None, {"VpcEndpoints": [endpoint()]})
    aws.expect("ec2", "delete_vpc_endpoints", None, {"Unsuccessful": [refused]})
    assert aws.delete() == (
        "EC2 did not delete the endpoint vpce-1; delete it in the VPC console, and destroy the stack again. "
        "(Managed by EMR.)"
    )


def test_it_gives_up_before_lambda_ends_it_and_says_what_is_left(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    left = listed((f"{STACK}-run-1", "TERMINATING"))
    answers: dict[str, Callable[[], Any]] = {"list_clusters": lambda: left, "list_executions": lambda: NO_EXECUTION}

    class Pages:
        def __init__(self, name: str) -> None:
            self._name = name

        def paginate(self, **_: Any) -> Iterator[Any]:
            yield answers[self._name]()

    for client in aws.clients.values():
        monkeypatch.setattr(client, "get_paginator", Pages)
    monkeypatch.setattr(index.Guard, "_is_ours", lambda *_: True)
    assert aws.delete() == (
        "Not ended in time: cluster j-fruits-dev-run-1; wait until they have ended, and destroy the stack again."
    )
    assert 770 < aws.now < 790


@pytest.mark.parametrize("event", [EVENT, EVENT | {"ResourceProperties": {}}], ids=["denied", "bad event"])
def test_every_error_is_answered(aws: Aws, event: dict[str, Any]) -> None:
    aws.fail("emr", "list_clusters", "AccessDeniedException")
    index.handler(event, aws)
    (answer,) = aws.answers
    assert answer["Status"] == "FAILED"
    assert answer["Reason"].startswith("The guard failed; remove the cause, and destroy the stack again. (")


def test_the_answer_is_sent_again_after_a_network_error(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    put, failures = urllib.request.urlopen, [OSError("reset"), OSError("reset")]

    def flaky(request: Any, timeout: float) -> Any:
        if failures:
            raise failures.pop()
        return put(request, timeout=timeout)

    monkeypatch.setattr("urllib.request.urlopen", flaky)
    index.handler(EVENT | {"RequestType": "Update"}, aws)
    assert [answer["Status"] for answer in aws.answers] == ["SUCCESS"]
