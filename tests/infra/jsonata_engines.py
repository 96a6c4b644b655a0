"""Evaluates JSONata twice: with the reference implementation on Node, and with the emulator's own engine."""

import json
import math
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ministack.services import stepfunctions

_FOLDER = Path(__file__).parent
_PACKAGE = _FOLDER.parents[1] / "node_modules" / "jsonata"


@dataclass(frozen=True)
class Outcome:
    """What an expression yields: a value, nothing (JSONata's undefined), or an error.

    Step Functions fails with ``States.QueryEvaluationError`` in the last two cases.
    """

    kind: str
    value: Any = None

    def same(self, other: "Outcome") -> bool:
        """Return whether two outcomes are equal. The messages of errors may differ."""
        return self.kind == other.kind and (self.kind != "value" or _same(self.value, other.value))


def _same(one: Any, other: Any) -> bool:
    """Return whether two JSON values are equal. JSON has one type of number; the order of keys has no meaning."""
    match one, other:
        case (dict(), dict()):
            return one.keys() == other.keys() and all(_same(value, other[key]) for key, value in one.items())
        case (list(), list()):
            return len(one) == len(other) and all(map(_same, one, other))
        case (bool(), _) | (_, bool()):
            return one is other
        case (int() | float(), int() | float()):
            return one == other or math.isclose(one, other, rel_tol=1e-12, abs_tol=0)
        case _:
            return type(one) is type(other) and bool(one == other)


class Reference:
    """The reference implementation, in one Node process."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def evaluate(self, expression: str, bindings: Mapping[str, Any]) -> Outcome:
        """Evaluate an expression without its ``{% %}``. `bindings` are `$states` and the variables of the workflow."""
        match self._ask(expression=expression, bindings=bindings):
            case {"error": message}:
                return Outcome("error", message)
            case {"value": value}:
                return Outcome("value", value)
            case _:
                return Outcome("undefined")

    def variables(self, expression: str) -> tuple[set[str], set[str]]:
        """Return the names that an expression expects, such as ``states``, and which of them are built-in functions."""
        answer = self._ask(expression=expression)
        assert "variables" in answer, f"{expression}: {answer}"
        return set(answer["variables"]), set(answer["functions"])

    def _ask(self, **request: Any) -> dict[str, Any]:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


@contextmanager
def reference() -> Iterator[Reference]:
    """Start the reference implementation."""
    if not _PACKAGE.exists():
        pytest.fail("The npm package jsonata is not installed; run make node_modules/.package-lock.json")
    command = [os.environ["JSII_NODE"], str(_FOLDER / "jsonata.mjs")]
    environment = {**os.environ, "TZ": "UTC"}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8", env=environment
    ) as process:
        yield Reference(process)


def emulator(expression: str, bindings: Mapping[str, Any]) -> Outcome:
    """Evaluate an expression with the emulator's engine."""
    states = bindings.get("states", {})
    variables = {name: value for name, value in bindings.items() if name != "states"}
    context = {**states.get("context", {}), "variables": variables}
    try:
        value = stepfunctions._evaluate_jsonata(
            expression, states.get("input"), context, states.get("result"), states.get("errorOutput")
        )
    except stepfunctions._ExecutionError as error:
        undefined = "did not return a result" in str(error)
        return Outcome("undefined") if undefined else Outcome("error", str(error))
    try:
        return Outcome("value", json.loads(json.dumps(value, allow_nan=False)))
    except (TypeError, ValueError) as error:
        return Outcome("error", f"the result is not JSON: {error}")
