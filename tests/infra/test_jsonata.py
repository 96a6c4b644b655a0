"""The JSONata of the state machine: what its tests in the simulator do not cover."""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdk_app.prices import MINIMUM_MINUTES, Nodes
from spark_job.settings import parse_components
from tests.infra import jsonata
from tests.infra.template import Synthesised


@pytest.fixture(scope="module")
def definition(dev: Synthesised) -> dict[str, Any]:
    return dev.definition()


def expressions(state: Any) -> Iterator[str]:
    """Yield every expression of a state."""
    match state:
        case str() if "{%" in state:
            yield state
        case dict() | list():
            for part in state.values() if isinstance(state, dict) else state:
                yield from expressions(part)


def assigned(definition: Mapping[str, Any]) -> dict[str, frozenset[str]]:
    """Return, by state, the variables that every path to the state has assigned."""
    found: dict[str, frozenset[str]] = {}
    open_ends = [(definition["StartAt"], frozenset[str]())]
    while open_ends:
        name, known = open_ends.pop()
        if name in found and found[name] <= known:
            continue
        found[name] = known & found.get(name, known)
        state = definition["States"][name]
        for way in (state, *state.get("Choices", []), *state.get("Catch", [])):
            after = way.get("Next") or way.get("Default")
            open_ends += [(after, found[name] | way.get("Assign", {}).keys())] if after else []
    return found


def test_every_path_assigns_the_variables_of_an_expression(definition: dict[str, Any]) -> None:
    # Step Functions fails if an expression names a variable that has no value.
    known = assigned(definition)
    missing = {}
    for name, state in definition["States"].items():
        for expression in expressions(state):
            expected, functions = jsonata.names(expression)
            if unknown := expected - functions - {"states"} - known[name]:
                missing[name, expression] = unknown
    assert missing == {}


def test_an_expression_is_one_line_and_the_whole_value(definition: dict[str, Any]) -> None:
    # AWS shows no other example.
    for state in definition["States"].values():
        for expression in expressions(state):
            assert re.fullmatch(r"\{%.+%\}", expression), expression


@given(minutes=st.floats(0, 5000))
def test_the_price_grows_with_the_minutes(definition: dict[str, Any], minutes: float) -> None:
    nodes = Nodes("eu-west-3", ("m7g.xlarge", "m6g.xlarge"), 3)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    times = [(start + after).isoformat(timespec="milliseconds") for after in (timedelta(), timedelta(minutes=minutes))]
    context = {"Execution": {"StartTime": times[0]}, "State": {"EnteredTime": times[1]}}
    cost = jsonata.evaluate(definition["States"]["Add up the cost"]["Assign"]["cluster"], {"context": context})
    assert nodes.usd_per_hour is not None
    usd = nodes.usd_per_hour * max(minutes, MINIMUM_MINUTES) / 60
    assert cost["usd"] == pytest.approx(usd, abs=0.011, rel=1e-4)
    assert cost["minutes"] == pytest.approx(minutes, abs=0.051)


@given(st.floats(1e-9, 1, exclude_max=True) | st.integers(1, 1280))
def test_the_job_gets_the_number_that_a_person_gave(definition: dict[str, Any], components: float) -> None:
    command = definition["States"]["Prepare run"]["Assign"]["command"]
    expression = command[command.index("--components") + 1]
    text = jsonata.evaluate(expression, {"input": {"components": components}})
    assert parse_components(text) == pytest.approx(components, rel=1e-14)


@pytest.mark.parametrize(
    ("key", "images"),
    [
        *(("a/1.jpg", 1), ("a/1.JPEG", 1), ("日本 😀.WebP", 1), ("a.zip", 1)),
        *(("a.jpg.txt", 0), ("a.jpg\n", 0), ("jpg", 0), ("a/..jpg", 0), ("a/._1.jpg", 0), (".a/1.jpg", 0)),
        *(("a.b/1.jpg", 1), ("x@eaDir/1.jpg", 1), ("@eadir/1.jpg", 0), ("#snapshot/1.jpg", 0)),
        *(("a/$RECYCLE.BIN/1.jpg", 0), ("System Volume Information/1.jpg", 0)),
    ],
)
@pytest.mark.parametrize("prefix", ["", "photos/", ".trash/"])
def test_the_state_machine_sees_the_photos_that_the_job_sees(
    definition: dict[str, Any], prefix: str, key: str, images: int
) -> None:
    count = definition["States"]["Look for photos"]["Assign"]["photos"]
    page = {"result": {"Contents": [{"Key": prefix + key}], "IsTruncated": False}}
    assert jsonata.evaluate(count, page, {"prefix": prefix}) == images


def test_a_page_without_objects_is_no_error(definition: dict[str, Any]) -> None:
    assign = definition["States"]["Look for photos"]["Assign"]
    states = {"result": {"IsTruncated": True}}
    assert jsonata.evaluate(assign["photos"], states, {"prefix": "photos/"}) == 0
    assert jsonata.evaluate(assign["last_seen"], states, {"last_seen": "photos/"}) == "photos/"
