"""The clean-up: who calls it, and what its function does for each of them."""

import contextlib
import json
import re
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from cdk_app.cleanup_function import index
from cdk_app.cleanup_function.decisions import EMR_ENDPOINT, GUARDDUTY_ENDPOINT
from cdk_app.stage_settings import StageSettings
from tests.infra.conftest import Synthesise
from tests.infra.template import Synthesised

STACK, MACHINE, VPC = "fruits-dev", "arn:aws:states:eu-west-3:000000000000:stateMachine:fruits-dev", "vpc-1"
NAME = f"{STACK}-run-1"
ENVIRONMENT = {
    "STACK": STACK,
    "STATE_MACHINE": MACHINE,
    "LONGEST_RUN_SECONDS": "25200",
    "VPC": VPC,
    "OWN": "vpce-own,sg-own",
}
ARN = "arn:aws:states:eu-west-3:000000000000:execution:fruits-dev:run-1"
RUN = {"executionArn": ARN, "stateMachineArn": MACHINE, "name": "run-1", "status": "RUNNING", "startDate": 0}
STOP = {"executionArn": ARN, "error": "StackDeleted", "cause": "The stack is being deleted."}
STOPPED: tuple[Any, ...] = ("stepfunctions", "stop_execution", STOP, {"stopDate": 0})
TERMINATED: tuple[Any, ...] = ("emr", "terminate_job_flows", {"JobFlowIds": [f"j-{NAME}"]}, {})
NO_EXECUTION: dict[str, Any] = {"executions": []}
NO_ENDPOINT: dict[str, Any] = {"VpcEndpoints": []}
EVENT = {
    "RequestType": "Delete",
    "ResponseURL": "https://cloudformation.example/answer",
    "StackId": "arn:aws:cloudformation:eu-west-3:000000000000:stack/fruits-dev/1",
    "RequestId": "request-1",
    "LogicalResourceId": "BeforeDeletion",
    "PhysicalResourceId": "BeforeDeletion",
    "ResourceProperties": {},
}
AFTER_BAD_END = {"run": "run-1", "alarm": False}
CLUSTER_STAYS = {"run": "run-1", "alarm": True}
EVERY_HOUR: dict[str, Any] = {}


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
    "settings", [StageSettings.of(), StageSettings.of("prod", email="fruits@example.com")], ids=str
)
def test_it_is_called_before_everything_else_is_deleted(synthesise: Synthesise, settings: StageSettings) -> None:
    resources = synthesise(settings).template["Resources"]
    (resource,) = [name for name, it in resources.items() if it["Type"] == "Custom::CleanUp"]
    assert set(resources) - needs(resources, resource) == {resource}
    assert not [name for name in resources if name != resource and resource in references(resources[name])]


def test_its_function_may_still_log_and_act_when_it_is_called(dev: Synthesised) -> None:
    resources = dev.template["Resources"]
    (function,) = [name for name in resources if name.startswith("CleanUpFunction")]
    assert {name[:-8] for name in needs(resources, function)} >= {
        "CleanUpRole",
        "CleanUpRoleDefaultPolicy",
        "CleanUpLog",
    }


def test_cloudformation_waits_a_little_longer_than_the_function_can_run(dev: Synthesised) -> None:
    function, resource = dev.one("AWS::Lambda::Function", "CleanUp"), dev.one("Custom::CleanUp", "CleanUp")
    assert (function["Timeout"], resource["ServiceTimeout"]) == (900, "960")


@pytest.mark.parametrize("settings", [StageSettings.of(), StageSettings.of(disk_key="own")], ids=str)
def test_it_knows_its_stack_and_every_part_of_the_network(synthesise: Synthesise, settings: StageSettings) -> None:
    stack = synthesise(settings)
    variables = dict(stack.one("AWS::Lambda::Function", "CleanUp")["Environment"]["Variables"])
    own = [f"{name}.Id" for name in stack.of("AWS::EC2::VPCEndpoint")]
    own += [f"{name}.GroupId" for name in stack.of("AWS::EC2::SecurityGroup")]
    assert sorted(variables.pop("OWN").split(",")) == sorted(own)
    expected = ENVIRONMENT | {"VPC": "NetworkVpc"}
    assert variables == {name: value for name, value in expected.items() if name != "OWN"}
    (machine,) = stack.of("AWS::StepFunctions::StateMachine").values()
    assert variables["STATE_MACHINE"].endswith(f":stateMachine:{machine['StateMachineName']}")


