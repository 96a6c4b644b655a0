"""AWS as recorded answers, which botocore holds against the forms that AWS documents."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError
from botocore.validate import validate_parameters

from cdk_app.emr_cluster import RELEASE

ACCOUNT = "123456789012"
TOPIC = f"arn:aws:sns:eu-west-3:{ACCOUNT}:fruits-dev-WatchTopic5D8E"
EMAIL = "someone@example.org"
PARAMETER = "/cdk-bootstrap/hnb659fds/version"

Json = dict[str, Any]
Answer = Json | list[Json] | Exception | Callable[[Json], Json]


def refusal(code: str, message: str = "User is not authorized to perform this.") -> ClientError:
    """Return the error of a request that AWS refuses."""
    return ClientError({"Error": {"Code": code, "Message": message}}, "Request")


@dataclass
class Aws:
    """Answers to the requests of boto3, by operation. A list holds the answers to successive requests."""

    answers: dict[str, Answer]
    calls: list[tuple[str, str, Json]] = field(default_factory=list)

    def answer_in(self, patch: pytest.MonkeyPatch) -> None:
        """Let all clients of boto3 get their answers here."""

        def request(client: Any, operation: str, given: Json) -> Json:
            return self._answer(client, operation, given)

        patch.setattr(BaseClient, "_make_api_call", request)

    def _answer(self, client: Any, operation: str, given: Json) -> Json:
        self.calls.append((operation, client.meta.region_name, dict(given)))
        model = client.meta.service_model.operation_model(operation)
        validate_parameters(given, model.input_shape)
        answer = self.answers[operation]
        if isinstance(answer, list):
            answer = answer.pop(0)
        try:
            if isinstance(answer, Exception):
                raise answer
            found = answer(given) if callable(answer) else answer
        except ClientError as error:  # boto3 has classes for some codes
            raise client.exceptions.from_code(error.response["Error"]["Code"])(error.response, operation) from None
        if model.output_shape:
            validate_parameters(found, model.output_shape)
        return found

    def asked(self, operation: str) -> list[Json]:
        """Return the parameters of all requests of an operation."""
        return [given for name, _, given in self.calls if name == operation]


def region(status: str) -> Callable[[Json], Json]:
    """Answer with the only region of the question."""
    return lambda given: {"Regions": [{"RegionName": name, "OptInStatus": status} for name in given["RegionNames"]]}


def quotas(**values: float) -> Callable[[Json], Json]:
    """Answer with quotas. The names are those of `CODES`."""
    codes = {"L-1216C47A": "on_demand", "L-34B43A08": "spot", "L-F678F1CE": "vpcs", "L-1B52E74A": "endpoints"}
    known = {"on_demand": 64.0, "spot": 64.0, "vpcs": 5.0, "endpoints": 20.0} | values

    def answer(params: Json) -> Json:
        assert params["ServiceCode"] == ("ec2" if codes[params["QuotaCode"]] in ("on_demand", "spot") else "vpc")
        return {"Quota": {**params, "Value": known[codes[params["QuotaCode"]]], "Unit": "None", "Adjustable": True}}

    return answer


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


NO_STACK = refusal("ValidationError", "Stack with id fruits-dev does not exist")


def healthy(**changes: Answer) -> Aws:
    """Return an account where everything is right and the stack is deployed, except for the changes."""
    answers: dict[str, Answer] = {
        "GetCallerIdentity": {"UserId": "AIDA", "Account": ACCOUNT, "Arn": f"arn:aws:iam::{ACCOUNT}:user/someone"},
        "DescribeRegions": region("opt-in-not-required"),
        "GetParameter": {"Parameter": {"Name": PARAMETER, "Type": "String", "Value": "30", "Version": 1}},
        "ListReleaseLabels": {"ReleaseLabels": [RELEASE, "emr-7.13.0"]},
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
