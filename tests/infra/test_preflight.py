"""What `make check-account` says about accounts in every state, with recorded answers of AWS."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from botocore.exceptions import EndpointConnectionError

from cdk_app import command_line
from cdk_app.bundle import ROOT
from cdk_app.emr_cluster import RELEASE
from cdk_app.preflight.__main__ import CHECKS, main
from cdk_app.preflight.checks import DEFAULT_QUALIFIER, MINIMUM_BOOTSTRAP_VERSION
from tests.infra.recorded_aws import (
    ACCOUNT,
    EMAIL,
    NO_STACK,
    PARAMETER,
    TOPIC,
    Answer,
    Aws,
    Json,
    healthy,
    offered,
    quotas,
    refusal,
    region,
    resources,
    subscribed,
    things,
)
from tests.infra.template import Synthesised


@dataclass(frozen=True)
class Report:
    """What the command printed, by check: the mark, the sentence, the remedy."""

    code: int
    text: str
    lines: Mapping[str, tuple[str, str, str]]

    @property
    def marks(self) -> str:
        return "".join(mark for mark, _, _ in self.lines.values())


Run = Callable[..., Report]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """A function that runs the command for an account with some settings."""

    def run(aws: Aws, *settings: str) -> Report:
        aws.answer_in(monkeypatch)
        code = main([word for setting in settings for word in ("-c", setting)])
        return read(code, capsys.readouterr().out)

    return run


def read(code: int, text: str) -> Report:
    found = re.findall(r"^([✓✗!?]) (.{15})  (.+)(?:\n {19}\$ (.+))?", text, re.MULTILINE)
    return Report(code, text, {name.strip(): (mark, said, remedy) for mark, name, said, remedy in found})


def test_in_a_healthy_account_every_check_is_fine_and_only_questions_are_asked_in_europe(run: Run) -> None:
    """Only the plan of an account has no answer in Europe. The question tells AWS nothing but the account."""
    aws = healthy()
    report = run(aws, f"email={EMAIL}", "spot_nodes=2", "monthly_budget=20")
    assert report.code == 0
    assert list(report.lines) == list(CHECKS)
    assert report.marks == "✓" * len(CHECKS)
    assert report.text.splitlines()[-1] == "Nothing that was checked stands in the way of a deployment."
    assert report.lines["credentials"] == ("✓", f"Account {ACCOUNT}, as user/someone.", "")
    assert all(re.match("Describe|Get|List", operation) for operation, _, _ in aws.calls)
    assert {(operation, region) for operation, region, _ in aws.calls if region != "eu-west-3"} == {
        ("GetCallerIdentity", "eu-west-1"),
        ("DescribeRegions", "eu-west-1"),
        ("GetAccountPlanState", "us-east-1"),
    }


def detector(status: str) -> Json:
    features = [{"Name": "FLOW_LOGS", "Status": "ENABLED"}, {"Name": "RUNTIME_MONITORING", "Status": status}]
    return {"ServiceRole": "role", "Status": "ENABLED", "Features": features}


FRESH = f"""\
✓ credentials      Account {ACCOUNT}, as user/someone.
✓ region           eu-west-3 (Paris) is enabled.
✗ account plan     The account is on the Free plan, in which EC2 does not start the instance types of the cluster. On \
the Paid plan, AWS charges what the credits do not cover.
                   $ aws freetier upgrade-account-plan --account-plan-type PAID --region us-east-1
✗ CDK bootstrap    CDK has no bootstrap stack in eu-west-3.
                   $ npx cdk bootstrap aws://{ACCOUNT}/eu-west-3
✓ EMR release      EMR offers {RELEASE}.
✓ instance types   m7g.xlarge in 3 zones, m6g.xlarge in 3 zones.
✗ on-demand vCPU   A run needs 12 vCPU (3 nodes of 4); the quota is 5, so EMR could not start the cluster.
                   $ aws service-quotas request-service-quota-increase --service-code ec2 --quota-code L-1216C47A \
