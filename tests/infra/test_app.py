"""What a person sees of ``cdk``: these tests run the app as the command does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cdk_app.bundle import ROOT


def run_app(folder: Path, **context: object) -> subprocess.CompletedProcess[str]:
    given = json.loads((ROOT / "cdk.json").read_text())["context"] | context
    environment = {**os.environ, "CDK_OUTDIR": str(folder), "CDK_CONTEXT_JSON": json.dumps(given)}
    return subprocess.run(
        [sys.executable, "app.py"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        (
            "region",
            "us-east-1",
            "fruits: region is 'us-east-1'; photos stay in the European Union: give one of eu-west-3",
        ),
        ("weights", "nothing.h5", "fruits: The weights nothing.h5 cannot be read"),
    ],
)
def test_a_mistake_is_one_sentence_and_no_traceback(tmp_path: Path, name: str, value: str, sentence: str) -> None:
    done = run_app(tmp_path, **{name: value})
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(sentence)
    assert "Traceback" not in done.stderr


def test_destroying_needs_no_bundle(tmp_path: Path) -> None:
    done = run_app(tmp_path, **{"weights": "nothing.h5", "aws:cdk:bundling-stacks": []})
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "fruits-dev.template.json").exists()
