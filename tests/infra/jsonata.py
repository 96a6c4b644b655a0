"""Evaluates JSONata with the reference implementation: the npm package of the version that Step Functions names."""

import atexit
import json
import os
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

_FOLDER = Path(__file__).parent
_PACKAGE = _FOLDER.parents[1] / "node_modules" / "jsonata"


class JsonataError(Exception):
    """An expression that fails or yields nothing, for which Step Functions has ``States.QueryEvaluationError``."""


def evaluate(expression: str, states: Mapping[str, Any], variables: Mapping[str, Any] | None = None) -> Any:
    """Evaluate an expression, with or without its ``{% %}``.

    Parameters
    ----------
    expression
        The expression.
    states
        What the reserved variable `$states` holds.
    variables
        The variables of the state machine.

    Raises
    ------
    JsonataError
        If the expression fails or yields nothing.
    """
    answer = _ask(expression=_bare(expression), bindings={**(variables or {}), "states": states})
    if "value" not in answer:
        raise JsonataError(answer.get("error", f"The expression yields nothing: {expression}"))
    return answer["value"]


def names(expression: str) -> tuple[set[str], set[str]]:
    """Return the names that an expression expects, such as ``states``, and which of them are built-in functions."""
    answer = _ask(expression=_bare(expression))
    assert "variables" in answer, f"{expression}: {answer}"
    return set(answer["variables"]), set(answer["functions"])


def _bare(expression: str) -> str:
    return expression.removeprefix("{%").removesuffix("%}").strip()


def _ask(**request: Any) -> dict[str, Any]:
    process = _process()
    assert process.stdin
    assert process.stdout
    process.stdin.write(json.dumps(request) + "\n")
    process.stdin.flush()
    answer: dict[str, Any] = json.loads(process.stdout.readline())
    return answer


@cache
def _process() -> "subprocess.Popen[str]":
    """Start Node once per session. It stops when its standard input closes."""
    if not _PACKAGE.exists():
        pytest.fail("The npm package jsonata is not installed; run make node_modules/.package-lock.json")
    process = subprocess.Popen(
        [os.environ["JSII_NODE"], str(_FOLDER / "jsonata.mjs")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env={**os.environ, "TZ": "UTC"},
    )
    atexit.register(process.communicate)
    return process
