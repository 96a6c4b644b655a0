"""Durations in words, for the terminal and for pages."""


def duration(seconds: float) -> str:
    """Return a duration in the one or two units that a person would use.

    >>> [duration(s) for s in (0.26, 8.24, 72, 3725)]
    ['0.3 s', '8.2 s', '1 min 12 s', '1 h 02 min']
    """
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes_left = divmod(minutes, 60)
    if hours:
        return f"{hours:,} h {minutes_left:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
