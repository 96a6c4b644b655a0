"""Evaluates all JSONata of the state machine with two engines, over a table of values, and compares the results.

The emulator's engine runs the other tests. Step Functions implements JSONata 2.0.6, whose reference implementation is
the npm package of that version.
"""

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdk_app import cost, request
from cdk_app.prices import INSTANCES, MINIMUM_MINUTES, Nodes
from tests.infra import jsonata_engines, jsonata_table
from tests.infra.jsonata_engines import Outcome, Reference, emulator
from tests.infra.template import Synthesised, states

MACHINES = ("Workflow",)


@dataclass(frozen=True)
class Expression:
    """An expression and where it stands, such as ``Catch 0 Assign failure`` of a state."""

    machine: str
    state: str
    field: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.machine}: {self.state}: {self.field}"

    @property
    def parts(self) -> set[str]:
        """The parts of `$states` that the expression uses."""
        return set(re.findall(r"\$states\.(\w+)", self.text))


def expressions(machine: str, definition: Mapping[str, Any]) -> Iterator[Expression]:
    for name, state in states(definition):
        fields = {key: value for key, value in state.items() if key != "ItemProcessor"}
        for field, text in _texts(fields):
            if "{%" in text:
                assert text.startswith("{%"), text
                assert text.endswith("%}"), text
                yield Expression(machine, name, field, text[2:-2].strip())


