"""What the tests of the CDK app share: a bundle of stand-in files, and each stage synthesised once."""

import json
from collections.abc import Callable
from functools import cache

import pytest

import cdk_app  # noqa: F401 # isort: skip # first: it chooses the Node that CDK runs on
import aws_cdk as cdk
from aws_cdk.assertions import Template
from cdk_nag import AwsSolutionsChecks

from cdk_app.bundle import ROOT, Bundle
from cdk_app.settings import Settings
from cdk_app.stack import FruitsStack
from tests.cdk.template import Synthesised

CONTEXT = json.loads((ROOT / "cdk.json").read_text())["context"]
Synthesise = Callable[[Settings], Synthesised]


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Four small files in the place of the job."""
    folder = tmp_path_factory.mktemp("bundle")
    files = [folder / name for name in ("main.py", "code.zip", "environment.zip", "model.zip")]
    for file in files:
        file.write_text(file.name)
    return Bundle(*files)


@pytest.fixture(scope="session")
def synthesise(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Synthesise:
    """Synthesise the stack of some settings with all its checks, once a session."""

    @cache
    def synthesise(settings: Settings) -> Synthesised:
        app = cdk.App(context=CONTEXT, outdir=str(tmp_path_factory.mktemp("cdk.out")))
        stack = FruitsStack(app, settings.name, settings, bundle)
        cdk.Validations.of(app).add_plugins(AwsSolutionsChecks(app))
        return Synthesised(Template.from_stack(stack).to_json())

    return synthesise


@pytest.fixture(scope="session")
def dev(synthesise: Synthesise) -> Synthesised:
    """The stack as it is deployed by default."""
    return synthesise(Settings())
