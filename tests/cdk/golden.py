"""What was agreed on, written down: compare with it, or rewrite it with UPDATE_GOLDEN=1."""

import os
from pathlib import Path
from typing import Any

import yaml

_FOLDER = Path(__file__).parent / "golden"


class _Readable(yaml.SafeDumper):  # type: ignore[misc]  # yaml has no types
    """YAML with every long text in lines of its own."""


_Readable.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None),
)
_Readable.ignore_aliases = lambda *_: True


def check(name: str, value: Any) -> None:
    """Fail if a value is not what its golden file says."""
    text = yaml.dump(value, Dumper=_Readable, sort_keys=False, width=120, allow_unicode=True)
    check_text(_FOLDER / f"{name}.yaml", text)


def check_text(file: Path, text: str) -> None:
    """Fail if a file does not hold a text."""
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(text)
    assert text == file.read_text(), f"{file.name} differs; look at it with UPDATE_GOLDEN=1 and git diff"
