"""Divides the keys of a bucket into ranges, which tasks can list at the same time.

S3 returns keys in the order of their UTF-8 bytes, and it can start after any string, but it does not tell how many keys
follow. Therefore the size of a range is estimated from a page of its first keys, and from where the keys after this
page differ from it. A wrong estimate costs time, but never a key: ranges follow each other without a gap, and their
limits stay the same while objects come and go.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from os.path import commonprefix
from typing import Protocol, TypeVar

KEYS_PER_PAGE = 1_000
_MAX_KEY_BYTES = 1_024

_ROUNDS = 8
_CUTS = 16  # a range is cut into at most about this many at once
_NEIGHBOURS = 32
_GROUP = 100
_SKIPPED = 150  # the last key of a page is often the last one of a group, such as 0000999
_CHILDREN = 4  # a guess: how many characters may follow where keys differ

T = TypeVar("T")
R = TypeVar("R")

KeysAfter = Callable[[str, int], list[str]]
"""Returns the first keys after a string, in order, at most as many as the number says."""


class Map(Protocol):
    """The built-in ``map``, or one that calls the function for several items at once."""

    def __call__(self, function: Callable[[T], R], items: Iterable[T], /) -> Iterable[R]:
        """Return the result for each item, in order."""


@dataclass(frozen=True)
class KeyRange:
    """The keys after one string, up to another one, which is included. With None, the range has no upper limit."""

    after: str = ""
    until: str | None = None

    def __contains__(self, key: str) -> bool:
        return self.after < key and (self.until is None or key <= self.until)


@dataclass(frozen=True)
class _Survey:
    """What a few requests told about a range.

    Attributes
    ----------
    keys
        The range.
    size
        The estimated number of keys.
    stem
        What all keys after the first page begin with.
    first
        The character after the stem of the last keys of the first page.
    others
        Characters after it that keys may have there, in order.
    """

    keys: KeyRange
    size: int
    stem: str = ""
    first: str = ""
    others: Sequence[str] = ()


def divide(keys_after: KeysAfter, count: int, parallel: Map = map) -> list[KeyRange]:
    """Divide all keys into about ``count`` ranges of similar size, or fewer if there are few keys.

    Parameters
    ----------
    keys_after
        Asks for keys. A string that it gets has at most 1,024 bytes, as a key has.
    count
        How many ranges are wanted. One or two times as many may be returned.
    parallel
        Makes independent requests.
    """
    survey, first = partial(_survey, keys_after), partial(_first, keys_after)
    surveys = [survey(KeyRange())]
    for _ in range(_ROUNDS if count > 1 else 0):
        share = max(sum(found.size for found in surveys) / count, KEYS_PER_PAGE * (1 + (len(surveys) - 1) / 16))
        large = [found for found in surveys if found.size > share]
        if not large:
            break
        starts = sorted(set().union(*(_starts(found, math.ceil(found.size / share)) for found in large)))
        cuts = {key: start for key, start in zip(parallel(first, starts), starts, strict=True) if key}
        pieces = [piece for found in large for piece in _cut(found.keys, cuts)]
        surveys = [found for found in surveys if found.size <= share] + list(parallel(survey, pieces))
    return sorted((found.keys for found in surveys), key=lambda keys: keys.after)


def _survey(keys_after: KeysAfter, keys: KeyRange) -> _Survey:
    """Estimate the size of a range.

    The last keys of the first page are neighbours. Wherever a later key differs from them, at a place further left in
    the name, the neighbours are one of several groups of a similar size.
    """
    page = [key for key in keys_after(keys.after, KEYS_PER_PAGE) if key in keys]
    if len(page) < KEYS_PER_PAGE:
        return _Survey(keys, len(page))
    last = page[-_SKIPPED]
    depth = _shared(page[-_SKIPPED - _NEIGHBOURS], last)
    characters = {key[_shared(before, key)] for before, key in pairwise(page)}
    levels = 0
    while (beyond := _first(keys_after, _end(last[:depth]))) and beyond in keys:
        depth = _shared(last, beyond)
        characters |= {last[depth], beyond[depth]}
        levels += 1
    stem, first = last[:depth], last[depth]
    others = sorted(other for other in characters if other > first and stem + other in keys)
    size = KEYS_PER_PAGE + int(_GROUP * _CHILDREN ** (levels - 1) * (1 + len(others)))
    return _Survey(keys, size, stem, first, others)


def _starts(found: _Survey, parts: int) -> set[str]:
    """Return strings at which a range may be cut: between characters that were seen, and at growing distances."""
    codes = [ord(found.first) + 4**power for power in range(11)]
    unseen = [chr(code) for code in codes if code <= 0x10FFFF and not 0xD800 <= code < 0xE000]
    seen = _spread([found.first, *found.others], min(parts, _CUTS))
    return {end for character in {*seen, *unseen} if (end := _end(found.stem + character)) and end in found.keys}


def _spread(items: Sequence[T], count: int) -> Sequence[T]:
    """Return about ``count`` of the items, with equal distances."""
    return items[:: math.ceil(len(items) / count) or 1]


def _end(prefix: str) -> str | None:
    """Return a string after all keys with a prefix: the prefix with its last character counted up.

    None means that there is no such string, or that it is longer than a key may be.
    """
    prefix = prefix.rstrip("\U0010ffff")
    if not prefix:
        return None
    code = ord(prefix[-1]) + 1
    end = prefix[:-1] + chr(0xE000 if code == 0xD800 else code)  # surrogates are no characters
    return end if len(end.encode()) <= _MAX_KEY_BYTES else None


def _first(keys_after: KeysAfter, start: str | None) -> str | None:
    """Return the first key after a string."""
    found = keys_after(start, 1) if start else []
    return found[0] if found else None


def _cut(keys: KeyRange, cuts: dict[str, str]) -> list[KeyRange]:
    """Cut a range at strings, each of which is given with the first key after it."""
    inside = sorted(cut for key, cut in cuts.items() if key in keys and cut in keys and cut != keys.until)
    return [KeyRange(*limits) for limits in zip([keys.after, *inside], [*inside, keys.until], strict=True)]


def _shared(one: str, other: str) -> int:
    """Return how many characters two strings have in common at the beginning."""
    return len(commonprefix([one, other]))  # noqa: RUF071 - a key may differ from another within a name
