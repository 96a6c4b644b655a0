import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_job.errors import UserError
from spark_job.settings import Settings, new_run_id, parse_components


@given(st.integers(min_value=1, max_value=10_000))
def test_an_integer_is_a_number_of_components(count: int) -> None:
    assert parse_components(str(count)) == count
    assert isinstance(parse_components(str(count)), int)


@given(st.floats(min_value=0, max_value=1, exclude_min=True, exclude_max=True))
def test_a_fraction_is_a_share_of_the_variance(share: float) -> None:
    assert parse_components(repr(share)) == share


@pytest.mark.parametrize("text", ["0", "-3", "1.0", "0.0", "1.5", "nan", "inf", "many", ""])
def test_other_components_are_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(UserError, match=f"components is {text};") as caught:
        parse_components(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"engine": "torch"}, "engine is torch"),
        ({"max_rejected": 1.5}, "max-rejected is 1.5"),
        ({"max_rejected": float("nan")}, "max-rejected is nan"),
        ({"run_id": "../other"}, "run-id is '../other'"),
        ({"run_id": ""}, "run-id is ''"),
        ({"run_id": "x" * 129}, "at most 128"),
        ({"components": 0}, "components is 0"),
        ({"input": " "}, "input is empty"),
    ],
)
def test_a_wrong_value_is_reported(wrong: dict[str, object], sentence: str) -> None:
    values: dict[str, object] = {"input": "photos", "output": "results"}
    with pytest.raises(UserError, match=sentence.replace("(", r"\(")):
        Settings(**(values | wrong))  # type: ignore[arg-type]  # some have the wrong type


def test_run_ids_are_valid_and_differ() -> None:
    ids = {new_run_id() for _ in range(20)}
    assert len(ids) > 1
    assert {Settings("a", "b", run_id=one).run_id for one in ids} == ids
