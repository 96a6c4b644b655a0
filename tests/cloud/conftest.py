"""One local AWS for all tests of the cloud, with one stage deployed for the flow and the faults."""

import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from spark_job import demo
from tests.cloud.deployed import Deployed
from tests.local_aws import cdk, emulator
from tests.local_aws.emulator import LocalAws

#: The stage's settings; an hour is the least that a run may take.
SETTINGS = {"longest_run_hours": 1}


@pytest.fixture(scope="session")
def aws() -> Iterator[LocalAws]:
    """A local AWS that CDK may deploy to."""
    if platform.system() != "Linux":
        pytest.skip("the cluster's Python environment is for Linux")
    if not (emulator.ROOT / "node_modules" / "@aws-sdk").exists():
        pytest.skip("the CDK command is not installed; make test-cloud does it")
    if not shutil.which("openssl", path=os.pathsep.join([os.environ["PATH"], os.defpath])):
        pytest.skip("MiniStack makes its certificate with openssl, and there is none")
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
    """A few drawn photos of each label, two of them broken."""
    folder = tmp_path_factory.mktemp("drawn")
    demo.draw(folder, images_per_label=1)
    return folder


_rows: list[tuple[str, ...]] = []


@pytest.fixture(scope="session")
def fault_rows() -> list[tuple[str, ...]]:
    """The rows of the fault matrix, as they come."""
    return _rows


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the fault matrix."""
    if _rows:
        heads = ("fault", "the execution ends", "the cluster is ended by", "after", "and gone after")
        widths = [max(map(len, column)) for column in zip(heads, *_rows, strict=True)]
        terminalreporter.section("faults in the cloud")
        for row in (heads, *_rows):
            terminalreporter.write_line("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)))
