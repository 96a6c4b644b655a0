"""EventBridge: calls functions as their policies allow, loses events on request, and fires rules as hours pass."""

import contextvars
import json
import time
from typing import Any

from ministack.services import eventbridge, lambda_svc

from tests.local_aws.plugin import roles
from tests.local_aws.plugin.control import clocks, faults, replace

_rule: contextvars.ContextVar[dict[str, Any]] = contextvars.ContextVar("rule")


def install() -> None:
    """Check the policies of functions, retry failed calls, count their errors, and let tests move the clock."""

    def invoke_target(target: dict[str, Any], event: dict[str, Any], rule: dict[str, Any], view: Any = None) -> None:
        if not (faults.events_lost and event["Source"] == "aws.states"):
            _rule.set(rule)
            invoke(target, event, rule, view)

    invoke = replace(eventbridge, "_invoke_target", invoke_target)
    replace(eventbridge, "_dispatch_to_lambda", lambda function, given: _call(_rule.get(), function, given))

    def execute_function(function: dict[str, Any], event: dict[str, Any]) -> dict[str, Any]:
        result: dict[str, Any] = execute(function, event)
        if result.get("error"):
            name = function["config"]["FunctionName"]
            lambda_svc._emit_lambda_metrics(name, duration_ms=0, error=True, throttle=False)
        return result

    # MiniStack counts the errors of synchronous calls only.
    execute = replace(lambda_svc, "_execute_function", execute_function)
    clocks.append(_fire)


def _call(rule: dict[str, Any], function: str, given: str) -> None:
    """Call a function asynchronously, as Lambda does: it runs a call that fails twice again."""
    record, config, _ = lambda_svc._get_func_record_for_ref(function)
    if not roles.resource_allows(record["policy"], "events", "lambda:InvokeFunction", function, rule["Arn"]):
        print(f"{rule['Arn']} may not call {function}.", flush=True)
        return
    lambda_svc.invoke_async_with_retry(lambda_svc._execution_record_for_config(record, config), json.loads(given))


def _fire(hours: float) -> None:
    """Fire every scheduled rule that is due after these hours."""
    fired, now = eventbridge._rule_last_fired, time.time()
    for key in list(eventbridge._rules._data):
        fired[key] = fired.get(key, now) - hours * 3600
    eventbridge._tick_scheduled_rules()
