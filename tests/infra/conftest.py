"""Fixtures for the tests of the CDK app: a bundle of small files, and stacks that are synthesised once."""

import json
from collections.abc import Callable
from functools import cache

import pytest

import cdk_app  # noqa: F401 # isort: skip # must be first: it sets the Node that CDK runs on
import aws_cdk as cdk
from aws_cdk.assertions import Template
from cdk_nag import AwsSolutionsChecks

from cdk_app.bundle import ROOT, Bundle
from cdk_app.stack import FruitsStack
from cdk_app.stage_settings import StageSettings
from tests.infra.template import Synthesised

CONTEXT = json.loads((ROOT / "cdk.json").read_text())["context"]
Synthesise = Callable[[StageSettings], Synthesised]


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Four small files instead of the job."""
    folder = tmp_path_factory.mktemp("bundle")
    files = [folder / name for name in ("main.py", "code.zip", "environment.zip", "model.zip")]
    for file in files:
        file.write_text(file.name)
    return Bundle(*files)


@pytest.fixture(scope="session")
def synthesise(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Synthesise:
    """A function that synthesises the stack for some settings, with all checks and once per session."""

    @cache
    def synthesise(settings: StageSettings) -> Synthesised:
        app = cdk.App(context=CONTEXT, outdir=str(tmp_path_factory.mktemp("cdk.out")))
        stack = FruitsStack(app, settings.name, settings, bundle)
        cdk.Validations.of(app).add_plugins(AwsSolutionsChecks(app))
        return Synthesised(Template.from_stack(stack).to_json())

    return synthesise


@pytest.fixture(scope="session")
def dev(synthesise: Synthesise) -> Synthesised:
    """The stack with the default settings."""
    return synthesise(StageSettings.of())
