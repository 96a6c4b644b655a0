"""Divides the keys of a bucket into ranges, which tasks can list at the same time.

S3 returns keys in the order of their UTF-8 bytes, and it can start after any string. It does not tell how many keys
follow. So a few requests look at the first keys of a range and at where later keys differ from them, and this gives an
estimate of its size. A large range is cut where keys differ. A wrong estimate costs time, but never a key: each range
begins where the one before it ends, and its limits stay the same while objects come and go.
"""

import math
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from os.path import commonprefix
from typing import Any, TypeVar

KEYS_PER_PAGE = 1_000
_MAX_KEY_BYTES = 1_024

_ROUNDS = 8
_CUTS_PER_RANGE = 16  # a range is cut at about this many places at once
_PAGES_WORTH_A_CUT = 1 / 8  # for each range that there is already, because a cut costs requests
_SAMPLE = 250  # keys of a range that are looked at
_SKIPPED = 60  # of these, at the end: a sample often ends where a group does, for example at 0000249
_NEIGHBOURS = 32
_KEYS_PER_GROUP = 100  # a guess: how many keys begin like the neighbours
_BRANCHES = 4  # a guess: how many different characters follow where names differ
_LAST_CHARACTER = chr(sys.maxunicode)
_SURROGATES = range(0xD800, 0xE000)  # no characters, so no key has them

T = TypeVar("T")

KeysAfter = Callable[[str, int], list[str]]
"""Returns the first keys after a string, in order, at most as many as the number says."""


Map = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]
"""The built-in ``map``, or one that calls the function for several items at once."""


@dataclass(frozen=True)
class KeyRange:
    """The keys after one string, up to another one, which is included. With None, the range has no upper limit."""

    after: str = ""
    until: str | None = None

    def __contains__(self, key: str) -> bool:
        return self.after < key and (self.until is None or key <= self.until)

    def can_be_cut(self, at: str) -> bool:
        """Return whether the range may have keys both before and after a string."""
        return at in self and at != self.until


@dataclass(frozen=True)
class _Survey:
    """What a few requests show about a range.

    Attributes
    ----------
    keys
        The range.
    size
        The estimated number of keys.
    stem
        What all keys have in common, except some of the first ones.
    first
        The first character that these keys have after the stem. It is empty if all keys were seen.
    others
        Greater characters that they may have there, in order.
    """

    keys: KeyRange
    size: int
    stem: str = ""
    first: str = ""
    others: Sequence[str] = ()


def divide(keys_after: KeysAfter, count: int, parallel: Map = map) -> list[KeyRange]:
    """Divide all keys into about ``count`` ranges of similar size, or fewer if there are few keys.

    The largest come first. Tasks that take one after the other then end at about the same time.

    Parameters
    ----------
    keys_after
        Requests keys. It gets no string of more than 1,024 bytes, which is S3's limit for a key.
    count
        The number of ranges that is wanted. There may be three times as many.
    parallel
        Makes several requests at once.
    """
    first_page = keys_after("", KEYS_PER_PAGE)
    if len(first_page) < KEYS_PER_PAGE or count == 1:
        return [KeyRange()]
    surveys = [_estimate(keys_after, KeyRange(), first_page[:_SAMPLE])]
    for _ in range(_ROUNDS):
        wanted = sum(found.size for found in surveys) / count
        worth_cutting = KEYS_PER_PAGE * _PAGES_WORTH_A_CUT * len(surveys)
        largest = max(wanted, worth_cutting)
        large = [found for found in surveys if found.first and found.size > largest]
        if not large:
            break
        pieces = _cut(keys_after, large, largest, parallel)
        small = [found for found in surveys if found not in large]
        surveys = small + list(parallel(partial(_survey, keys_after), pieces))
    return [found.keys for found in sorted(surveys, key=lambda found: found.size, reverse=True)]


def _cut(keys_after: KeysAfter, large: Sequence[_Survey], largest: float, parallel: Map) -> list[KeyRange]:
    """Cut ranges into pieces, each of which has a key."""
    places = sorted(set().union(*parallel(partial(_places, keys_after, largest), large)))
    first_keys = parallel(partial(_first, keys_after), places)
    # There is no key between two places with the same first key after them, so one of the two is enough.
    cuts = {key: place for key, place in zip(first_keys, places, strict=True) if key}
    return [piece for found in large for piece in _pieces(found.keys, cuts)]


