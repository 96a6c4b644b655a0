"""Reads the part of a shared library that decides whether a machine can load it (see ``man 5 elf``)."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

MAGIC = b"\x7fELF"
MACHINES = {"arm64": 183, "x86_64": 62}
"""The value of ``e_machine`` by architecture."""

_HEADER, _SEGMENT, _ENTRY = struct.Struct("<16sHHIQQQIHHH"), struct.Struct("<IIQQQQQQ"), struct.Struct("<QQ")
_NEEDS, _VERSION = struct.Struct("<HHIII"), struct.Struct("<IHHII")
_64_BITS_LITTLE_ENDIAN = b"\x02\x01"
_LOAD, _DYNAMIC, _STACK = 1, 2, 0x6474E551  # types of segments
_END, _NEEDED, _STRINGS, _VERSION_NEEDS = 0, 1, 5, 0x6FFFFFFE  # tags of the dynamic section
_EXECUTABLE = 1


class _Segment(NamedTuple):
    kind: int
    flags: int
    start: int
    address: int
    physical_address: int
    length: int
    length_in_memory: int
    alignment: int


@dataclass(frozen=True)
class SharedLibrary:
    """What the loader looks at before it loads a shared library.

    Attributes
    ----------
    machine
        The processor, one of the values of MACHINES.
    needs
        The libraries that it needs, each with the versions of symbols that it needs of it, such as ``GLIBC_2.34``.
    executable_stack
        Whether it makes the stack of the whole process executable. It does so too if it says nothing about the stack.
    """

    machine: int
    needs: dict[str, frozenset[str]]
    executable_stack: bool


def read(data: bytes) -> SharedLibrary:
    """Read a shared library for a 64-bit little-endian processor, from the content of its file."""
    ident, _, machine, _, _, table, _, _, _, size, count = _HEADER.unpack_from(data)
    assert ident.startswith(MAGIC + _64_BITS_LITTLE_ENDIAN)
    segments = [_Segment._make(_SEGMENT.unpack_from(data, table + number * size)) for number in range(count)]

    def offset(address: int) -> int:
        """Return where in the file the bytes of an address are."""
        loaded = (segment for segment in segments if segment.kind == _LOAD)
        return next(s.start + address - s.address for s in loaded if s.address <= address < s.address + s.length)

    stacks = [segment.flags for segment in segments if segment.kind == _STACK]
    (dynamic,) = (segment for segment in segments if segment.kind == _DYNAMIC)
    entries = list(_entries(data, dynamic.start))
    places = dict(entries)
    strings = offset(places[_STRINGS])

    def text(place: int) -> str:
        return data[strings + place : data.index(b"\0", strings + place)].decode()

    needs = {text(value): frozenset[str]() for tag, value in entries if tag == _NEEDED}
    if _VERSION_NEEDS in places:
        for library, versions in _version_needs(data, offset(places[_VERSION_NEEDS])):
            needs[text(library)] = frozenset(map(text, versions))
    return SharedLibrary(machine, needs, not stacks or any(flags & _EXECUTABLE for flags in stacks))


def _entries(data: bytes, place: int) -> Iterator[tuple[int, int]]:
    """Yield tag and value of each entry of the dynamic section."""
    while (entry := _ENTRY.unpack_from(data, place))[0] != _END:
        yield entry[0], entry[1]
        place += _ENTRY.size


def _version_needs(data: bytes, place: int) -> Iterator[tuple[int, list[int]]]:
    """Yield, as places in the table of strings, the name of each library and those of the versions needed of it."""
    following = -1
    while following:
        _, count, library, first, following = _NEEDS.unpack_from(data, place)
        versions, where = [], place + first
        for _ in range(count):
            _, _, _, name, step = _VERSION.unpack_from(data, where)
            versions.append(name)
            where += step
        yield library, versions
        place += following
