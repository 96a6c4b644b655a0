"""One local AWS for all tests of the cloud, with one deployed stage that the modules share."""

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

#: The settings of the stage. One hour is the minimum for a run.
SETTINGS = {"longest_run_hours": 1}


@pytest.fixture(scope="session")
def aws() -> Iterator[LocalAws]:
    """A local AWS that is bootstrapped for CDK."""
    if platform.system() != "Linux":
        pytest.skip("the cluster's Python environment is for Linux")
    if not (emulator.ROOT / "node_modules" / "@aws-sdk").exists():
        pytest.skip("the CDK command is not installed; run make test, which installs it")
    if not shutil.which("openssl", path=os.pathsep.join([os.environ["PATH"], os.defpath])):
        pytest.skip("MiniStack creates its certificate with openssl, which is not installed")
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


_rows: list[tuple[str, ...]] = []


@pytest.fixture(scope="session")
def fault_rows() -> list[tuple[str, ...]]:
    """The rows of the fault matrix. The tests append to it."""
    return _rows


_destroy_rows: list[tuple[str, str]] = []


@pytest.fixture(scope="session")
def destroy_rows() -> list[tuple[str, str]]:
    """How long each destruction took. The tests append to it."""
    return _destroy_rows


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the fault matrix, and how long the destructions took."""
    fault_heads = ("fault", "the execution ends", "the cluster is ended by", "after", "and gone after")
    for title, heads, rows in (
        ("faults in the cloud", fault_heads, _rows),
        ("destructions", ("destroyed", "took"), _destroy_rows),
    ):
        if rows:
            widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
            terminalreporter.section(title)
            for row in (heads, *rows):
                cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
                terminalreporter.write_line("  ".join(cells))
