"""The documents name the tests that prove their promises. These tests must exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "docs" / name for name in ("reliability.md", "gdpr.md", "security.md")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_tests_exist(page: Path) -> None:
    tests = {name for file in ROOT.glob("tests/**/*.py") for name in re.findall(r"def (test_\w+)", file.read_text())}
    named = re.findall(r"`(test_\w+)`", page.read_text())
    assert len(named) >= 5
    assert set(named) <= tests
