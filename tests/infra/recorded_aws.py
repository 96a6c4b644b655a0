"""AWS as recorded answers, which botocore holds against the forms that AWS documents."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import boto3
from botocore.stub import Stubber

from cdk_app.emr_cluster import RELEASE

ACCOUNT = "123456789012"
TOPIC = f"arn:aws:sns:eu-west-3:{ACCOUNT}:fruits-dev-WatchTopic5D8E"
EMAIL = "someone@example.org"
PARAMETER = "/cdk-bootstrap/hnb659fds/version"

Json = dict[str, Any]


@dataclass(frozen=True)
class Refusal:
    """An answer that is an error."""

    code: str
    message: str = "User is not authorized to perform this."


Answer = Json | list[Json] | Refusal | Exception | Callable[[Json], "Json | Refusal"]


@dataclass
class Aws:
    """Clients that give recorded answers, by operation. A list holds the answers to successive requests."""

    answers: dict[str, Answer]
    calls: list[tuple[str, str, Json]] = field(default_factory=list)

    def client(self, service: str, region: str) -> Any:
        """Return a client of boto3 whose requests are answered here."""
        client = boto3.client(service, region_name=region, aws_access_key_id="a", aws_secret_access_key="b")
        stubber = Stubber(client)
        stubber.activate()

        def answer(params: Json, model: Any, **_: object) -> None:
            self.calls.append((f"{model.service_model.signing_name}:{model.name}", region, dict(params)))
            given = self.answers[model.name]
            if isinstance(given, list):
                given = given.pop(0)
            if callable(given):
                given = given(params)
            if isinstance(given, Exception):
                raise given
            method = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", model.name).replace("AWSD", "AWS_D").lower()
            if isinstance(given, Refusal):
                stubber.add_client_error(method, given.code, given.message)
            else:
                stubber.add_response(method, given)

        client.meta.events.register_first(f"provide-client-params.{service}.*", answer)
        return client

    def asked(self, permission: str) -> list[Json]:
        """Return the parameters of all requests that need a permission."""
        return [params for name, _, params in self.calls if name == permission]


def quotas(**values: float) -> Callable[[Json], Json]:
    """Answer with quotas. The names are those of `CODES`."""
    codes = {"L-1216C47A": "on_demand", "L-34B43A08": "spot", "L-F678F1CE": "vpcs", "L-1B52E74A": "endpoints"}
    known = {"on_demand": 64.0, "spot": 64.0, "vpcs": 5.0, "endpoints": 20.0} | values

    def answer(params: Json) -> Json:
        assert params["ServiceCode"] == ("ec2" if codes[params["QuotaCode"]] in ("on_demand", "spot") else "vpc")
        return {"Quota": {**params, "Value": known[codes[params["QuotaCode"]]], "Unit": "None", "Adjustable": True}}

    return answer


def supported(*names: str) -> Json:
    return {"SupportedInstanceTypes": [{"Type": name, "VCPU": 4, "Architecture": "AARCH64"} for name in names]}


def offered(**zones: str) -> Json:
    return {
        "InstanceTypeOfferings": [
            {"InstanceType": f"{name}.xlarge", "LocationType": "availability-zone", "Location": f"eu-west-3{letter}"}
            for name, letters in zones.items()
            for letter in letters
        ]
    }


def things(count: int) -> list[Json]:
    return [{"VpcId": f"vpc-{number:017x}"} for number in range(count)]


def resources(*kinds: str, status: str = "CREATE_COMPLETE") -> Json:
    names = {"AWS::SNS::Topic": TOPIC}
    return {
        "StackResourceSummaries": [
            {
                "LogicalResourceId": kind.replace(":", ""),
                "PhysicalResourceId": names.get(kind, "name-of-it"),
                "ResourceType": kind,
                "LastUpdatedTimestamp": "2026-11-24T12:00:00Z",
                "ResourceStatus": status,
            }
            for kind in kinds
        ]
    }


def subscribed(arn: str) -> Json:
    return {
        "Subscriptions": [
            {"SubscriptionArn": arn, "Owner": ACCOUNT, "Protocol": "email", "Endpoint": EMAIL, "TopicArn": TOPIC}
        ]
    }


NO_STACK = Refusal("ValidationError", "Stack with id fruits-dev does not exist")


def healthy(**changes: Answer) -> Aws:
    """Return an account where everything is right and the stack is deployed, except for the changes."""
    regions = {"eu-west-1": "opt-in-not-required", "eu-west-3": "opt-in-not-required", "eu-south-1": "opted-in"}
    answers: dict[str, Answer] = {
        "GetCallerIdentity": {"UserId": "AIDA", "Account": ACCOUNT, "Arn": f"arn:aws:iam::{ACCOUNT}:user/someone"},
        "DescribeRegions": {
            "Regions": [
                {"RegionName": name, "OptInStatus": status, "Endpoint": f"ec2.{name}.amazonaws.com"}
                for name, status in regions.items()
            ]
        },
        "GetParameter": {"Parameter": {"Name": PARAMETER, "Type": "String", "Value": "30", "Version": 1}},
        "ListReleaseLabels": {"ReleaseLabels": [RELEASE, "emr-7.13.0"]},
        "ListSupportedInstanceTypes": supported("m5.xlarge", "m6g.xlarge", "m7g.xlarge", "m7i.xlarge"),
        "DescribeInstanceTypeOfferings": offered(m7g="abc", m6g="abc"),
        "GetServiceQuota": quotas(),
        "DescribeVpcs": {"Vpcs": things(2)},
        "DescribeVpcEndpoints": {"VpcEndpoints": things(1)},
        "GetEbsEncryptionByDefault": {"EbsEncryptionByDefault": True},
        "GetEbsDefaultKmsKeyId": {"KmsKeyId": "alias/aws/ebs"},
        "GetAccountPlanState": {"accountId": ACCOUNT, "accountPlanType": "PAID", "accountPlanStatus": "ACTIVE"},
        "ListDetectors": {"DetectorIds": []},
        "ListStackResources": resources("AWS::EC2::VPC", "AWS::EC2::VPCEndpoint", "AWS::SNS::Topic"),
        "ListSubscriptionsByTopic": subscribed(f"{TOPIC}:1234"),
    }
    return Aws(answers | changes)
