"""An AWS account: requests to it, and errors in one sentence."""

from collections.abc import Callable
from functools import cache, cached_property
from typing import Any

import boto3
from botocore import xform_name
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as BotoConnectionError

#: A region of Europe that every account has. It answers who is asking and which other regions are enabled.
ALWAYS_ENABLED = "eu-west-1"

_CONFIG = Config(connect_timeout=5, read_timeout=30, retries={"mode": "standard", "total_max_attempts": 3})
_DENIED = {"AccessDenied", "AccessDeniedException", "AuthorizationError", "UnauthorizedOperation"}
_TOKENS = ("NextToken", "nextToken", "Marker")  # a long answer has one of them, and the next request repeats it

#: The code of an error that means that the request had no answer.
UNREACHABLE = "Unreachable"

Client = Callable[[str, str], Any]


class AwsError(Exception):
    """AWS did not answer a question. The message is one sentence.

    Parameters
    ----------
    message
        What is wrong.
    code
        The code of AWS, such as ``ParameterNotFound``; `UNREACHABLE`; or the name of an exception of botocore.
    """

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class Account:
    """An account, used in one region.

    Parameters
    ----------
    region
        The region of all requests that name no other.
    client
        Returns the client of boto3 for a service and a region. By default it uses the credentials of the environment.
    """

    def __init__(self, region: str, client: Client | None = None) -> None:
        self.region = region
        self._client = client or _clients()

    @cached_property
    def identity(self) -> dict[str, str]:
        """Who is asking: ``Account`` and ``Arn``."""
        return self.ask("sts", "GetCallerIdentity", region=ALWAYS_ENABLED)

    def ask(self, service: str, operation: str, *, region: str = "", **parameters: object) -> dict[str, Any]:
        """Return the answer to one request.

        Parameters
        ----------
        service, operation
            The request, by boto3's name of the service and AWS's name of the operation.
        region
            Another region than the default.
        **parameters
            The parameters of the operation.

        Raises
        ------
        AwsError
            If AWS refuses the request or cannot be reached.
        """
        permission = operation
        try:
            client = self._client(service, region or self.region)
            permission = f"{client.meta.service_model.signing_name}:{operation}"
            answer: dict[str, Any] = getattr(client, xform_name(operation))(**parameters)
        except ClientError as error:
            raise _explained(error, permission) from error
        except BotoCoreError as error:
            unreachable = isinstance(error, BotoConnectionError | HTTPClientError)
            raise AwsError(_sentence(str(error)), UNREACHABLE if unreachable else type(error).__name__) from error
        return answer

    def listed(
        self, service: str, operation: str, key: str, *, region: str = "", **parameters: object
    ) -> list[dict[str, Any]]:
        """Return all items of a list that may have several pages. `key` names the list in the answer."""
        items: list[dict[str, Any]] = []
        token: dict[str, object] = {}
        while True:
            answer = self.ask(service, operation, region=region, **parameters, **token)
            items += answer.get(key, [])
            token = {name: answer[name] for name in _TOKENS if answer.get(name)}
            if not token:
                return items

    def quota(self, service: str, code: str) -> int:
        """Return the value of a service quota. AWS gives its default value if the account never had its own."""
        which = {"ServiceCode": service, "QuotaCode": code}
        try:
            answer = self.ask("service-quotas", "GetServiceQuota", **which)
        except AwsError as error:
            if error.code != "NoSuchResourceException":
                raise
            answer = self.ask("service-quotas", "GetAWSDefaultServiceQuota", **which)
        return int(answer["Quota"]["Value"])

    def resources(self, stack: str, kind: str) -> list[str]:
        """Return the names of a stack's resources of one CloudFormation type. There are none without the stack."""
        try:
            found = self.listed("cloudformation", "ListStackResources", "StackResourceSummaries", StackName=stack)
        except AwsError as error:
            if error.code == "ValidationError":  # the stack does not exist
                return []
            raise
        return [
            resource["PhysicalResourceId"]
            for resource in found
            if resource["ResourceType"] == kind
            and resource.get("PhysicalResourceId")
            and resource["ResourceStatus"] != "DELETE_COMPLETE"
        ]


def _clients() -> Client:
    """Return a function that creates each client once."""

    @cache
    def client(service: str, region: str) -> Any:
        return boto3.Session().client(service, region_name=region, config=_CONFIG)

    return client


def _explained(error: ClientError, permission: str) -> AwsError:
    code = str(error.response.get("Error", {}).get("Code", ""))
    if code in _DENIED:
        return AwsError(f"The permission {permission} is missing.", code)
    message = error.response.get("Error", {}).get("Message", "")
    return AwsError(_sentence(f"AWS answers {permission} with {code}: {message}"), code)


def _sentence(text: str) -> str:
    return f"{' '.join(text.split()).rstrip('.: ')}."
