"""The demonstration names what the stack really has."""

import re

from cdk_app.bundle import ROOT
from cdk_app.request import keys
from cdk_app.settings import Settings
from tests.cdk.template import Synthesised

PAGE = (ROOT / "docs" / "demo.md").read_text()


def test_outputs(dev: Synthesised) -> None:
    table = PAGE[PAGE.index("| output |") :].split("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE)) == set(dev.template["Outputs"])


def test_states(dev: Synthesised) -> None:
    table = PAGE[PAGE.index("| state |") :].split("\n\n")[0]
    named = re.split(r", | … ", ", ".join(re.findall(r"^\| ([A-Z][\w ,…]+) \|", table, re.MULTILINE)))
    assert set(named) <= set(dev.definition("Workflow")["States"])
    assert {"Create cluster", "Run job", "Terminate cluster"} <= set(named)


def test_what_a_wrong_key_is_told() -> None:
    assert f"`componentz is no key of the input; there are {', '.join(keys(Settings()))}.`" in PAGE
