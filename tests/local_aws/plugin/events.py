"""EventBridge: starts targets with the role of the rule, loses events on request, and fires rules as hours pass."""

import contextvars
import threading
import time
from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError
from ministack.services import eventbridge

from tests.local_aws.plugin import patches, roles
from tests.local_aws.plugin.control import clocks, faults

_target: contextvars.ContextVar[dict[str, Any]] = contextvars.ContextVar("target")


def in_background(function: Callable[..., None], *arguments: Any) -> None:
    """Call a function in a thread that keeps the account and the region of MiniStack."""
    threading.Thread(target=contextvars.copy_context().run, args=(function, *arguments), daemon=True).start()


def install() -> None:
    """Start state machines through the API with the role of the rule, and let tests move the clock."""

    def invoke_target(target: dict[str, Any], event: dict[str, Any], rule: dict[str, Any], view: Any = None) -> None:
        if not (faults.events_lost and event["Source"] == "aws.states"):
            _target.set(target)
            invoke(target, event, rule, view)

    invoke = patches.replace(eventbridge, "_invoke_target", invoke_target)
    # MiniStack sends events in the event loop that must also answer the request, so this needs a thread.
    patches.replace(
        eventbridge,
        "_dispatch_to_stepfunctions",
        lambda machine, given: in_background(_start, _target.get()["RoleArn"], machine, given),
    )
    clocks.append(_fire)


def _start(role: str, machine: str, given: str) -> None:
    try:
        credentials = roles.assume(role, "events", machine)
        roles.client("stepfunctions", credentials).start_execution(stateMachineArn=machine, input=given)
    except (roles.RefusedError, ClientError) as error:
        print(f"EventBridge could not start {machine}: {error}", flush=True)


def _fire(hours: float) -> None:
    """Fire every scheduled rule that is due after these hours."""
    fired, now = eventbridge._rule_last_fired, time.time()
    for key in list(eventbridge._rules._data):
        fired[key] = fired.get(key, now) - hours * 3600
    eventbridge._tick_scheduled_rules()
