"""Compares parts of the documentation with what the code says. UPDATE_GOLDEN=1 rewrites them."""

import os
from pathlib import Path


def check_text(file: Path, text: str) -> None:
    """Fail if the content of a file is not `text`."""
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(text)
    assert text == file.read_text(), f"{file.name} differs; update it with UPDATE_GOLDEN=1 and check it with git diff"
