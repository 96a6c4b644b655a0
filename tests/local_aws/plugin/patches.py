"""The names of MiniStack that the plug-in uses, in one list. It is checked before the local AWS starts."""

import importlib
import re
from importlib import metadata
from pathlib import Path
from typing import Any

_REQUIREMENTS = Path(__file__).parents[3] / "requirements-dev.txt"

#: Every name that the plug-in replaces, or uses although it is not public.
NAMES = {
    "app": ("app",),
    "core.iam_actions": ("extract_iam_action", "request_tag_context", "_query_param"),
    "core.iam_evaluator": (
        *("EvalContext", "evaluate", "evaluate_resource_policy", "caller_arn"),
        *("_gather_role_policies", "_role_name_from_assumed_arn"),
    ),
    "core.tls": ("resolve_tls_material", "ca_bundle_path"),
    "core.responses": ("get_account_id", "get_region", "error_response_json"),
    "services.cloudformation.provisioners": ("_RESOURCE_HANDLERS", "_ec2_sg_permissions"),
    "services.ec2": ("_security_groups", "_vpc_endpoints", "_tags"),
    "services.emr": ("_HANDLERS", "_clusters", "_steps", "_make_step"),
    "services.eventbridge": (
        *("_invoke_target", "_dispatch_to_lambda"),
        *("_tick_scheduled_rules", "_rule_last_fired", "_rules"),
    ),
    "services.iam": ("_roles", "_gen_secret", "_gen_session_access_key", "_gen_session_token"),
    "services.lambda_svc": (
        *("_get_func_record_for_ref", "_execution_record_for_config", "invoke_async_with_retry"),
        *("_execute_function", "_emit_lambda_metrics"),
    ),
    "services.s3": ("_bucket_tags", "_buckets", "_delete_bucket", "_put_bucket_lifecycle", "_read_body"),
    "services.stepfunctions": (
        *("_state_machines", "_executions", "_ExecutionError"),
        *("_run_execution", "_fail_execution", "_execute_task", "_invoke_resource"),
        *("_emit_execution_status_event", "_add_event"),
    ),
    "services.sts": ("register_session",),
    "services.tagging": ("_RESOURCE_TAG_COLLECTORS",),
}


def check() -> None:
    """Refuse to start with a version of MiniStack other than the pinned one.

    Raises
    ------
    SystemExit
        If the version differs or a name is missing.
    """
    version, pinned = metadata.version("ministack"), re.findall(r"(?m)^ministack==(\S+)", _REQUIREMENTS.read_text())[0]
    missing = [
        f"{module}.{name}"
        for module, names in NAMES.items()
        for name in names
        if not hasattr(importlib.import_module(f"ministack.{module}"), name)
    ]
    if version != pinned or missing:
        raise SystemExit(
            f"The local AWS needs MiniStack {pinned}, but MiniStack {version} is installed; missing names: "
            f"{', '.join(missing) or 'none'}. Install the pinned version, or adapt tests/local_aws/plugin."
        )


def replace(module: Any, name: str, substitute: Any) -> Any:
    """Replace a name of MiniStack that is in the list, and return the original."""
    known = module.__name__.removeprefix("ministack.")
    assert name in NAMES[known], f"{known}.{name} is not in the list of patches"
    original = getattr(module, name)
    setattr(module, name, substitute)
    return original
