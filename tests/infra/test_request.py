import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdk_app import request
from spark_job.errors import UserError
from spark_job.moments import check_count
from spark_job.network import MOBILENET_V2
from spark_job.settings import RUN_ID, Settings, parse_components
from tests.infra import jsonata

_KEYS = list(request.KEYS)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2000, 2000) | st.floats(-10, 10) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=3,
)
_VALID = st.fixed_dictionaries(
    {},
    optional={
        "input_prefix": st.sampled_from(["", "photos", "photos/2026/", "été 2026/"]),
        "components": st.integers(1, 1280) | st.floats(0.001, 0.999),
        "max_rejected": st.floats(0, 1),
        "recompute": st.booleans(),
    },
)


def problems(value: Any, name: str = "run-1") -> str:
    context = {"Execution": {"Name": name}}
    found = jsonata.evaluate(request.problems(), {"input": value, "context": context})
    assert isinstance(found, str)
    return found


def complete(value: Any) -> Any:
    return jsonata.evaluate(request.with_defaults("photos/"), {"input": value})


@given(_VALID)
def test_every_key_is_optional_and_valid_values_are_accepted(value: dict[str, Any]) -> None:
    assert problems(value) == ""
    assert complete(value) == request.defaults("photos/") | value


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ({"components": "200"}, "components is 200; give a number of components such as 200, or the share"),
        ({"components": 1281}, "components is 1281;"),
        ({"components": 1.5}, "components is 1.5;"),
        ({"components": 0}, "components is 0;"),
        ({"components": True}, "components is true;"),
        ({"components": None}, "components is null;"),
        ({"max_rejected": 1.1}, "max_rejected is 1.1; give the share of the photos that may be rejected, from 0 to 1."),
        ({"recompute": "no"}, "recompute is no; give true or false."),
        ({"input_prefix": "/photos"}, "input_prefix is /photos; give a folder of the data bucket"),
        ({"input_prefix": "s3://bucket/photos"}, "input_prefix is s3://bucket/photos;"),
        ({"input_prefix": ["photos"]}, 'input_prefix is ["photos"];'),
        (
            {"prefix": "photos"},
            'Unknown key "prefix". Valid keys: input_prefix, components, max_rejected, recompute.',
        ),
        ([], "The input is not a JSON object; give one such as {}."),
        ("photos", "The input is not a JSON object;"),
        (None, "The input is not a JSON object;"),
    ],
)
def test_the_message_for_a_wrong_input_names_the_key(value: Any, sentence: str) -> None:
    assert problems(value).startswith(sentence)


@given(st.dictionaries(st.sampled_from(_KEYS) | st.text(max_size=8), _JSON, max_size=4))
def test_no_input_breaks_the_check(value: dict[str, Any]) -> None:
    found = problems(json.loads(json.dumps(value)))
    for name in set(value) - set(_KEYS):
        assert f'Unknown key "{name}"' in found


def _job_accepts(components: float = 0.95, max_rejected: float = 0) -> bool:
    """Return whether the job accepts the arguments that the state machine makes of an input."""
    try:
        parsed = parse_components(json.dumps(components))
        Settings("in", "out", components=parsed, max_rejected=float(json.dumps(max_rejected)))
        check_count(parsed, 10**9, MOBILENET_V2.feature_count)
    except UserError:
        return False
    return True


@pytest.mark.parametrize("value", [-1, 0, 1e-9, 0.5, 0.95, 0.999999, 1, 1.5, 2, 200, 200.5, 1280, 1281, 10**6])
def test_the_state_machine_accepts_the_components_that_the_job_accepts(value: float) -> None:
    assert (problems({"components": value}) == "") is _job_accepts(components=value)


@pytest.mark.parametrize("value", [-1, -1e-9, 0, 0.05, 0.5, 1, 1 + 1e-9, 2])
def test_the_state_machine_accepts_the_shares_that_the_job_accepts(value: float) -> None:
    assert (problems({"max_rejected": value}) == "") is _job_accepts(max_rejected=value)


@given(st.text(alphabet="aZ09._-é/ ", min_size=1, max_size=80))
def test_the_state_machine_accepts_the_names_that_the_job_accepts(name: str) -> None:
    assert (problems({}, name) == "") is bool(RUN_ID.fullmatch(name))
