"""The clean-up: who calls it, and what its function does for each of them."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import networkx
import pytest
from botocore.exceptions import ClientError
from cfnlint.graph import Graph
from cfnlint.template import Template

from cdk_app.cleanup_function import index
from cdk_app.cleanup_function.decisions import EMR_ENDPOINT, GUARDDUTY_ENDPOINT
from cdk_app.stage_settings import StageSettings
from tests.infra.conftest import Synthesise
from tests.infra.recorded_aws import Answer, Aws, Json, refusal
from tests.infra.template import Synthesised

STACK, MACHINE, VPC = "fruits-dev", "arn:aws:states:eu-west-3:000000000000:stateMachine:fruits-dev", "vpc-1"
ENVIRONMENT = {
    "STACK": STACK,
    "STATE_MACHINE": MACHINE,
    "LONGEST_RUN_SECONDS": "25200",
    "VPC": VPC,
    "OWN": "vpce-own,sg-own",
}
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
LONGEST_HOURS = 7
NEVER = 1e9


@pytest.mark.parametrize(
    "settings", [StageSettings.of(), StageSettings.of("prod", email="fruits@example.com")], ids=str
)
def test_it_is_called_before_everything_else_is_deleted(synthesise: Synthesise, settings: StageSettings) -> None:
    template = dict(synthesise(settings).template)
    (resource,) = [name for name, it in template["Resources"].items() if it["Type"] == "Custom::CleanUp"]
    needed = networkx.descendants(Graph(Template("", template)).graph, resource)  # CloudFormation deletes it later
    assert set(template["Resources"]) - needed == {resource}


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


class Account:
    """An account in which executions, clusters, endpoints and groups exist. Time passes only while somebody waits."""

    def __init__(self) -> None:
        self.now = 0.0
        self.answers: list[Json] = []
        self.executions: list[str] = []
        self.clusters: list[Json] = []
        self.endpoints: list[Json] = []
        self.groups: list[Json] = []
        self.ending_seconds = 8.0
        self._stacks: dict[str, str] = {}
        self._listed: dict[str, float] = {}
        self._gone: dict[str, float] = {}
        self.aws = Aws(
            {
                "ListExecutions": lambda _: {"executions": [execution(name) for name in self.executions]},
                "StopExecution": self._stop_execution,
                "ListClusters": lambda _: {"Clusters": self._existing(self.clusters, "Id")},
                "DescribeCluster": lambda given: {"Cluster": {"Tags": tags(stack=self._stacks[given["ClusterId"]])}},
                "TerminateJobFlows": self._terminate,
                "DescribeVpcEndpoints": lambda _: {"VpcEndpoints": self._existing(self.endpoints, "VpcEndpointId")},
                "DeleteVpcEndpoints": self._delete_endpoints,
                "DescribeSecurityGroups": lambda _: {"SecurityGroups": self.groups},
                "DeleteSecurityGroup": self._delete_group,
            }
        )

    def add_cluster(
        self, name: str, state: str = "RUNNING", *, stack: str = STACK, listed: float = 0, hours: float = 1
    ) -> None:
        """Add a cluster. EMR lists it after some seconds. It is some hours old."""
        created = datetime.now(UTC) - timedelta(hours=hours)
        status = {"State": state, "Timeline": {"CreationDateTime": created}}
        self.clusters.append({"Id": f"j-{name}", "Name": name, "Status": status})
        self._stacks[f"j-{name}"], self._listed[f"j-{name}"] = stack, listed
        if state == "TERMINATING":
            self._gone[f"j-{name}"] = self.ending_seconds

    def fail(self, operation: str, code: str, message: str = "No.") -> None:
        self.aws.answers[operation] = refusal(code, message)

    def asked(self, operation: str) -> list[Any]:
        """Return the parameter of each call of an operation, which has one."""
        return [next(iter(given.values())) for given in self.aws.asked(operation)]

    def get_remaining_time_in_millis(self) -> float:
        """Be the context of the function, which has 15 minutes."""
        return (900 - self.now) * 1000

    def pause(self, seconds: float) -> None:
        self.now += seconds

    def put(self, method: str, url: str, *, body: str, headers: Json) -> None:
        """Be CloudFormation, which gets the answer."""
        assert (method, url, headers) == ("PUT", EVENT["ResponseURL"], {"Content-Type": ""})
        self.answers.append(json.loads(body))

    def delete(self) -> str:
        """Be CloudFormation before a deletion, and return the reason of a failure."""
        index.handler(EVENT, self)
        (answer,) = self.answers
        assert answer["Status"] == ("FAILED" if answer["Reason"] else "SUCCESS")
        return str(answer["Reason"])

    def _existing(self, things: list[Json], key: str) -> list[Json]:
        return [one for one in things if self._listed.get(one[key], 0) <= self.now < self._gone.get(one[key], NEVER)]

    def _stop_execution(self, given: Json) -> Json:
        self.executions.remove(given["executionArn"].rpartition(":")[2])
        return {"stopDate": 0}

    def _terminate(self, given: Json) -> Json:
        for one in self.clusters:
            if one["Id"] in given["JobFlowIds"]:
                one["Status"]["State"] = "TERMINATING"
                self._gone[one["Id"]] = self.now + self.ending_seconds
        return {}

    def _delete_endpoints(self, given: Json) -> Json:
        for one in self.endpoints:
            if one["VpcEndpointId"] in given["VpcEndpointIds"]:
                one["State"] = "deleting"
                self._gone[one["VpcEndpointId"]] = self.now + 8
        return {"Unsuccessful": []}

    def _delete_group(self, given: Json) -> Json:
        if self.asked("DeleteSecurityGroup") == [given["GroupId"]]:  # the first time
            raise refusal("DependencyViolation", "Network interfaces still exist.")
        self.groups = [group for group in self.groups if group["GroupId"] != given["GroupId"]]
        return {}


def tags(**values: str) -> list[Json]:
    return [{"Key": key, "Value": value} for key, value in values.items()]


def execution(name: str) -> Json:
    arn = f"{MACHINE.replace('stateMachine', 'execution')}:{name}"
    return {"executionArn": arn, "stateMachineArn": MACHINE, "name": name, "status": "RUNNING", "startDate": 0}


def endpoint(name: str, given: dict[str, str] | None = None, **other: str) -> Json:
    known = {"VpcEndpointId": name, "VpcId": VPC, "VpcEndpointType": "Interface", "State": "available"}
    return known | {"Tags": tags(**(EMR_ENDPOINT if given is None else given))} | other


def group(name: str, **other: str) -> Json:
    return {"GroupId": name, "VpcId": VPC, "GroupName": "GuardDutyManagedSecurityGroup"} | other


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Account:
    account = Account()
    account.aws.answer_in(monkeypatch)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(index, "client", lambda service: boto3.client(service, region_name="eu-west-3"))
    monkeypatch.setattr(index._HTTP, "request", account.put)
    monkeypatch.setattr("time.sleep", account.pause)
    monkeypatch.setattr("time.monotonic", lambda: account.now)
    return account


@pytest.mark.parametrize("request_type", ["Create", "Update"])
def test_creation_and_update_do_nothing(account: Account, request_type: str) -> None:
    event = EVENT | {"RequestType": request_type}
    if request_type == "Create":
        del event["PhysicalResourceId"]
    index.handler(event, account)
    known = {key: EVENT[key] for key in ("StackId", "RequestId", "LogicalResourceId")}
    assert account.answers == [{"Status": "SUCCESS", "Reason": "", "PhysicalResourceId": "BeforeDeletion", **known}]
    assert account.aws.calls == []


def test_a_run_is_stopped_and_its_cluster_ended_before_the_answer(account: Account) -> None:
    account.executions = ["run-1"]
    account.add_cluster(f"{STACK}-run-1")
    assert account.delete() == ""
    assert account.executions == []
    assert account.asked("TerminateJobFlows") == [[f"j-{STACK}-run-1"]]
    assert account.now == 15  # the cluster was seen to end at 10


def test_a_cluster_that_emr_lists_late_is_ended(account: Account) -> None:
    account.executions = ["run-1"]
    account.add_cluster(f"{STACK}-run-1", listed=50)
    assert account.delete() == ""
    assert account.asked("TerminateJobFlows") == [[f"j-{STACK}-run-1"]]


def test_an_execution_that_created_no_cluster_is_given_a_minute(account: Account) -> None:
    account.executions = ["run-1"]
    assert account.delete() == ""
    assert account.now == 65


def test_what_appears_after_the_first_look_is_ended(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    pause = account.pause

    def start_one(seconds: float) -> None:
        pause(seconds)
        monkeypatch.setattr("time.sleep", pause)
        account.executions = ["run-1"]
        account.add_cluster(f"{STACK}-run-1", "STARTING")

    monkeypatch.setattr("time.sleep", start_one)
    assert account.delete() == ""
    assert account.executions == []
    assert account.asked("TerminateJobFlows") == [[f"j-{STACK}-run-1"]]


@pytest.mark.parametrize(
    ("operation", "code"),
    [("ListExecutions", "StateMachineDoesNotExist"), ("StopExecution", "ExecutionDoesNotExist")],
)
def test_what_somebody_has_already_ended_is_no_error(account: Account, operation: str, code: str) -> None:
    def ended(_: Json) -> Json:
        account.executions = []
        raise refusal(code)

    account.executions = ["run-1"]
    account.aws.answers[operation] = ended
    account.add_cluster(f"{STACK}-run-1", "TERMINATING")
    assert account.delete() == ""
    assert account.asked("TerminateJobFlows") == []


def test_clusters_of_other_stacks_live_on(account: Account) -> None:
    account.add_cluster("fruits-prod-run")
    account.add_cluster("fruits-dev-a", stack="fruits-dev-a")
    assert account.delete() == ""
    account.fail("DescribeCluster", "AccessDeniedException")  # the role may not describe them
    index.handler(EVENT, account)
    assert [answer["Reason"] for answer in account.answers] == ["", ""]
    assert account.asked("TerminateJobFlows") == []


def test_ten_clusters_are_terminated_per_call(account: Account) -> None:
    for number in range(12):
        account.add_cluster(f"{STACK}-{number}", "WAITING")
    assert account.delete() == ""
    assert [len(clusters) for clusters in account.asked("TerminateJobFlows")] == [10, 2]


def test_everything_that_others_created_in_this_network_is_deleted(account: Account) -> None:
    account.endpoints = [
        *(endpoint("vpce-1"), endpoint("vpce-2", GUARDDUTY_ENDPOINT), endpoint("vpce-own")),
        *(endpoint("vpce-3", VpcId="vpc-2"), endpoint("vpce-4", VpcEndpointType="Gateway")),
        endpoint("vpce-5", State="deleted"),
    ]
    account.groups = [group("sg-1"), group("sg-own"), group("sg-2", VpcId="vpc-2"), group("sg-3", GroupName="default")]
    assert account.delete() == ""
    assert account.asked("DeleteVpcEndpoints") == [["vpce-1"], ["vpce-2"]]
    assert account.asked("DeleteSecurityGroup") == ["sg-1", "sg-1"]  # EC2 refuses it as long as an endpoint uses it
    assert [one["GroupId"] for one in account.groups] == ["sg-own", "sg-2", "sg-3"]


REFUSED = {"ResourceId": "vpce-1", "Error": {"Code": "OperationNotPermitted", "Message": "Managed by EMR."}}


@pytest.mark.parametrize(
    ("operation", "answer", "what", "why"),
    [
        ("DeleteVpcEndpoints", {"Unsuccessful": [REFUSED]}, "endpoint vpce-1", "Managed by EMR."),
        ("DeleteVpcEndpoints", refusal("UnauthorizedOperation"), "endpoint vpce-1", "An error occurred ("),
        ("DeleteSecurityGroup", refusal("UnauthorizedOperation"), "security group sg-1", "An error occurred ("),
    ],
)
def test_what_cannot_be_deleted_is_named(account: Account, operation: str, answer: Answer, what: str, why: str) -> None:
    account.endpoints, account.groups = [endpoint("vpce-1", {})], [group("sg-1")]
    account.aws.answers[operation] = answer
    assert account.delete().startswith(
        f"EC2 did not delete the {what}; delete it in the VPC console, and destroy the stack again. ({why}"
    )


def test_it_gives_up_before_lambda_ends_it_and_says_what_is_left(account: Account) -> None:
    account.ending_seconds = NEVER
    account.add_cluster(f"{STACK}-run-1")
    assert account.delete() == (
        "Not ended in time: cluster j-fruits-dev-run-1; wait until they have ended, and destroy the stack again."
    )
    assert 770 < account.now < 790


@pytest.mark.parametrize("is_configured", [True, False])
def test_every_error_is_answered(account: Account, monkeypatch: pytest.MonkeyPatch, *, is_configured: bool) -> None:
    account.fail("ListClusters", "AccessDeniedException")
    if not is_configured:
        monkeypatch.delenv("STACK")
    assert account.delete().startswith("The clean-up failed; remove the cause, and destroy the stack again. (")


def test_the_cluster_of_a_run_that_ended_badly_is_terminated(account: Account) -> None:
    for name in ("fruits-dev-run-2", "fruits-devil-run-1", "fruits-dev-run-1"):
        account.add_cluster(name)
    index.handler(AFTER_BAD_END, account)
    assert account.asked("TerminateJobFlows") == [["j-fruits-dev-run-1"]]
    assert account.now == 0


def test_a_cluster_that_emr_lists_two_minutes_after_the_bad_end_is_terminated(account: Account) -> None:
    account.add_cluster(f"{STACK}-run-1", listed=100)
    index.handler(AFTER_BAD_END, account)
    assert account.asked("TerminateJobFlows") == [[f"j-{STACK}-run-1"]]


def test_a_run_without_a_cluster_raises_no_alarm(account: Account) -> None:
    index.handler(CLUSTER_STAYS, account)
    assert len(account.asked("ListClusters")) == 3


@pytest.mark.parametrize("state", ["RUNNING", "TERMINATING"])
def test_a_cluster_that_stays_raises_the_alarm_after_it_is_terminated(account: Account, state: str) -> None:
    account.add_cluster(f"{STACK}-run-1", state)
    with pytest.raises(index.ClusterOutlivedItsRunError, match=f"Terminated j-{STACK}-run-1, which no run used"):
        index.handler(CLUSTER_STAYS, account)
    assert len(account.asked("TerminateJobFlows")) == (state == "RUNNING")


@pytest.mark.parametrize("event", [AFTER_BAD_END, CLUSTER_STAYS], ids=["event", "state machine"])
def test_a_cluster_that_cannot_be_terminated_fails_the_function_which_lambda_runs_again(
    account: Account, event: Json
) -> None:
    account.add_cluster(f"{STACK}-run-1")
    account.fail("TerminateJobFlows", "InternalServerException")
    with pytest.raises(ClientError, match="InternalServerException"):
        index.handler(event, account)


def test_every_hour_it_ends_clusters_older_than_the_longest_run_and_raises_the_alarm(account: Account) -> None:
    account.add_cluster(f"{STACK}-young", hours=LONGEST_HOURS - 0.1)
    account.add_cluster(f"{STACK}-old", hours=LONGEST_HOURS + 0.1)
    account.add_cluster("fruits-devil-old", hours=LONGEST_HOURS + 0.1)
    with pytest.raises(index.ClusterOutlivedItsRunError, match=f"Terminated j-{STACK}-old, which"):
        index.handler(EVERY_HOUR, account)
    assert account.asked("TerminateJobFlows") == [[f"j-{STACK}-old"]]


@pytest.mark.parametrize("needed_by", ["nobody", "execution", "cluster"])
def test_every_hour_it_deletes_the_endpoints_of_emr_that_no_run_needs(account: Account, needed_by: str) -> None:
    account.endpoints = [endpoint("vpce-1"), endpoint("vpce-2", GUARDDUTY_ENDPOINT), endpoint("vpce-own")]
    account.executions = ["run-1"] if needed_by == "execution" else []
    if needed_by == "cluster":
        account.add_cluster(f"{STACK}-run-1", "TERMINATING")
    index.handler(EVERY_HOUR, account)
    assert account.asked("DeleteVpcEndpoints") == ([["vpce-1"]] if needed_by == "nobody" else [])
