"""An AWS account: clients of boto3 that give up soon, and errors in one sentence."""

from collections.abc import Callable
from functools import cache
from typing import Any

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

#: A region of Europe that every account has. It answers who is asking and which other regions are enabled.
ALWAYS_ENABLED = "eu-west-1"
#: What boto3 raises if AWS does not answer a request, or refuses it.
AWS_ERRORS = (BotoCoreError, ClientError)

Client = Callable[..., Any]


def clients(region: str, attempts: int = 3) -> Client:
    """Return a function that returns the client of a service: ``client("ec2")``, or ``client("ec2", other_region)``."""

    @cache
    def session() -> boto3.Session:  # only one, because it may ask for a second factor
        core = botocore.session.get_session()
        retries = {"mode": "standard", "total_max_attempts": attempts}
        core.set_default_client_config(Config(connect_timeout=5, read_timeout=30, retries=retries))
        return boto3.Session(botocore_session=core)

    @cache
    def client(service: str, region: str = region) -> Any:
        return session().client(service, region_name=region)

    return client


def pages(client: Any, operation: str, key: str, **parameters: object) -> list[Any]:
    """Return the items of all pages of a list. `key` names the list in an answer."""
    return [item for page in client.get_paginator(operation).paginate(**parameters) for item in page[key]]


def code(error: BotoCoreError | ClientError) -> str:
    """Return the code that AWS gave an error, or the name of an error of boto3 itself."""
    return error.response["Error"]["Code"] if isinstance(error, ClientError) else type(error).__name__


def sentence(error: BotoCoreError | ClientError) -> str:
    """Return what boto3 says about an error, in one line. It names the operation and, if AWS does, the permission."""
    return f"{' '.join(str(error).split()).rstrip('.: ')}."


def resources(client: Client, stack: str, kind: str) -> list[str]:
    """Return the names of a stack's resources of one CloudFormation type. There are none without the stack."""
    try:
        found = pages(client("cloudformation"), "list_stack_resources", "StackResourceSummaries", StackName=stack)
    except ClientError as error:
        if code(error) == "ValidationError":  # the stack does not exist
            return []
        raise
    return [
        resource["PhysicalResourceId"]
        for resource in found
        if resource["ResourceType"] == kind and resource["ResourceStatus"] != "DELETE_COMPLETE"
    ]
