"""Numbers, times and labels as people write them."""

from datetime import datetime

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
