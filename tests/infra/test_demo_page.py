"""The page of the demonstration names the outputs, states and messages that the stack really has."""

import re

from cdk_app.bundle import ROOT
from cdk_app.request import KEYS
from tests.infra.template import Synthesised

PAGE = (ROOT / "docs" / "demo.md").read_text()


def test_outputs(dev: Synthesised) -> None:
    table = PAGE[PAGE.index("| output |") :].split("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE)) == set(dev.template["Outputs"])


def test_states(dev: Synthesised) -> None:
    table = PAGE[PAGE.index("| state |") :].split("\n\n")[0]
    named = re.split(r", | … ", ", ".join(re.findall(r"^\| ([A-Z][\w ,…]+) \|", table, re.MULTILINE)))
    assert set(named) <= set(dev.definition()["States"])
    assert {"Create cluster", "Start job", "Terminate cluster"} <= set(named)


def test_the_message_for_an_unknown_key() -> None:
    assert f'`Unknown key "componentz". Valid keys: {", ".join(KEYS)}.`' in PAGE
