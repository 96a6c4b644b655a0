"""Whether the cluster's Amazon Linux 2023 can load every shared library of the bundles.

uv trusts the tag of a wheel. LiteRT's wheel for arm64 says glibc 2.27, but its libraries need glibc 2.34.
"""

import re
import struct
import zipfile
from pathlib import Path

import pytest

from cdk_app import bundle
from cdk_app.stage_settings import Architecture, StageSettings
from tests.infra import elf
from tests.infra.elf import SharedLibrary

Libraries = dict[str, bytes]

ARCHITECTURES: tuple[Architecture, ...] = ("arm64", "x86_64")
#: The newest symbol versions of Amazon Linux 2023: glibc 2.34, and the C and C++ runtimes of GCC 14, which came with
#: release 2023.7 (March 2025). EMR starts clusters on the latest release. docs/first-deploy.md has the sources. We
#: assume no more of zlib than version 1.2.9 of 2016.
NEWEST = {
    "GLIBC": (2, 34),
    "GLIBCXX": (3, 4, 33),
    "CXXABI": (1, 3, 15),
    "GCC": (14, 0, 0),
    "ZLIB": (1, 2, 9),
}
#: The libraries of the packages glibc, libgcc, libstdc++ and zlib.
SYSTEM = {
    *("libc.so.6", "libm.so.6", "libdl.so.2", "librt.so.1", "libpthread.so.0"),
    *("ld-linux-aarch64.so.1", "ld-linux-x86-64.so.2"),
    *("libgcc_s.so.1", "libstdc++.so.6", "libz.so.1"),
}


@pytest.fixture(scope="module", params=ARCHITECTURES)
def architecture(request: pytest.FixtureRequest) -> Architecture:
    chosen: Architecture = request.param
    return chosen


@pytest.fixture(scope="module")
def libraries(architecture: Architecture) -> Libraries:
    """The shared libraries of the bundle's environment, which is built if the cache does not have it."""
    settings = StageSettings.of(architecture=architecture, weights="random")
    return _libraries(bundle.build(settings, bundle.ROOT / ".cache" / "bundle").environment)


def _libraries(environment: Path) -> Libraries:
    """Return the files that are shared libraries, whatever their names are."""
    found = {}
    with zipfile.ZipFile(environment) as archive:
        for name in archive.namelist():
            with archive.open(name) as file:
                if (start := file.read(len(elf.MAGIC))) == elf.MAGIC:
                    found[name] = start + file.read()
    return found


def _obstacles(library: SharedLibrary, architecture: Architecture, bundled: set[str]) -> list[str]:
    """Return the reasons why a node cannot load a library next to the bundled ones."""
    obstacles = []
    if library.machine != elf.MACHINES[architecture]:
        obstacles.append(f"is for machine {library.machine}")
    if library.executable_stack:
        obstacles.append("makes the stack executable")
    for needed, versions in library.needs.items():
        if needed in SYSTEM:
            obstacles += [f"needs {version} of {needed}" for version in versions if _too_new(version)]
        elif needed not in bundled:
            obstacles.append(f"needs {needed}")
    return obstacles


def _too_new(version: str) -> bool:
    family, _, number = version.partition("_")
    # A version that is not a number, such as GLIBC_PRIVATE, is no promise of any release.
    return not re.fullmatch(r"[\d.]+", number) or tuple(map(int, number.split("."))) > NEWEST.get(family, ())


def test_the_cluster_can_load_every_library(architecture: Architecture, libraries: Libraries) -> None:
    assert len(libraries) > 100
    bundled = {name.rpartition("/")[2] for name in libraries}
    found = {name: _obstacles(elf.read(data), architecture, bundled) for name, data in libraries.items()}
    assert {name: obstacles for name, obstacles in found.items() if obstacles} == {}


def test_a_library_that_the_cluster_cannot_load_is_found(architecture: Architecture, libraries: Libraries) -> None:
    """Change one thing at a time in the bytes of a real library."""
    other = next(chosen for chosen in ARCHITECTURES if chosen != architecture)
    stack = struct.pack("<II", 0x6474E551, 6)
    good = next(
        data for data in libraries.values() if {"libc.so.6", "libm.so.6"} <= set(elf.read(data).needs) <= SYSTEM
    )
    glibc = min(elf.read(good).needs["libc.so.6"])

    def obstacles(before: bytes, after: bytes) -> list[str]:
        assert before in good
        return _obstacles(elf.read(good.replace(before, after)), architecture, set())

    assert _obstacles(elf.read(good), architecture, set()) == []
    assert _obstacles(elf.read(good), other, set()) == [f"is for machine {elf.MACHINES[architecture]}"]
    assert obstacles(stack, struct.pack("<II", 0x6474E551, 7)) == ["makes the stack executable"]
    assert obstacles(stack, struct.pack("<II", 0, 0)) == ["makes the stack executable"]  # it says nothing about it
    assert obstacles(b"libm.so.6\0", b"libq.so.6\0") == ["needs libq.so.6"]
    newer = "GLIBC_2." + "9" * (len(glibc) - len("GLIBC_2."))
    assert f"needs {newer} of libc.so.6" in obstacles(glibc.encode() + b"\0", newer.encode() + b"\0")


@pytest.mark.parametrize(
    ("version", "too_new"),
    [
        *(("GLIBC_2.17", False), ("GLIBC_2.34", False), ("GLIBC_2.35", True), ("GLIBC_PRIVATE", True)),
        *(("GLIBCXX_3.4.33", False), ("GLIBCXX_3.4.34", True), ("CXXABI_1.3", False), ("CXXABI_1.3.16", True)),
        *(("GCC_4.2.0", False), ("GCC_15.0.0", True), ("UNKNOWN_1.0", True)),
    ],
)
def test_versions_are_compared_as_numbers(version: str, *, too_new: bool) -> None:
    assert _too_new(version) is too_new
