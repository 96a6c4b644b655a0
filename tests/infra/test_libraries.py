"""Whether the cluster's Amazon Linux 2023 can load every shared library of the bundles.

uv trusts the tag of a wheel. LiteRT's wheel for arm64 says glibc 2.27, but its libraries need glibc 2.34.
"""

import io
import re
import zipfile
from pathlib import Path
from typing import get_args

import pytest
from elftools.elf.constants import P_FLAGS
from elftools.elf.dynamic import DynamicSegment
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection

from cdk_app import bundle
from cdk_app.stage_settings import Architecture, StageSettings

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


#: ELF's names of the processors.
MACHINES: dict[Architecture, str] = {"arm64": "EM_AARCH64", "x86_64": "EM_X86_64"}


def libraries(environment: Path) -> dict[str, ELFFile]:
    """Return the files that are shared libraries, whatever their names are."""
    found = {}
    with zipfile.ZipFile(environment) as archive:
        for name in archive.namelist():
            with archive.open(name) as file:
                if (start := file.read(4)) == b"\x7fELF":
                    found[name] = ELFFile(io.BytesIO(start + file.read()))
    return found


def obstacles(library: ELFFile, architecture: Architecture, bundled: set[str]) -> list[str]:
    """Return the reasons why a node cannot load a library next to the bundled ones."""
    found = []
    if library["e_machine"] != MACHINES[architecture]:
        found.append(f"is for {library['e_machine']}")
    stacks = [segment["p_flags"] for segment in library.iter_segments("PT_GNU_STACK")]
    if not stacks or any(flags & P_FLAGS.PF_X for flags in stacks):  # also if it says nothing about the stack
        found.append("makes the stack executable")
    dynamic = (segment for segment in library.iter_segments() if isinstance(segment, DynamicSegment))
    tags = (tag for segment in dynamic for tag in segment.iter_tags("DT_NEEDED"))
    needed = {str(tag.needed) for tag in tags}  # type: ignore[attr-defined]  # pyelftools sets it
    found += [f"needs {name}" for name in sorted(needed - SYSTEM - bundled)]
    found += [f"needs {it} of {name}" for name, it in versions(library) if name in SYSTEM and too_new(it)]
    return found


def versions(library: ELFFile) -> list[tuple[str, str]]:
    """Return the versions of symbols that a library needs, each with the library that must have it."""
    sections = (section for section in library.iter_sections() if isinstance(section, GNUVerNeedSection))
    return [
        (str(of.name), version.name) for section in sections for of, used in section.iter_versions() for version in used
    ]


def too_new(version: str) -> bool:
    family, _, number = version.partition("_")
    # A version that is not a number, such as GLIBC_PRIVATE, is no promise of any release.
    return not re.fullmatch(r"[\d.]+", number) or tuple(map(int, number.split("."))) > NEWEST.get(family, ())


@pytest.mark.parametrize("architecture", get_args(Architecture))
def test_the_cluster_can_load_every_library(architecture: Architecture) -> None:
    """The environment is built if the cache does not have it."""
    settings = StageSettings.of(architecture=architecture, weights="random")
    found = libraries(bundle.build(settings, bundle.ROOT / ".cache" / "bundle").environment)
    assert len(found) > 100
    needed = {version for library in found.values() for _, version in versions(library)}
    assert any(version.startswith("GLIBC_2.") for version in needed)
    bundled = {name.rpartition("/")[2] for name in found}
    problems = {name: obstacles(library, architecture, bundled) for name, library in found.items()}
    assert {name: reasons for name, reasons in problems.items() if reasons} == {}
