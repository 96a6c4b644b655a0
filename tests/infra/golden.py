"""Compares values with golden files. UPDATE_GOLDEN=1 rewrites the files."""

import os
from pathlib import Path
from typing import Any

import yaml

_FOLDER = Path(__file__).parent / "golden"


class _Readable(yaml.SafeDumper):  # type: ignore[misc]  # yaml has no types
    """Writes YAML in which every text of several lines is a block."""


_Readable.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None),
)
_Readable.ignore_aliases = lambda *_: True


def check(name: str, value: Any) -> None:
    """Fail if a value differs from its golden file."""
    text = yaml.dump(value, Dumper=_Readable, sort_keys=False, width=120, allow_unicode=True)
    check_text(_FOLDER / f"{name}.yaml", text)


def check_text(file: Path, text: str) -> None:
    """Fail if the content of a file is not `text`."""
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(text)
    assert text == file.read_text(), f"{file.name} differs; update it with UPDATE_GOLDEN=1 and check it with git diff"