def test_it_is_called_after_every_bad_end_and_every_hour(dev: Synthesised) -> None:
    ended = dev.one("AWS::Events::Rule", "RunEndedBadly")
    (machine,) = [name for name in dev.template["Resources"] if name.startswith("WorkflowMachine")]
    assert ended["EventPattern"]["source"] == ["aws.states"]
    assert ended["EventPattern"]["detail"] == {
        "status": ["ABORTED", "TIMED_OUT", "FAILED"],
        "stateMachineArn": [dev.resolve({"Ref": machine})],
    }
    (target,) = ended["Targets"]
    assert target["InputTransformer"]["InputPathsMap"] == {"detail-name": "$.detail.name"}
    assert target["InputTransformer"]["InputTemplate"] == '{"run":<detail-name>,"alarm":false}'
    hourly = dev.one("AWS::Events::Rule", "EveryHour")
    assert hourly["ScheduleExpression"] == "rate(1 hour)"
    assert [target["Input"] for target in hourly["Targets"]] == ["{}"]


def test_aws_tries_again_when_a_call_of_the_function_fails(dev: Synthesised) -> None:
    """These are AWS's defaults: 24 hours for the delivery of an event, and two more calls after a failed one."""
    assert not dev.of("AWS::Lambda::EventInvokeConfig")
    for rule in dev.of("AWS::Events::Rule").values():
        assert not [target for target in rule["Targets"] if "RetryPolicy" in target]


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

    def clusters(self, *clusters: tuple[str, str]) -> None:
        """Expect one look at clusters, which are pairs of a name and a state."""
        self.expect("emr", "list_clusters", None, listed(*clusters))
        for name, _ in clusters:
            self.expect("emr", "describe_cluster", {"ClusterId": f"j-{name}"}, described(STACK))

    def runs(self, executions: Sequence[Any], clusters: Sequence[Any], *, also: Sequence[Any] = ()) -> None:
        """Expect one look at executions and clusters, and the calls `also`."""
        self.clusters(*clusters)
        self.expect("stepfunctions", "list_executions", None, {"executions": executions})
        for service, method, given, answer in also:
            self.expect(service, method, given, answer)

    def expect(self, service: str, method: str, given: Any, answer: Any) -> None:
        self.stubs[service].add_response(method, answer, given)

    def fail(self, service: str, method: str, code: str) -> None:
        self.stubs[service].add_client_error(method, code, "No.")

    def idle(self, looks: int = 2) -> None:
        """Expect looks that find neither executions nor clusters."""
        for _ in range(looks):
            self.runs([], [])

    def deleted(self) -> bool:
        """Expect one look at a network that is empty, and return whether the deletion succeeds."""
        self.expect("ec2", "describe_vpc_endpoints", None, NO_ENDPOINT)
        self.expect("ec2", "describe_security_groups", None, {"SecurityGroups": []})
        return self.delete() == ""

    def call(self, event: dict[str, Any]) -> None:
        """Call the function, and check that it made all expected calls."""
        try:
            index.handler(event, self)
        finally:
            for stub in self.stubs.values():
                stub.assert_no_pending_responses()

    def delete(self) -> str:
        """Be CloudFormation before a deletion, and return the reason of a failure."""
        self.call(EVENT)
        (answer,) = self.answers
        assert answer["Status"] == ("FAILED" if answer["Reason"] else "SUCCESS")
        return str(answer["Reason"])


def listed(*clusters: tuple[str, str], hours: float = 1, **more: str) -> dict[str, Any]:
    """Return a page of clusters: their names and states. They are so many hours old."""
    timeline = {"CreationDateTime": datetime.now(UTC) - timedelta(hours=hours)}
    return {
        "Clusters": [
            {"Id": f"j-{name}", "Name": name, "Status": {"State": state, "Timeline": timeline}}
            for name, state in clusters
        ]
    } | more


def described(stack: str) -> dict[str, Any]:
    return {"Cluster": {"Tags": [{"Key": "project", "Value": "fruits"}, {"Key": "stack", "Value": stack}]}}


def endpoint(name: str = "vpce-1", state: str = "available", **other: Any) -> dict[str, Any]:
    tags = [{"Key": key, "Value": value} for key, value in other.pop("tags", EMR_ENDPOINT).items()]
    known = {"VpcEndpointId": name, "VpcId": VPC, "VpcEndpointType": "Interface", "State": state, "Tags": tags}
    return known | other


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Aws:
    aws = Aws()

    def put(request: Any, timeout: float) -> contextlib.AbstractContextManager[None]:
        assert timeout <= 10
        assert request.get_method() == "PUT"
        assert request.full_url == EVENT["ResponseURL"]
        aws.answers.append(json.loads(request.data))
        return contextlib.nullcontext()

    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
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
            "PhysicalResourceId": "BeforeDeletion",
            **{key: EVENT[key] for key in ("StackId", "RequestId", "LogicalResourceId")},
        }
    ]


