"""Draws the state machine as a Mermaid diagram, with the resources that its states use."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

_SHAPES = {"Choice": '{{"%s"}}', "Fail": '[["%s"]]', "Succeed": '(["%s"])'}
_BOX = '["%s"]'
#: The resource that a task uses, by a word in its definition.
_RESOURCES = {
    "StorageData": '[("data bucket")]',
    "StorageResults": '[("results bucket")]',
    "elasticmapreduce:": '["EMR cluster<br/>in isolated subnets"]',
    "aws-sdk:emr:": '["EMR cluster<br/>in isolated subnets"]',
    "WatchTopic": '>"topic: e-mail, alarms"]',
    "CleanUpFunction": '[["clean-up: every hour,<br/>and after a bad end"]]',
}


def mermaid(definition: Mapping[str, Any]) -> str:
    """Return the diagram: arrows lead to the next state, dotted arrows follow an error, lines lead to resources."""
    ids = {name: f"s{number}" for number, name in enumerate(definition["States"])}
    places = {shape: f"p{number}" for number, shape in enumerate(dict.fromkeys(_RESOURCES.values()))}
    lines = ["flowchart TD"]
    for name, state in definition["States"].items():
        lines.append("  " + ids[name] + _SHAPES.get(state["Type"], _BOX) % name)
    lines += [f"  {place}{shape}" for shape, place in places.items()]
    for name, state in definition["States"].items():
        lines += [f"  {ids[name]} --> {ids[after]}" for after in dict.fromkeys(_next(state))]
        errors = dict.fromkeys(it["Next"] for it in state.get("Catch", []))
        lines += [f"  {ids[name]} -.-> {ids[after]}" for after in errors if after != state["Next"]]
        text = json.dumps(state) if state["Type"] == "Task" else ""
        used = dict.fromkeys(places[shape] for word, shape in _RESOURCES.items() if word in text)
        lines += [f"  {ids[name]} --- {place}" for place in used]
    return "\n".join(lines)


def _next(state: Mapping[str, Any]) -> Iterator[str]:
    yield from (choice["Next"] for choice in state.get("Choices", []))
    yield from (state[key] for key in ("Next", "Default") if key in state)
