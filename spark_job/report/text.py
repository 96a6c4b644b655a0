"""Numbers, times and labels as people write them."""

import json
from datetime import datetime
from typing import Any

NO_LABEL = "(no label)"


def label_name(label: str | None) -> str:
    """Return a label, or a name for the photos that have none."""
    return label or NO_LABEL


def in_one_line(text: str) -> str:
    r"""Return a name with its line breaks and other control characters escaped, for a terminal.

    >>> in_one_line("new\nline/ç.jpg")
    'new\\nline/ç.jpg'
    """
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def share(ratio: float, digits: int = 1) -> str:
    """Return a ratio as a percentage.

    >>> share(0.9034)
    '90.3\u202f%'
    """
    return f"{100 * ratio:.{digits}f}\u202f%"


def moment(iso: str) -> str:
    """Return a UTC time in ISO 8601 as people write it.

    >>> moment("2026-11-22T05:03:53Z")
    '22 November 2026, 05:03 UTC'
    """
    when = datetime.fromisoformat(iso)
    return f"{when.day} {when:%B %Y, %H:%M} UTC"


def setting(value: Any) -> str:
    """Return the value of a setting as people write it.

    >>> [setting(v) for v in (None, True, 0.9, "s3://b/in", ["jpg"])]
    ['none', 'yes', '0.9', 's3://b/in', '["jpg"]']
    """
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