def test_of_an_idle_stack_it_looks_twice(aws: Aws) -> None:
    aws.idle()
    assert aws.deleted()
    assert aws.now == 5


def test_a_deletion_does_not_fail_if_somebody_deleted_the_state_machine(aws: Aws) -> None:
    for _ in range(2):
        aws.clusters()
        aws.fail("stepfunctions", "list_executions", "StateMachineDoesNotExist")
    assert aws.deleted()


def test_a_run_is_stopped_and_its_cluster_terminated(aws: Aws) -> None:
    aws.runs([RUN], [(NAME, "RUNNING")], also=[STOPPED, TERMINATED])
    aws.runs([], [(NAME, "TERMINATING")])
    aws.idle()
    assert aws.deleted()
    assert aws.now == 15


def test_a_cluster_that_emr_lists_late_is_terminated(aws: Aws) -> None:
    aws.runs([RUN], [], also=[STOPPED])
    aws.idle(looks=4)
    aws.runs([], [(NAME, "STARTING")], also=[TERMINATED])
    aws.idle()
    assert aws.deleted()


def test_an_execution_that_created_no_cluster_is_given_a_minute(aws: Aws) -> None:
    aws.runs([RUN], [], also=[STOPPED])
    aws.idle(looks=13)
    assert aws.deleted()
    assert aws.now == 65


def test_an_execution_that_starts_after_the_first_look_is_stopped(aws: Aws) -> None:
    aws.idle(looks=1)
    aws.runs([RUN], [(NAME, "STARTING")], also=[STOPPED, TERMINATED])
    aws.idle()
    assert aws.deleted()


def test_an_execution_that_ended_by_itself_is_no_error(aws: Aws) -> None:
    aws.runs([RUN], [(NAME, "TERMINATING")])
    aws.fail("stepfunctions", "stop_execution", "ExecutionDoesNotExist")
    aws.idle()
    assert aws.deleted()


def test_clusters_of_other_stacks_live_on(aws: Aws) -> None:
    for _ in range(2):
        aws.expect("emr", "list_clusters", None, listed(("fruits-prod-run", "RUNNING"), Marker="next"))
        aws.expect("emr", "list_clusters", None, listed(("fruits-dev-a", "RUNNING"), ("fruits-dev-b", "RUNNING")))
        aws.expect("emr", "describe_cluster", {"ClusterId": "j-fruits-dev-a"}, described("fruits-dev-a"))
        aws.fail("emr", "describe_cluster", "AccessDeniedException")
        aws.expect("stepfunctions", "list_executions", None, NO_EXECUTION)
    assert aws.deleted()


def test_all_pages_are_read_and_ten_clusters_terminated_per_call(aws: Aws) -> None:
    names = [f"{STACK}-{number}" for number in range(12)]
    aws.expect("emr", "list_clusters", None, listed(*((name, "WAITING") for name in names[:6]), Marker="next"))
    aws.expect("emr", "list_clusters", None, listed(*((name, "WAITING") for name in names[6:])))
    for name in names:
        aws.expect("emr", "describe_cluster", {"ClusterId": f"j-{name}"}, described(STACK))
    aws.expect("stepfunctions", "list_executions", None, {"executions": [], "nextToken": "next"})
    aws.expect("stepfunctions", "list_executions", None, NO_EXECUTION)
    aws.expect("emr", "terminate_job_flows", {"JobFlowIds": [f"j-{name}" for name in names[:10]]}, {})
    aws.expect("emr", "terminate_job_flows", {"JobFlowIds": [f"j-{name}" for name in names[10:]]}, {})
    aws.idle()
    assert aws.deleted()