def _texts(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    match value:
        case str():
            yield place.strip(), value
        case dict() | list():
            for key, part in value.items() if isinstance(value, dict) else enumerate(value):
                yield from _texts(part, f"{place} {key}")


def assigned(definition: Mapping[str, Any], before: frozenset[str] = frozenset()) -> dict[str, frozenset[str]]:
    """Return, by state, the variables that every path to the state has assigned."""
    found: dict[str, frozenset[str]] = {}
    open_ends = [(definition["StartAt"], before)]
    while open_ends:
        name, known = open_ends.pop()
        if name in found and found[name] <= known:
            continue
        found[name] = known & found.get(name, known)
        state = definition["States"][name]
        for way in (state, *state.get("Choices", []), *state.get("Catch", [])):
            after = way.get("Next") or way.get("Default")
            open_ends += [(after, found[name] | way.get("Assign", {}).keys())] if after else []
        if "ItemProcessor" in state:
            found |= assigned(state["ItemProcessor"], found[name])
    return found


#: Expressions, the names of the values that each uses, and the variables that have a value there.
Used = list[tuple[Expression, list[str], frozenset[str]]]


@dataclass(frozen=True)
class Row:
    """The values for one evaluation, and whether they can occur."""

    bindings: dict[str, Any]
    possible: bool


def values(expression: Expression, name: str) -> tuple[list[Any], list[Any]]:
    """Return the possible and the odd values for a variable, or for a part of `$states`."""
    state = (expression.machine, expression.state)
    match name:
        case "$states.context":
            return jsonata_table.CONTEXTS, []
        case "$states.errorOutput":
            return jsonata_table.ERRORS, list(jsonata_table.odd(jsonata_table.ERRORS[0]))
        case "$states.input":
            possible = jsonata_table.INPUTS.get(state)
        case "$states.result":
            possible = jsonata_table.RESULTS.get(state)
        case _:
            possible = jsonata_table.VARIABLES.get((expression.machine, name))
    if not possible:
        pytest.fail(f"{expression.place}: add values of {name} to tests/infra/jsonata_table.py")
    if name == "$states.result":
        return possible, list(jsonata_table.odd_results(state))
    return possible, list(jsonata_table.odd(possible[0]))


def rows(table: Mapping[str, tuple[list[Any], list[Any]]]) -> Iterator[Row]:
    """Yield every odd value among the first and among the last possible values, and all pairs of possible values."""
    first, last = ({name: possible[end] for name, (possible, _) in table.items()} for end in (0, -1))
    for base in (first, last):
        for name, (_, odd) in table.items():
            yield from (Row(_bindings(base | {name: value}), possible=False) for value in odd)
    for names in itertools.combinations(table, min(len(table), 2)):
        for chosen in itertools.product(*(table[name][0] for name in names)):
            yield Row(_bindings(first | dict(zip(names, chosen, strict=True))), possible=True)


def _bindings(given: dict[str, Any]) -> dict[str, Any]:
    parts = {name.removeprefix("$states."): given[name] for name in given if name.startswith("$states.")}
    return {name: value for name, value in given.items() if not name.startswith("$states.")} | {"states": parts}


@dataclass(frozen=True)
class Difference:
    """A difference that is known, because the emulator's engine is wrong.

    Parameters
    ----------
    expression, bindings
        What the expression and the JSON of the bindings contain.
    reason
        What the emulator's engine does.
    """

    expression: str
    bindings: str
    reason: str

    def explains(self, evaluation: "Evaluation") -> bool:
        return self.expression in evaluation.expression.text and self.bindings in evaluation.json


_NULL = "A built-in function takes null for a missing argument."
_PARSE = "$parse reads JSON with Python's parser, which also accepts these numbers."
_DIGITS = "$string writes large numbers with an exponent, keeps the sign of -0, and rounds a half to even."
KNOWN = (
    Difference("$contains(Key,", '"Key": null', _NULL),
    Difference("$parse(", '"Body": "null"', "$parse yields undefined for null."),
    Difference("$parse(", '"Body": "NaN"', _PARSE),
    Difference("$parse(", '"Body": "Infinity"', _PARSE),
    *(
        Difference("$string($value)", f'"input_prefix": {number}}}', _DIGITS)
        for number in ("1000000000000000", "26050504380495.25", "-0.0")
    ),
    Difference(
        "$string($value)", '"input_prefix": ["photos", "été"]', "$string escapes all but ASCII in lists and objects."
    ),
    Difference("$string($value)", '"input_prefix": [200.0]', "$string writes numbers in lists as Python does."),
    Difference("$string($states.input.max_rejected)", '"max_rejected": 2.384185791015625e-07', _DIGITS),
    Difference("$contains(Key,", '.jpg\\n"', "$ in a regular expression also matches before a final line break."),
)


@dataclass(frozen=True)
class Evaluation:
    """An expression, its values, and what both engines make of it."""

    expression: Expression
    row: Row
    expected: Outcome
    found: Outcome

    @property
    def json(self) -> str:
        return json.dumps(self.row.bindings, ensure_ascii=False)

    @property
    def same(self) -> bool:
        return self.expected.same(self.found)

    def __str__(self) -> str:
        return (
            f"{self.expression.place}\n  {self.expression.text}\n  with {self.json}\n"
            f"  reference: {self.expected}\n  emulator:  {self.found}"
        )


@pytest.fixture(scope="module")
def reference() -> Iterator[Reference]:
    with jsonata_engines.reference() as reference:
        yield reference


@pytest.fixture(scope="module")
def definitions(dev: Synthesised) -> dict[str, dict[str, Any]]:
    return {machine: dev.definition(machine) for machine in MACHINES}


@pytest.fixture(scope="module")
def used(definitions: dict[str, dict[str, Any]], reference: Reference) -> Used:
    """All expressions, with the names of the values that each uses, and with the variables that have a value."""
    found = []
    for machine, definition in definitions.items():
        known = assigned(definition)
        for expression in expressions(machine, definition):
            names, functions = reference.variables(expression.text)
            variables = names - {"states"} - (functions - frozenset().union(*known.values()))
            parts = (f"$states.{part}" for part in expression.parts)
            found.append((expression, [*sorted(variables), *sorted(parts)], known[expression.state]))
    return found


@pytest.fixture(scope="module")
def evaluations(used: Used, reference: Reference) -> list[Evaluation]:
    """Every expression with every row of its values."""
    found = []
    for expression, names, _ in used:
        table = {name: values(expression, name) for name in names}
        unique = {json.dumps(row.bindings): row for row in rows(table)}
        for row in unique.values():
            outcomes = reference.evaluate(expression.text, row.bindings), emulator(expression.text, row.bindings)
            found.append(Evaluation(expression, row, *outcomes))
    return found


def report(found: list[Evaluation]) -> str:
    return "\n".join([f"{len(found)} evaluations", *map(str, found[:10])])


def test_the_table_has_no_values_that_nothing_uses(used: Used) -> None:
    names = {(each.machine, name) for each, names, _ in used for name in names}
    states = {(each.machine, each.state, part) for each, _, _ in used for part in each.parts}
    assert jsonata_table.VARIABLES.keys() <= names
    assert {(*state, "input") for state in jsonata_table.INPUTS} <= states
    assert {(*state, "result") for state in jsonata_table.RESULTS} <= states


def test_every_path_assigns_the_variables_of_an_expression(used: Used) -> None:
    # Step Functions fails if an expression names a variable that has no value.
    missing = {
        expression.place: unknown
        for expression, names, known in used
        if (unknown := {name for name in names if not name.startswith("$states.")} - known)
    }
    assert missing == {}


def test_both_engines_agree(evaluations: list[Evaluation]) -> None:
    new = [each for each in evaluations if not each.same and not any(known.explains(each) for known in KNOWN)]
    assert not new, report(new)


@pytest.mark.parametrize("known", KNOWN, ids=lambda known: f"{known.expression} {known.bindings}")
def test_a_known_difference_still_exists(known: Difference, evaluations: list[Evaluation]) -> None:
    assert any(known.explains(each) and not each.same for each in evaluations), "remove it from KNOWN"


def test_possible_values_yield_a_result_of_the_right_type(evaluations: list[Evaluation]) -> None:
    types = {"Condition": bool, "Items": list, "Cause": str, "Error": str, "Key": str, "Args": list, "ClusterId": str}
    wrong = [
        each
        for each in evaluations
        if each.row.possible
        and not (
            each.expected.kind == "value"
            and isinstance(each.expected.value, types.get(each.expression.field.split()[-1], object))
        )
    ]
    assert not wrong, report(wrong)


# What is left out: keys like "10", because JavaScript moves them to the front, and Step Functions promises no order of
# keys; the key "__proto__", which has a meaning in JavaScript only; and what $string of the emulator's engine is wrong
# for (see KNOWN): numbers of many digits, and in lists and objects also fractions and characters that are not ASCII.
_ASCII = st.text(st.characters(codec="ascii", exclude_characters="\x7f"), max_size=10)
_NAMES, _ASCII_NAMES = (
    texts.filter(lambda name: not name.isdecimal() and name != "__proto__") for texts in (st.text(max_size=8), _ASCII)
)
_INTEGERS = st.integers(-(10**13), 10**13)
_FRACTIONS = st.floats(-1e13, 1e13, allow_subnormal=False).map(lambda number: float(f"{number:.12g}") + 0.0)
_JSON = st.recursive(
    st.none() | st.booleans() | _INTEGERS | _ASCII,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_ASCII_NAMES, inner, max_size=3),
    max_leaves=5,
)
_INPUTS = _JSON | st.dictionaries(
    st.sampled_from(list(request.KEYS)) | _NAMES, _JSON | _FRACTIONS | st.text(max_size=10), max_size=4
)