--desired-value 12 --region eu-west-3
✓ spot vCPU        A run needs none, because spot_nodes is 0.
✓ VPC              1 of 5 VPCs are in use; the stack needs one.
✓ S3 endpoint      0 of 20 gateway endpoints are in use; the stack needs one.
! disk encryption  The disks of the nodes, which hold features of photos while a run lasts, are not encrypted. The \
remedy encrypts new disks of the whole account in this region.
                   $ aws ec2 enable-ebs-encryption-by-default --region eu-west-3
✓ GuardDuty        Runtime Monitoring is off.
✓ e-mail           {EMAIL} gets a message to confirm once the stack is deployed.
! budget           No budget is set, so AWS tells nobody when the costs rise. Deploy with -c monthly_budget=20.

A deployment or its first run would fail: 3 problems (2 warnings).
"""


def test_in_a_fresh_account_the_command_names_every_remedy(run: Run) -> None:
    aws = healthy(
        GetParameter=refusal("ParameterNotFound"),
        GetServiceQuota=quotas(on_demand=5.0),
        DescribeVpcs={"Vpcs": things(1)},
        DescribeVpcEndpoints={"VpcEndpoints": []},
        GetEbsEncryptionByDefault={"EbsEncryptionByDefault": False},
        ListStackResources=NO_STACK,
        GetAccountPlanState={"accountId": ACCOUNT, "accountPlanType": "FREE", "accountPlanStatus": "ACTIVE"},
    )
    report = run(aws, f"email={EMAIL}")
    assert report.text == FRESH
    assert report.code == 1


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Take all credentials away."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.mark.usefixtures("nobody")
@pytest.mark.parametrize(("profile", "sentence"), [("", "Unable to locate"), ("nope", r"The config profile \(nope\)")])
def test_without_credentials_the_other_checks_are_skipped(
    profile: str, sentence: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if profile:
        monkeypatch.setenv("AWS_PROFILE", profile)
    report = read(main([]), capsys.readouterr().out)
    assert (report.code, report.marks) == (1, "✗")
    assert re.match(f"{sentence}.* Sign in, or set AWS_PROFILE", report.lines["credentials"][1])
    assert report.text.splitlines()[2] == "- The other 13 checks are skipped, because AWS would not answer them."


@pytest.mark.parametrize(
    ("answer", "sentence", "remedy"),
    [
        (refusal("ExpiredToken", "The token expired."), "The token expired. Sign in", "aws sso login"),
        (refusal("InvalidClientTokenId", "It is invalid."), "It is invalid. Sign in", "aws configure"),
        (
            EndpointConnectionError(endpoint_url="https://sts"),
            "Could not connect .*check the network and the proxy",
            "",
        ),
    ],
)
def test_credentials_that_do_not_work_end_the_checks(run: Run, answer: Answer, sentence: str, remedy: str) -> None:
    report = run(healthy(GetCallerIdentity=answer))
    assert (report.code, report.marks, report.lines["credentials"][2]) == (1, "✗", remedy)
    assert re.search(sentence, report.lines["credentials"][1])


@pytest.mark.parametrize(
    ("answers", "names"),
    [
        ({"DescribeRegions": refusal("UnauthorizedOperation")}, "region"),
        ({"GetServiceQuota": refusal("AccessDenied")}, "on-demand vCPU, spot vCPU, VPC, S3 endpoint"),
        ({"GetAccountPlanState": refusal("InternalServerException", "Try  again\nlater")}, "account plan"),
        ({"ListStackResources": refusal("AccessDenied")}, "e-mail"),
        ({"ListSubscriptionsByTopic": refusal("AuthorizationError")}, "e-mail"),
        ({"ListReleaseLabels": EndpointConnectionError(endpoint_url="https://emr.eu-west-3")}, "EMR release"),
        ({"GetParameter": {"Parameter": {"Value": "latest"}}}, "CDK bootstrap"),
        ({"GetEbsEncryptionByDefault": {}}, "disk encryption"),
        ({"DescribeRegions": {"Regions": []}}, "region"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_a_question_without_an_answer_is_one_line_and_no_failure(
    run: Run, answers: dict[str, Answer], names: str
) -> None:
    report = run(healthy(**answers), f"email={EMAIL}", "spot_nodes=1", "monthly_budget=20")
    unknown = {name: said for name, (mark, said, _) in report.lines.items() if mark == "?"}
    assert ", ".join(unknown) == names
    assert all(said.startswith("Could not check. ") for said in unknown.values())
    assert (report.code, report.marks.count("✓")) == (0, len(CHECKS) - len(unknown))
    assert f"({len(unknown)} could not be checked)." in report.text


def test_a_missing_permission_is_named(run: Run) -> None:
    message = "User: user/someone is not authorized to perform: servicequotas:GetServiceQuota"
    report = run(healthy(GetServiceQuota=refusal("AccessDeniedException", message)))
    assert report.lines["VPC"][1] == (
        "Could not check. An error occurred (AccessDeniedException) when calling the GetServiceQuota operation: "
        f"{message}."
    )


_NODES = "A run needs 12 vCPU (3 nodes of 4); the quota is"
_SPOT = "The spot nodes need 40 vCPU (10 nodes of 4); the quota is"
_MORE_SPOT = "--quota-code L-34B43A08 --desired-value 40 --region eu-west-3"
_DEFAULT = {"GetServiceQuota": refusal("NoSuchResourceException"), "GetAWSDefaultServiceQuota": quotas(on_demand=5)}
_SUBSCRIBE = f"--topic-arn {TOPIC} --protocol email --notification-endpoint {EMAIL} --region eu-west-3"
_KEY = f"arn:aws:kms:eu-west-3:{ACCOUNT}:key/1234abcd"


def _quota(**values: float) -> dict[str, Answer]:
    return {"GetServiceQuota": quotas(**values)}


_FULL: dict[str, Answer] = {
    "GetServiceQuota": quotas(vpcs=5, endpoints=1),
    "DescribeVpcs": {"Vpcs": things(5)},
}


def _plan(kind: str) -> dict[str, Answer]:
    return {"GetAccountPlanState": {"accountId": ACCOUNT, "accountPlanType": kind, "accountPlanStatus": "ACTIVE"}}


def _subscription(answer: Answer) -> dict[str, Answer]:
    return {"ListSubscriptionsByTopic": answer}


def _monitoring(status: str) -> dict[str, Answer]:
    return {"ListDetectors": {"DetectorIds": ["d-1"]}, "GetDetector": detector(status)}


@pytest.mark.parametrize(
    ("check", "answers", "settings", "mark", "sentence", "remedy"),
    [
        ("region", {"DescribeRegions": region("opted-in")}, "region=eu-south-1", "✓",
         "eu-south-1 (Milan) is enabled.", ""),
        ("CDK bootstrap", {"GetParameter": {"Parameter": {"Value": "5"}}}, "", "✗",
         "The bootstrap stack has version 5; this app needs 6 or later.", f"npx cdk bootstrap aws://{ACCOUNT}/eu-west-3"),
        ("instance types", {"DescribeInstanceTypeOfferings": offered(m7g="b")}, "", "!",
         "m7g.xlarge in 1 zone, m6g.xlarge in 0 zones. That is enough for a run.", ""),
        ("instance types", {"DescribeInstanceTypeOfferings": offered()}, "", "✗",
         "m7g.xlarge in 0 zones, m6g.xlarge in 0 zones. Choose another architecture or region, and check again.",
         "make check-account C='-c region=eu-west-3 -c architecture=x86_64'"),
        ("instance types", {"DescribeInstanceTypeOfferings": offered(m7i="ab", m5="c")}, "architecture=x86_64", "✓",
         "m7i.xlarge in 2 zones, m5.xlarge in 1 zone.", ""),
        ("EMR release", {"ListReleaseLabels": {"ReleaseLabels": ["emr-7.9.0", "emr-7.13.0", "emr-7.2.0"]}}, "", "✗",
         f"EMR does not offer {RELEASE} in eu-west-3 (newest of this series: emr-7.13.0).",
         "aws emr list-release-labels --region eu-west-3"),
        ("VPC", _FULL | {"ListStackResources": NO_STACK}, "", "✗",
         "5 of 5 VPCs are in use, and the stack needs one more. Delete one, or ask for more.",
         "--service-code vpc --quota-code L-F678F1CE --desired-value 6 --region eu-west-3"),
        ("VPC", _FULL | {"ListStackResources": resources("AWS::EC2::VPC", status="DELETE_COMPLETE")}, "", "✗", "5", ""),
        ("VPC", _FULL, "stage=prod", "✓", "5 of 5 VPCs are in use; the stack fruits-prod has its own already.", ""),
        ("S3 endpoint", _FULL | {"ListStackResources": NO_STACK}, "", "✗", "1 of 1 gateway endpoints are in use, and ",
         "--service-code vpc --quota-code L-1B52E74A --desired-value 2 --region eu-west-3"),
        ("on-demand vCPU", _quota(on_demand=12), "", "✓", f"{_NODES} 12 for all instances of the account.", ""),
        ("on-demand vCPU", _quota(on_demand=11), "", "✗", f"{_NODES} 11, so EMR could not start the cluster.", ""),
        ("on-demand vCPU", _quota(on_demand=20), "stage=prod", "✓", "A run needs 20 vCPU (5 nodes of 4); ", ""),
        ("on-demand vCPU", _quota(on_demand=32), "core_nodes=9", "✗", "A run needs 40 vCPU (10 nodes of 4); ", ""),
        ("on-demand vCPU", _DEFAULT, "", "✗", f"{_NODES} 5, ", ""),
        ("VPC", _DEFAULT, "", "✓", "2 of 5 VPCs are in use; the stack needs one.", ""),
        ("spot vCPU", _quota(spot=40, on_demand=12), "spot_nodes=10", "✓", f"{_SPOT} 40 for all spot instances", ""),
        ("spot vCPU", _quota(spot=39, on_demand=52), "spot_nodes=10", "!",
         f"{_SPOT} 39, so EMR starts on-demand nodes instead, which cost more.", _MORE_SPOT),
        ("spot vCPU", _quota(spot=5, on_demand=51), "spot_nodes=10", "✗",
         f"{_SPOT} 5. EMR starts on-demand nodes instead, but their quota of 51 is below 52.", _MORE_SPOT),
        ("disk encryption", {}, "", "✓", "The account encrypts new disks with AWS's key.", ""),
        ("disk encryption", {"GetEbsDefaultKmsKeyId": {"KmsKeyId": f"{_KEY.partition(':key')[0]}:alias/aws/ebs"}}, "",
         "✓", "The account encrypts new disks with AWS's key.", ""),
        ("disk encryption", {"GetEbsDefaultKmsKeyId": {"KmsKeyId": _KEY}}, "", "!",
         f"The account encrypts new disks with {_KEY}. If this is a customer managed key, nodes start only if ", ""),
        ("disk encryption", {}, "disk_key=own", "✓", "A key of the stack encrypts the disks", ""),
        ("account plan", _plan("PAID"), "", "✓", "The account is on the Paid plan.", ""),
        ("account plan", _plan("FREE"), "", "✗", "The account is on the Free plan", "upgrade-account-plan"),
        ("account plan", {"GetAccountPlanState": refusal("ResourceNotFoundException")}, "", "✓",
         "The account has no plan, so AWS does not limit what it may start.", ""),
        ("GuardDuty", _monitoring("ENABLED"), "", "✓", "Runtime Monitoring is on, so GuardDuty may create an endp", ""),
        ("GuardDuty", _monitoring("DISABLED"), "", "✓", "Runtime Monitoring is off.", ""),
        ("e-mail", {}, f"email={EMAIL}", "✓", f"{EMAIL} is confirmed.", ""),
        ("e-mail", {"ListStackResources": NO_STACK}, f"email={EMAIL}", "✓", f"{EMAIL} gets a message to confirm", ""),
        ("e-mail", _subscription({"Subscriptions": []}), f"email={EMAIL}", "!", "The stack was deployed without", ""),
        ("e-mail", _subscription(subscribed("PendingConfirmation")), f"email={EMAIL}", "!",
         f"{EMAIL} is not confirmed, so AWS", _SUBSCRIBE),
        ("e-mail", _subscription(subscribed("Deleted")), f"email={EMAIL}", "!", f"{EMAIL} is not confirmed", ""),
    ],
)  # fmt: skip
def test_a_check_says_what_it_found_and_what_to_do(
    run: Run, *, check: str, answers: dict[str, Answer], settings: str, mark: str, sentence: str, remedy: str
) -> None:
    report = run(healthy(**answers), *filter(None, [settings]))
    found, said, command = report.lines[check]
    assert (found, said[: len(sentence)]) == (mark, sentence)
    assert remedy in command
    assert report.code == ("✗" in report.marks)


def test_a_region_that_is_not_enabled_ends_the_checks(run: Run) -> None:
    report = run(healthy(DescribeRegions=region("not-opted-in")), "region=eu-south-1")
    mark, said, remedy = report.lines["region"]
    assert (report.code, report.marks, mark) == (1, "✓✗", "✗")
    assert said.startswith("eu-south-1 (Milan) is not enabled in this account.")
    assert remedy == "aws account enable-region --region-name eu-south-1"
    assert "- The other 12 checks are skipped" in report.text


def test_the_settings_and_the_qualifier_of_cdk_json_count(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "cdk.json"
    context = {"@aws-cdk/core:bootstrapQualifier": "fruit", "core_nodes": 20, "stage": "prod"}
    file.write_text(json.dumps({"context": context}))
    monkeypatch.setattr(command_line, "_CDK_JSON", file)
    aws = healthy(GetParameter=refusal("ParameterNotFound"))
    report = run(aws, "core_nodes=3")
    assert "(4 nodes of 4)" in report.lines["on-demand vCPU"][1]
    assert aws.asked("GetParameter") == [{"Name": "/cdk-bootstrap/fruit/version"}]
    _, _, remedy = report.lines["CDK bootstrap"]
    assert remedy.endswith("eu-west-3 --qualifier fruit --toolkit-stack-name CDKToolkit-fruit")
    file.write_text("{")
    assert main([]) == 2


def test_the_template_requires_the_same_bootstrap_stack(dev: Synthesised) -> None:
    too_old = [str(version) for version in range(1, MINIMUM_BOOTSTRAP_VERSION)]
    (rule,) = dev.template["Rules"]["CheckBootstrapVersion"]["Assertions"]
    assert rule["Assert"] == {"Fn::Not": [{"Fn::Contains": [too_old, {"Ref": "BootstrapVersion"}]}]}
    assert dev.template["Parameters"]["BootstrapVersion"]["Default"] == PARAMETER
    assert DEFAULT_QUALIFIER in PARAMETER


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["-c", "core_node=3"], 'fruits: Unknown setting "core_node". Did you mean core_nodes?'),
        (["-c", "core_nodes=many"], "fruits: core_nodes is 'many'; give a whole number."),
        (["--context", "region=us-east-1"], "fruits: region is 'us-east-1'; photos stay in the European Union: give"),
        (["-c", "core_nodes"], 'fruits: The setting "core_nodes" has no value; write it as -c name=value.'),
        (["-c"], "fruits: argument -c/--context: expected one argument; give settings as -c name=value."),
        (["now"], "fruits: unrecognized arguments: now; give settings as -c name=value."),
    ],
)
def test_wrong_use_is_one_sentence(arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code: object = main(arguments)
    except SystemExit as leaving:
        code = leaving.code
    captured = capsys.readouterr()
    assert (code, captured.out, len(captured.err.splitlines())) == (2, "", 1)
    assert captured.err.startswith(sentence)


@pytest.mark.usefixtures("nobody")
def test_the_module_is_a_command_in_any_locale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    command = [sys.executable, "-m", "cdk_app.preflight", "-c", "stage=prod"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 1
    assert done.stdout.startswith("✗ credentials")
    assert "Traceback" not in done.stderr
