"""The longer JSONata of the state machine. Each file has one expression."""

import json
import re
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parent


def expression(name: str, **constants: Any) -> str:
    """Return the expression of a file, in one line and as Step Functions expects it.

    Parameters
    ----------
    name
        The name of the file without its ending. No text in the file has two spaces in a row.
    constants
        The values of the words in capital letters.
    """
    line = " ".join((_FOLDER / f"{name}.jsonata").read_text().split())
    for word, value in constants.items():
        text = json.dumps(value, ensure_ascii=False).replace("\\", r"\\")
        line = re.sub(rf"\b{word}\b", text, line)
    return f"{{% {line} %}}"
