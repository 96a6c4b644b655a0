from typing import Any

import pytest

from cdk_app.stage_settings import SettingsError, StageSettings


def test_every_setting_has_a_default() -> None:
    assert StageSettings.from_context({}) == StageSettings.of()


def test_a_stage_has_its_own_defaults_and_they_can_be_overridden() -> None:
    prod = StageSettings.from_context({"stage": "prod"})
    assert (prod.core_nodes, prod.keep_runs_days, prod.keep_logs_days, prod.keeps_data) == (4, 365, 90, True)
    assert StageSettings.of("prod") == prod
    assert StageSettings.from_context({"stage": "prod", "core_nodes": "7"}).core_nodes == 7


def test_the_context_of_cdk_itself_is_ignored() -> None:
    own = {"aws:cdk:enable-path-metadata": True, "@aws-cdk/aws-iam:minimizePolicies": True, "cli-telemetry": False}
    assert StageSettings.from_context(own) == StageSettings.of()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"stage": "test"}, "stage is 'test'; give dev or prod."),
        ({"architecture": "arm"}, "architecture is 'arm'; give arm64 or x86_64."),
        ({"engine": "torch"}, "engine is 'torch'; give litert or tensorflow."),
        ({"core_nodes": "two"}, "core_nodes is 'two'; give a whole number."),
        ({"core_nodes": "0"}, "core_nodes is 0; give a whole number from 1 to 50."),
        ({"spot_nodes": "-1"}, "spot_nodes is -1; give a whole number from 0 to 200."),
        ({"longest_run_hours": "0"}, "longest_run_hours is 0; give a whole number from 1 to 72."),
        ({"idle_minutes": "1"}, "idle_minutes is 1; give a whole number from 5 to 60."),
        ({"email": "nobody"}, "email is 'nobody'; give an e-mail address."),
        ({"monthly_budget": "50"}, "monthly_budget is 50, but email is empty; give email as well."),
        ({"weights": ""}, "weights is ''; give imagenet, random or the path of a weights file."),
        ({"core_node": "3"}, 'Unknown setting "core_node". Did you mean core_nodes?'),
    ],
)
def test_a_wrong_value_is_one_sentence(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SettingsError) as error:
        StageSettings.from_context(given)
    assert str(error.value) == sentence


@pytest.mark.parametrize("prefix", ["/photos", "photos//2026", "s3://bucket/photos"])
def test_an_input_prefix_is_a_folder_of_the_bucket(prefix: str) -> None:
    with pytest.raises(SettingsError, match="without a leading slash"):
        StageSettings.of(input_prefix=prefix)


@pytest.mark.parametrize("region", ["us-east-1", "eu-west-2", "eu-central-2", "", "EU-WEST-3"])
def test_a_region_outside_the_union_is_refused_in_one_sentence(region: str) -> None:
    with pytest.raises(SettingsError, match=r"^region is .*European Union.*\(Spain\)\.$"):
        StageSettings.of(region=region)
