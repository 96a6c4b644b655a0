"""The documents agree with the code: commands parse, links resolve, and tables contain the code's values."""

import argparse
import re
import shlex
from dataclasses import fields
from itertools import chain
from pathlib import Path

import pytest

from cdk_app.settings import Settings as StageSettings
from docs import costs
from spark_job import cli
from spark_job.settings import Settings

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
NOTEBOOK = ROOT / "docs" / "walkthrough.ipynb"

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def _shell(text: str) -> list[str]:
    """Return the lines of a page's shell blocks without comments and prompts; a word replaces each placeholder."""
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [re.sub(r"<[^>]*>", "word", line).split("  #")[0].removeprefix("$ ") for line in lines]


def _commands(text: str) -> list[list[str]]:
    words = [shlex.split(line) for line in _shell(text)]
    return [line[line.index(name) + 1 :] for line in words for name in ("fruits", "spark_job") if name in line]


def _subparsers() -> dict[str, argparse.ArgumentParser]:
    actions = cli._parser()._actions
    return dict(next(action for action in actions if isinstance(action, argparse._SubParsersAction)).choices)


def _table(text: str, head: str) -> list[list[str]]:
    """Return the cells of each row of the table with this first heading."""
    lines = text[text.index(f"| {head} |") :].split("\n\n", maxsplit=1)[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def _anchor(heading: str) -> str:
    """Return the anchor that code hosts generate for a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@every_page
def test_commands_parse_and_make_targets_exist(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in _commands(page.read_text()):
        try:
            cli._parser().parse_args(command)
        except SystemExit:
            pytest.fail(f"{shlex.join(command)}: {capsys.readouterr().err}")
    targets = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = re.findall(r"(?:^|`)make ([a-z][\w-]*)", page.read_text(), re.MULTILINE)
    assert set(named) <= targets


def test_the_pages_contain_commands() -> None:
    assert sum(len(_commands(page.read_text())) for page in PAGES) >= 2


def test_every_command_has_examples_that_parse() -> None:
    examples = {name: _examples(parser.format_help()) for name, parser in _subparsers().items()}
    assert all(words[0] == name for name, lines in examples.items() for words in lines)
    assert all(examples.values())
    for words in [*chain.from_iterable(examples.values()), *_examples(cli._parser().format_help())]:
        assert cli._parser().parse_args(words[: words.index("|")] if "|" in words else words)


def _examples(text: str) -> list[list[str]]:
    return [shlex.split(line)[1:] for line in text.splitlines() if line.startswith("  fruits ")]


@pytest.mark.parametrize("page", [*PAGES, NOTEBOOK], ids=lambda page: page.name)
def test_links_resolve(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s\"]+)\)", page.read_text()):
        if target.startswith(("https://", "mailto:")):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        headings = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE) if anchor else []
        assert not anchor or anchor in map(_anchor, headings), target


@every_page
def test_named_files_exist(page: Path) -> None:
    for name in re.findall(r"`((?:spark_job|cdk_app|tests|docs|benchmarks)/[\w./-]*\w)`", page.read_text()):
        assert (ROOT / name).exists(), name


def test_the_table_of_run_options_matches_the_code() -> None:
    options = {option: action for action in _subparsers()["run"]._actions for option in action.option_strings}
    rows = _table((ROOT / "README.md").read_text(), "option of `run`")
    documented = {row[0].strip("`"): row[1].strip("`") for row in rows}
    assert set(documented) | {"-h", "--help", "--input", "--output", "--json"} >= set(options)
    defaults = {field.name: field.default for field in fields(Settings)}
    for option, default in documented.items():
        actual = options[option].default
        expected = {"off": False, "time and letters": None}.get(default, default)
        assert str(actual) == str(expected), option
        name = option.removeprefix("--").replace("-", "_")
        assert actual is None or str(defaults[name]) == str(actual), option


def test_the_table_of_stage_settings_matches_the_code() -> None:
    rows = _table((ROOT / "README.md").read_text(), "setting of `cdk deploy -c name=value`")
    documented: dict[str, str] = {}
    for names, defaults, _ in rows:
        values = [word.strip("` ") for word in defaults.split(",")]
        documented |= zip(re.findall(r"`(\w+)`", names), values, strict=True)
    actual = {field.name: str(field.default) or "none" for field in fields(StageSettings)}
    assert documented == actual


def test_the_review_contains_the_tables_of_the_cost_calculator() -> None:
    page = (ROOT / "docs" / "critical-review.md").read_text()
    assert costs.table([10**4, 10**6, 10**8], 90) in page
    assert costs.price_table() in page


@every_page
def test_pages_contain_no_local_paths(page: Path) -> None:
    assert not re.findall(r"(?:^|[\s`'\"(=])/(?:root|home|tmp|work|Users)/\S*", page.read_text())


def test_the_changelog_mentions_every_command() -> None:
    changes = (ROOT / "CHANGELOG.md").read_text()
    for command in _subparsers():
        assert f"`{command}`" in changes
