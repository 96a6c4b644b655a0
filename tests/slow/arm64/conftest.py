"""A node with the cluster's default processor, arm64, and one with x86-64 to compare it with."""

import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cdk_app import bundle
from tests.slow.arm64 import debian, photos
from tests.slow.arm64.node import Node

HERE = {"aarch64": "arm64"}.get(platform.machine(), platform.machine())
#: EMR starts the cheapest type of a fleet, if it is available: m6g.
PROCESSOR = os.environ.get("FRUITS_TEST_PROCESSOR", "graviton2")
_PYTHON = [getattr(sys, "_base_executable", sys.executable)]


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    """A folder for everything that the tests make, about 500 MB. It is deleted at the end."""
    if platform.system() != "Linux":
        pytest.skip("the cluster's Python environment is for Linux")
    with tempfile.TemporaryDirectory(prefix="fruits-arm64-") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def arm64(folder: Path) -> Node:
    """A node with arm64: this machine's own Python, or an emulated one."""
    if HERE == "arm64":
        return Node.prepare("arm64", _PYTHON, folder / "arm64")
    try:
        emulated = debian.python(bundle.ROOT / ".cache" / "arm64", PROCESSOR)
    except debian.UnavailableError as error:
        pytest.skip(f"arm64 cannot be emulated here: {error}")
    return Node.prepare("arm64", emulated, folder / "arm64")


@pytest.fixture(scope="session")
def x86_64(arm64: Node, folder: Path) -> Node:  # noqa: ARG001 - without arm64, there is nothing to compare with
    """A node with x86-64."""
    if HERE != "x86_64":
        pytest.skip(f"there is no x86-64 to compare with: this machine is {platform.machine()}")
    return Node.prepare("x86_64", _PYTHON, folder / "x86_64")


@pytest.fixture(scope="session")
def drawn(folder: Path) -> Path:
    """A folder with photos of two labels."""
    photos.draw(folder / "photos")
    return folder / "photos"
