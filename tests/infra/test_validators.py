"""What validators that others wrote find in the template and in the state machine."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cfnlint.api
import pytest
from cfnlint.config import ManualArgs
from statelint.linter import Linter

from cdk_app.bundle import ROOT
from cdk_app.stage_settings import StageSettings
from tests.infra.conftest import Synthesise

CONFIGURATIONS = [
    StageSettings.of(),
    *(
        pytest.param(settings, marks=pytest.mark.slow)
        for settings in (
            StageSettings.of("prod", email="fruits@example.com", monthly_budget=50),
            StageSettings.of("prod", disk_key="own", longest_run_hours=72),
            StageSettings.of(architecture="x86_64", engine="tensorflow", spot_nodes=4),
            StageSettings.of(region="eu-south-1", core_nodes=50),
        )
    ),
]
in_each_configuration = pytest.mark.parametrize("settings", CONFIGURATIONS, ids=str)

CHECKOV = "checkov==3.3.30"
#: The rules of checkov that the stack breaks deliberately, and why.
ACCEPTED = {
    "CKV_AWS_18": "The bucket of the logs cannot log to itself.",
    "CKV_AWS_21": "Only photos have versions: a run is written once, and logs expire.",
    "CKV_AWS_26": "Alarms cannot publish to a topic that AWS's free key encrypts, and the topic stores nothing.",
    "CKV_AWS_33": "EC2 attaches disks with roles that the policy of the disk key cannot name. It names the account.",
    "CKV_AWS_115": "A reserved concurrency is taken away from the account, and the functions are called rarely.",
    "CKV_AWS_116": "The alarm tells about a failed clean-up, and the next one is an hour later.",
    "CKV_AWS_117": "The functions call AWS's APIs, and the network of the stack leads only to S3.",
    "CKV_AWS_158": "CloudWatch encrypts logs with its own key. A key of the stack costs 1 USD per month.",
    "CKV_AWS_173": "The variables are names of resources. Lambda encrypts them with AWS's key.",
}


@in_each_configuration
def test_cfn_lint_finds_nothing(synthesise: Synthesise, settings: StageSettings) -> None:
    # W3010: the zones are named so that CDK does not have to ask AWS. W3005: CDK writes dependencies twice.
    config = ManualArgs(ignore_checks=["W3005", "W3010"])
    template = json.dumps(dict(synthesise(settings).template))
    assert [str(match) for match in cfnlint.api.lint(template, regions=[settings.region], config=config)] == []


@in_each_configuration
def test_statelint_finds_nothing(synthesise: Synthesise, settings: StageSettings) -> None:
    # statelint does not know that JSONata may yield the seconds of a wait.
    found = Linter.validate(synthesise(settings).definition())
    assert [problem for problem in found if 'Seconds is "{%' not in problem] == []


@in_each_configuration
def test_asl_validator_finds_nothing(synthesise: Synthesise, settings: StageSettings, tmp_path: Path) -> None:
    """It knows JSONata, parses every expression with the reference implementation, and follows the transitions."""
    file = tmp_path / "definition.json"
    # asl-validator does not know that a text may be empty.
    file.write_text(json.dumps(synthesise(settings).definition()).replace('""', '" "'))
    script = ROOT / "node_modules" / "asl-validator" / "dist" / "bin" / "asl-validator.js"  # make test installs it
    done = subprocess.run(
        [os.environ["JSII_NODE"], script, "--json-path", file], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@in_each_configuration
def test_checkov_finds_only_what_is_accepted(synthesise: Synthesise, settings: StageSettings, tmp_path: Path) -> None:
    """Its packages contradict those of the tests, so uv installs it apart, in its cache."""
    file = tmp_path / "template.json"
    file.write_text(json.dumps(dict(synthesise(settings).template)))
    uv = str(Path(sys.executable).with_name("uv"))
    checkov = [uv, "tool", "run", "--quiet", "--python", sys.executable, "--from", CHECKOV, "checkov"]
    tried = subprocess.run([*checkov, "--version"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"{CHECKOV} cannot be installed: {tried.stderr.splitlines()[-1]}")
    done = subprocess.run(
        [*checkov, "--file", file, "--framework", "cloudformation", "--output", "json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert {one["check_id"] for one in json.loads(done.stdout)["results"]["failed_checks"]} <= set(ACCEPTED)
