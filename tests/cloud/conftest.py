"""One local AWS for all tests of the cloud, with one deployed stage that the modules share."""

import platform
from collections.abc import Iterator
from pathlib import Path

import pytest

from spark_job import demo
from tests.cloud.deployed import Deployed
from tests.local_aws import cdk, emulator
from tests.local_aws.emulator import LocalAws

#: The settings of the stage. One hour is the minimum for a run.
SETTINGS = {"longest_run_hours": 1}


@pytest.fixture(scope="session")
def aws(openssl: str) -> Iterator[LocalAws]:  # noqa: ARG001 - MiniStack makes its certificate with it
    """A local AWS that is bootstrapped for CDK."""
    if platform.system() != "Linux":
        pytest.skip("the cluster's Python environment is for Linux")
    if not (emulator.ROOT / "node_modules" / "@aws-sdk").exists():
        pytest.skip("the CDK command is not installed; run make test, which installs it")
    with emulator.running() as aws:
        cdk.bootstrap(aws)
        yield aws


@pytest.fixture(scope="session")
def dev(aws: LocalAws) -> Deployed:
    """The stage `dev`, deployed."""
    cdk.deploy(aws, **SETTINGS)
    return Deployed.find(aws, "fruits-dev")


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a few drawn photos per label. Two photos are broken."""
    folder = tmp_path_factory.mktemp("drawn")
    demo.draw(folder, photos_per_label=1)
    return folder