def test_everything_that_others_created_in_this_network_is_deleted(aws: Aws) -> None:
    aws.idle()
    others = [
        endpoint("vpce-own"),
        endpoint("vpce-4", VpcId="vpc-2"),
        endpoint("vpce-5", VpcEndpointType="Gateway"),
        endpoint("vpce-7", "deleted"),
    ]
    foreign = [endpoint(), endpoint("vpce-2", tags=GUARDDUTY_ENDPOINT), endpoint("vpce-6", "deleting")]
    aws.expect("ec2", "describe_vpc_endpoints", None, {"VpcEndpoints": [*foreign, *others]})
    for name in ("vpce-1", "vpce-2"):
        aws.expect("ec2", "delete_vpc_endpoints", {"VpcEndpointIds": [name]}, {"Unsuccessful": []})
    aws.expect("ec2", "describe_vpc_endpoints", None, {"VpcEndpoints": [endpoint(state="deleting"), *others]})
    aws.expect("ec2", "describe_vpc_endpoints", None, {"VpcEndpoints": others})
    found = [group("sg-own"), group("sg-2", VpcId="vpc-2"), group("sg-3", GroupName="default")]
    aws.expect("ec2", "describe_security_groups", None, {"SecurityGroups": [group(), *found]})
    aws.fail("ec2", "delete_security_group", "DependencyViolation")
    aws.expect("ec2", "describe_security_groups", None, {"SecurityGroups": [group(), *found]})
    aws.expect("ec2", "delete_security_group", {"GroupId": "sg-1"}, {})
    aws.expect("ec2", "describe_security_groups", None, {"SecurityGroups": found})
    assert aws.delete() == ""


def group(name: str = "sg-1", **other: Any) -> dict[str, Any]:
    return {"GroupId": name, "VpcId": VPC, "GroupName": "GuardDutyManagedSecurityGroup"} | other


def test_what_cannot_be_deleted_is_named(aws: Aws) -> None:
    aws.idle()
    refused = {"ResourceId": "vpce-1", "Error": {"Code": "OperationNotPermitted", "Message": "Managed by EMR."}}
    aws.expect("ec2", "describe_vpc_endpoints", None, {"VpcEndpoints": [endpoint()]})
    aws.expect("ec2", "delete_vpc_endpoints", None, {"Unsuccessful": [refused]})
    assert aws.delete() == (
        "EC2 did not delete the endpoint vpce-1; delete it in the VPC console, and destroy the stack again. "
        "(Managed by EMR.)"
    )


def test_an_endpoint_of_somebody_else_is_named_because_the_role_may_not_delete_it(aws: Aws) -> None:
    aws.idle()
    aws.expect("ec2", "describe_vpc_endpoints", None, {"VpcEndpoints": [endpoint(tags={})]})
    aws.fail("ec2", "delete_vpc_endpoints", "UnauthorizedOperation")
    assert aws.delete().startswith("EC2 did not delete the endpoint vpce-1; delete it in the VPC console, and ")


def test_a_security_group_that_a_policy_protects_is_named(aws: Aws) -> None:
    aws.idle()
    aws.expect("ec2", "describe_vpc_endpoints", None, NO_ENDPOINT)
    aws.expect("ec2", "describe_security_groups", None, {"SecurityGroups": [group()]})
    aws.fail("ec2", "delete_security_group", "UnauthorizedOperation")
    assert aws.delete().startswith("EC2 did not delete the security group sg-1; ")