def _agree(reference: Reference, expression: str, states: dict[str, Any]) -> None:
    text = expression[2:-2].strip()
    expected, found = reference.evaluate(text, {"states": states}), emulator(text, {"states": states})
    assert expected.same(found), f"{states}\n  reference: {expected}\n  emulator:  {found}"


@given(value=_INPUTS, name=st.text(alphabet="aZ09._-é/ ", min_size=1, max_size=80))
def test_both_engines_check_any_input_alike(reference: Reference, value: Any, name: str) -> None:
    _agree(reference, request.problems(), {"input": value, "context": {"Execution": {"Name": name}}})


@given(
    minutes=st.floats(0, 5000),
    key=st.sampled_from([key for key, price in INSTANCES.items() if price.value]),
    count=st.integers(1, 251),
)
def test_the_state_machine_multiplies_the_price_by_the_minutes(
    reference: Reference, minutes: float, key: tuple[str, str], count: int
) -> None:
    nodes = Nodes(key[0], (key[1],), count)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    times = [(start + after).isoformat(timespec="milliseconds") for after in (timedelta(), timedelta(minutes=minutes))]
    states = {"context": {"Execution": {"StartTime": times[0]}, "State": {"EnteredTime": times[1]}}}
    output = cost.output(nodes)
    assert nodes.usd_per_hour is not None
    usd = nodes.usd_per_hour * max(minutes, MINIMUM_MINUTES) / 60
    for name, expected, tolerance in (("usd", usd, 0.011), ("minutes", minutes, 0.051)):
        found = reference.evaluate(output[name][2:-2], {"states": states})
        assert found.value == pytest.approx(expected, abs=tolerance, rel=1e-4)
        _agree(reference, output[name], states)


@given(value=_INPUTS)
def test_both_engines_complete_any_input_alike(reference: Reference, value: Any) -> None:
    _agree(reference, request.with_defaults("photos/"), {"input": value})
