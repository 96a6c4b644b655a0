"""Lets services assume roles according to their trust policies. The emulator checks what the sessions may do."""

import os
import threading
import time
from typing import Any

import boto3
from botocore.config import Config
from ministack.core import iam_evaluator
from ministack.core.responses import get_account_id, get_region
from ministack.services import iam, sts

#: The keys of the account itself, which the emulator knows.
ROOT = {"AccessKeyId": "test", "SecretAccessKey": "test"}
_SESSION_SECONDS, _REUSE_SECONDS = 3600, 300
_ONCE = Config(retries={"total_max_attempts": 1}, connect_timeout=60, read_timeout=300, s3={"addressing_style": "path"})


_lock = threading.Lock()
_sessions: dict[tuple[str, str, str], tuple[float, dict[str, str]]] = {}
_clients: dict[tuple[str, str], Any] = {}


class RefusedError(Exception):
    """A service or a session has no permission for what it tried."""


def arn(name: str) -> str:
    """Return the ARN of a role of this account."""
    return f"arn:aws:iam::{get_account_id()}:role/{name.rpartition('/')[2]}"


def assume(role: str, service: str, source: str) -> dict[str, str]:
    """Assume a role for a service, if the trust policy allows it, and return the credentials of the session.

    Sessions are reused for a while, as services do. The permissions are checked again for every request.

    Parameters
    ----------
    role
        Name or ARN.
    service
        The service that assumes the role, such as ``states``.
    source
        The ARN of the resource for which the service assumes it (``aws:SourceArn``).
    """
    with _lock:
        key, now = (role, service, source), time.time()
        if key not in _sessions or _sessions[key][0] < now - _REUSE_SECONDS:
            _sessions[key] = now, _new_session(role.rpartition("/")[2], service, source)
        return _sessions[key][1]


def _new_session(name: str, service: str, source: str) -> dict[str, str]:
    account = get_account_id()
    known = iam._roles.get(name)
    if known is None:
        raise RefusedError(f"The role with name {name} cannot be found.")
    trust = known["AssumeRolePolicyDocument"]
    if not resource_allows(trust, service, "sts:AssumeRole", arn(name), source):
        raise RefusedError(
            f"{service}.amazonaws.com may not assume the role {name}: its trust policy does not allow it."
        )
    credentials = {
        "AccessKeyId": iam._gen_session_access_key(),
        "SecretAccessKey": iam._gen_secret(),
        "SessionToken": iam._gen_session_token(),
    }
    sts.register_session(
        credentials["AccessKeyId"],
        {
            **{key: credentials[key] for key in ("SecretAccessKey", "SessionToken")},
            "Arn": f"arn:aws:sts::{account}:assumed-role/{name}/{service}",
            "UserId": f"{known['RoleId']}:{service}",
            "Expiration": time.time() + _SESSION_SECONDS,
            "AccountId": account,
            "PrincipalType": "AssumedRole",
        },
    )
    return credentials


def resource_allows(policy: dict[str, Any], service: str, action: str, resource: str, source: str) -> bool:
    """Return whether the policy of a resource allows a service to act for `source`, such as a rule."""
    account = get_account_id()
    context = iam_evaluator.EvalContext(
        principal_arn="",
        principal_type="Service",
        principal_account=account,
        action=action,
        resource_arn=resource,
        region=get_region(),
        service_context={"aws:sourceaccount": account, "aws:sourcearn": source},
    )
    decision = iam_evaluator.evaluate_resource_policy(policy, context, service=f"{service}.amazonaws.com").decision
    return bool(decision == "Allow")


def client(service: str, credentials: dict[str, str]) -> Any:
    """Return a client that calls the emulator over TLS and does not retry."""
    key = service, credentials["AccessKeyId"]
    with _lock:
        if key not in _clients:
            _clients[key] = boto3.client(
                service,
                region_name=get_region(),
                endpoint_url=os.environ["LOCAL_AWS_URL"],
                verify=os.environ["MINISTACK_SSL_CERT"],
                config=_ONCE,
                aws_access_key_id=credentials["AccessKeyId"],
                aws_secret_access_key=credentials["SecretAccessKey"],
                aws_session_token=credentials.get("SessionToken"),
            )
        return _clients[key]


def require(action: str, resource: str = "*", keys: dict[str, str] | None = None) -> None:
    """Check that the caller of the current request may do something.

    Raises
    ------
    RefusedError
        If the caller may not.
    """
    caller = iam_evaluator.caller_arn()
    if caller.endswith(":root"):
        return
    role, account = iam_evaluator._role_name_from_assumed_arn(caller), get_account_id()
    context = iam_evaluator.EvalContext(
        principal_arn=caller,
        principal_type="AssumedRole",
        principal_account=account,
        action=action,
        resource_arn=resource,
        region=get_region(),
        service_context={key.lower(): value for key, value in (keys or {}).items()},
    )
    if iam_evaluator.evaluate(context, iam_evaluator._gather_role_policies(role, account)).decision != "Allow":
        raise RefusedError(f"User: {caller} is not authorized to perform: {action} on resource: {resource}")