def test_it_gives_up_before_lambda_ends_it_and_says_what_is_left(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    left = listed((NAME, "TERMINATING"))
    answers: dict[str, Callable[[], Any]] = {"list_clusters": lambda: left, "list_executions": lambda: NO_EXECUTION}

    class Pages:
        def __init__(self, name: str) -> None:
            self._name = name

        def paginate(self, **_: Any) -> Iterator[Any]:
            yield answers[self._name]()

    for client in aws.clients.values():
        monkeypatch.setattr(client, "get_paginator", Pages)
    monkeypatch.setattr(index.CleanUp, "_is_ours", lambda *_: True)
    assert aws.delete() == (
        "Not ended in time: cluster j-fruits-dev-run-1; wait until they have ended, and destroy the stack again."
    )
    assert 770 < aws.now < 790


@pytest.mark.parametrize("stack", [STACK, None], ids=["denied", "broken configuration"])
def test_every_error_is_answered(aws: Aws, monkeypatch: pytest.MonkeyPatch, stack: str | None) -> None:
    aws.fail("emr", "list_clusters", "AccessDeniedException")
    if stack is None:
        monkeypatch.delenv("STACK")
    index.handler(EVENT, aws)
    (answer,) = aws.answers
    assert answer["Status"] == "FAILED"
    assert answer["Reason"].startswith("The clean-up failed; remove the cause, and destroy the stack again. (")


def test_the_answer_is_sent_again_after_a_network_error(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    put, failures = urllib.request.urlopen, [OSError("reset"), OSError("reset")]

    def flaky(request: Any, timeout: float) -> Any:
        if failures:
            raise failures.pop()
        return put(request, timeout=timeout)

    monkeypatch.setattr("urllib.request.urlopen", flaky)
    index.handler(EVENT | {"RequestType": "Update"}, aws)
    assert [answer["Status"] for answer in aws.answers] == ["SUCCESS"]


def test_the_cluster_of_a_run_that_ended_badly_is_terminated(aws: Aws) -> None:
    others = [(f"{STACK}-run-2", "RUNNING"), ("fruits-devil-run-1", "RUNNING")]
    aws.expect("emr", "list_clusters", None, listed(*others, (NAME, "RUNNING")))
    aws.expect("emr", "describe_cluster", {"ClusterId": f"j-{NAME}"}, described(STACK))
    aws.expect(*TERMINATED)
    aws.call(AFTER_BAD_END)
    assert aws.now == 0


def test_a_cluster_that_emr_lists_two_minutes_after_the_bad_end_is_terminated(aws: Aws) -> None:
    aws.clusters()
    aws.clusters()
    aws.clusters((NAME, "STARTING"))
    aws.expect(*TERMINATED)
    aws.call(AFTER_BAD_END)
    assert aws.now == 120


def test_a_run_without_a_cluster_raises_no_alarm(aws: Aws) -> None:
    for _ in range(3):
        aws.clusters()
    aws.call(CLUSTER_STAYS)


@pytest.mark.parametrize("state", ["RUNNING", "TERMINATING"])
def test_a_cluster_that_stays_raises_the_alarm_after_it_is_terminated(aws: Aws, state: str) -> None:
    aws.clusters((NAME, state))
    if state == "RUNNING":
        aws.expect(*TERMINATED)
    with pytest.raises(index.ClusterOutlivedItsRunError, match=f"Terminated j-{NAME}, which no run used any more."):
        aws.call(CLUSTER_STAYS)


@pytest.mark.parametrize("event", [AFTER_BAD_END, CLUSTER_STAYS], ids=["event", "state machine"])
def test_a_cluster_that_cannot_be_terminated_fails_the_function_which_lambda_runs_again(
    aws: Aws, event: dict[str, Any]
) -> None:
    aws.clusters((NAME, "RUNNING"))
    aws.fail("emr", "terminate_job_flows", "InternalServerException")
    with pytest.raises(ClientError, match="InternalServerException"):
        aws.call(event)


def test_every_hour_it_ends_clusters_older_than_the_longest_run_and_raises_the_alarm(aws: Aws) -> None:
    longest = int(ENVIRONMENT["LONGEST_RUN_SECONDS"]) / 3600
    young, old = [(f"{STACK}-young", "RUNNING")], [(f"{STACK}-old", "RUNNING"), ("fruits-devil-old", "RUNNING")]
    aws.expect("emr", "list_clusters", None, listed(*young, hours=longest - 0.1, Marker="next"))
    aws.expect("emr", "list_clusters", None, listed(*old, hours=longest + 0.1))
    for name in (f"{STACK}-young", f"{STACK}-old"):
        aws.expect("emr", "describe_cluster", {"ClusterId": f"j-{name}"}, described(STACK))
    aws.expect("emr", "terminate_job_flows", {"JobFlowIds": [f"j-{STACK}-old"]}, {})
    aws.expect("ec2", "describe_vpc_endpoints", None, NO_ENDPOINT)
    with pytest.raises(index.ClusterOutlivedItsRunError, match=f"Terminated j-{STACK}-old, which"):
        aws.call(EVERY_HOUR)


def test_an_hour_without_anything_to_do_takes_two_requests(aws: Aws) -> None:
    aws.clusters()
    aws.expect("ec2", "describe_vpc_endpoints", None, NO_ENDPOINT)
    aws.call(EVERY_HOUR)


def test_every_hour_it_deletes_the_endpoints_of_emr_and_no_others(aws: Aws) -> None:
    aws.clusters()
    found = [endpoint(), endpoint("vpce-2", tags=GUARDDUTY_ENDPOINT), endpoint("vpce-own")]
    aws.expect("ec2", "describe_vpc_endpoints", None, {"VpcEndpoints": found})
    aws.expect("stepfunctions", "list_executions", None, NO_EXECUTION)
    aws.expect("ec2", "delete_vpc_endpoints", {"VpcEndpointIds": ["vpce-1"]}, {"Unsuccessful": []})
    aws.call(EVERY_HOUR)


@pytest.mark.parametrize("needed_by", ["execution", "cluster"])
def test_endpoints_that_a_run_may_need_are_kept(aws: Aws, needed_by: str) -> None:
    aws.clusters(*([(NAME, "TERMINATING")] if needed_by == "cluster" else []))
    aws.expect("ec2", "describe_vpc_endpoints", None, {"VpcEndpoints": [endpoint()]})
    if needed_by == "execution":
        aws.expect("stepfunctions", "list_executions", None, {"executions": [RUN]})
    aws.call(EVERY_HOUR)