def _survey(keys_after: KeysAfter, keys: KeyRange) -> _Survey:
    """Look at the first keys of a range, and estimate its size."""
    return _estimate(keys_after, keys, [key for key in keys_after(keys.after, _SAMPLE) if key in keys])


def _estimate(keys_after: KeysAfter, keys: KeyRange, sample: list[str]) -> _Survey:
    """Estimate the size of a range that begins with a sample.

    Some neighbours among its first keys have a beginning in common. The first key after all keys with this beginning
    differs from them at a place further to the left. What is common up to there is the next beginning, and so on. The
    more such places there are, the larger is the range.
    """
    if len(sample) < _SAMPLE:
        return _Survey(keys, len(sample))
    last = sample[-_SKIPPED]
    depth = _shared(sample[-_SKIPPED - _NEIGHBOURS], last)
    characters = {key[_shared(before, key)] for before, key in pairwise(sample)}
    levels = 0
    while beyond := _beyond(keys_after, keys, last[:depth]):
        depth = _shared(last, beyond)
        characters |= {last[depth], beyond[depth]}
        levels += 1
    stem, first = last[:depth], last[depth]
    others = sorted(other for other in characters if other > first and stem + other in keys)
    top_branches = 1 + len(others)  # the others were seen; how many branches the levels below have is a guess
    groups_per_top_branch = _BRANCHES ** (levels - 1)
    size = _SAMPLE + int(_KEYS_PER_GROUP * groups_per_top_branch * top_branches)
    return _Survey(keys, size, stem, first, others)


def _places(keys_after: KeysAfter, largest: float, found: _Survey) -> set[str]:
    """Return strings at which a range may be cut: between characters that were seen, and at growing distances."""
    seen = [found.first, *found.others]
    distant = _distant(found.first)
    if not _beyond(keys_after, found.keys, found.stem + seen[-1]):  # one request may save ten
        distant = [character for character in distant if character < seen[-1]]
    pieces = min(math.ceil(found.size / largest), _CUTS_PER_RANGE)
    ends = [_end(found.keys, found.stem + character) for character in {*_spread(seen, pieces), *distant}]
    return {end for end in ends if end}


def _distant(first: str) -> list[str]:
    """Return the characters that are 1, 4, 16 and so on after a character."""
    codes = [ord(first) + 4**power for power in range(11)]
    return [chr(code) for code in codes if code <= sys.maxunicode and code not in _SURROGATES]


def _spread(items: Sequence[T], count: int) -> Sequence[T]:
    """Return about ``count`` of the items, with equal distances."""
    return items[:: math.ceil(len(items) / count) or 1]


def _end(keys: KeyRange, prefix: str) -> str | None:
    """Return a string after all keys with a prefix: the prefix with the next character in place of its last one.

    None means that the range cannot be cut there, or that the string is longer than a key may be.
    """
    prefix = prefix.rstrip(_LAST_CHARACTER)
    if not prefix:
        return None
    code = ord(prefix[-1]) + 1
    end = prefix[:-1] + chr(_SURROGATES.stop if code in _SURROGATES else code)
    return end if len(end.encode()) <= _MAX_KEY_BYTES and keys.can_be_cut(end) else None


def _beyond(keys_after: KeysAfter, keys: KeyRange, prefix: str) -> str | None:
    """Return the first key after all keys with a prefix, if the range has one."""
    end = _end(keys, prefix)
    key = _first(keys_after, end) if end else None
    return key if key and key in keys else None


def _first(keys_after: KeysAfter, start: str) -> str | None:
    """Return the first key after a string."""
    return next(iter(keys_after(start, 1)), None)


def _pieces(keys: KeyRange, cuts: dict[str, str]) -> list[KeyRange]:
    """Cut a range at places, each of which is given with the first key after it."""
    inside = sorted(place for key, place in cuts.items() if key in keys and keys.can_be_cut(place))
    starts, ends = [keys.after, *inside], [*inside, keys.until]
    return [KeyRange(start, end) for start, end in zip(starts, ends, strict=True)]


def _shared(one: str, other: str) -> int:
    """Return how many characters two strings have in common at the beginning."""
    return len(commonprefix([one, other]))  # noqa: RUF071 - a key may differ from another within a name
