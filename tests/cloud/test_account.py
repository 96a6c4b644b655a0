import os
import re
import subprocess
import sys

from cdk_app.preflight.__main__ import CHECKS
from tests.cloud.deployed import Deployed
from tests.local_aws.emulator import ROOT, LocalAws


def check_account(aws: LocalAws, *settings: str) -> tuple[int, dict[str, str]]:
    """Run the command as a person does. Return its exit code, and the mark and the sentence of each check."""
    arguments = [word for setting in settings for word in ("-c", setting)]
    done = subprocess.run(
        [sys.executable, "-m", "cdk_app.preflight", *arguments],
        cwd=ROOT,
        env={**os.environ, **aws.variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.stderr
    lines = re.findall(r"^([✓✗!?]) (.{15})  (.+)$", done.stdout, re.MULTILINE)
    return done.returncode, {name.strip(): f"{mark} {sentence}" for mark, name, sentence in lines}


def test_the_account_is_ready_for_the_stage(aws: LocalAws, dev: Deployed) -> None:
    """The local AWS has no list of releases and no quotas. Checks without an answer are no failure."""
    code, lines = check_account(aws, f"stage={dev.name.removeprefix('fruits-')}", "email=someone@example.org")
    assert code == 0
    assert list(lines) == list(CHECKS)
    assert lines["credentials"].startswith("✓ Account 000000000000, as ")
    assert lines["region"] == "✓ eu-west-3 (Paris) is enabled."
    assert re.fullmatch(r"✓ The bootstrap stack has version \d+\.", lines["CDK bootstrap"])
    assert lines["EMR release"].startswith("? Could not check. An error occurred (")
    assert lines["on-demand vCPU"].startswith("? Could not check. ")
    assert lines["e-mail"] == "! The stack was deployed without someone@example.org. Deploy it again with this address."


def test_a_region_without_bootstrap_stack_fails(aws: LocalAws) -> None:
    code, lines = check_account(aws, "region=eu-north-1")
    assert code == 1
    assert lines["CDK bootstrap"] == "✗ CDK has no bootstrap stack in eu-north-1."
