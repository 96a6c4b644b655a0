"""What was agreed on, written down: compare with it, or rewrite it with UPDATE_GOLDEN=1."""

import os
from pathlib import Path
from typing import Any

import yaml

_FOLDER = Path(__file__).parent / "golden"


class _Readable(yaml.SafeDumper):
    """YAML with every long text in lines of its own."""


_Readable.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None),
)
_Readable.ignore_aliases = lambda *_: True  # type: ignore[method-assign]


def check(name: str, value: Any) -> None:
    """Fail if a value is not what its golden file says."""
    file = _FOLDER / f"{name}.yaml"
    text = yaml.dump(value, Dumper=_Readable, sort_keys=False, width=120, allow_unicode=True)
    if os.environ.get("UPDATE_GOLDEN"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    assert text == file.read_text(), f"{file.name} differs; look at it with UPDATE_GOLDEN=1 and git diff"
