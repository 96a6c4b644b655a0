"""The documents agree with the code: commands parse, Python runs, links resolve, tables contain the code's values."""

import argparse
import io
import re
import shlex
import shutil
from dataclasses import dataclass, fields
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from rich.console import Console

from cdk_app import prices
from cdk_app.stage_settings import StageSettings
from docs import costs
from spark_job import cli, list_findings, queries, sql
from spark_job.demo import draw
from spark_job.findings import Kind
from spark_job.manifest import Manifest
from spark_job.plan import open_input
from spark_job.progress import Stages
from spark_job.report.summary import summary
from spark_job.run import run
from spark_job.settings import Settings

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
NOTEBOOK = ROOT / "docs" / "walkthrough.ipynb"

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def _blocks(page: Path, language: str) -> list[str]:
    """Return the content of a page's code blocks in a language."""
    blocks = re.findall(r"^ *```(\w*)\n(.*?)^ *```$", page.read_text(), re.DOTALL | re.MULTILINE)
    return [content for tag, content in blocks if tag == language]


def _commands(page: Path) -> list[list[str]]:
    """Return the arguments of every `fruits` command in the page's shell blocks."""
    lines = "".join(_blocks(page, "sh")).replace("\\\n", " ").splitlines()
    words = [shlex.split(line.removeprefix("$ "), comments=True) for line in lines]
    return [
        line[position + 1 :]
        for line in words
        for position, word in enumerate(line)
        if word in ("fruits", ".venv/bin/fruits", "spark_job")
    ]


def _subparsers() -> dict[str, argparse.ArgumentParser]:
    actions = cli._parser()._actions
    return dict(next(action for action in actions if isinstance(action, argparse._SubParsersAction)).choices)


def _table(text: str, head: str) -> list[list[str]]:
    """Return the rows of the table whose first heading is given, cell by cell."""
    lines = text[text.index(f"| {head} |") :].split("\n\n", maxsplit=1)[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def _anchor(heading: str) -> str:
    """Return the anchor that code hosts give a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@every_page
def test_commands_parse_and_make_targets_exist(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in _commands(page):
        try:
            cli._parser().parse_args(command)
        except SystemExit:
            pytest.fail(f"{shlex.join(command)}: {capsys.readouterr().err}")
    targets = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = re.findall(r"(?:^|`)make ([a-z][\w-]*)", page.read_text(), re.MULTILINE)
    assert set(named) <= targets


def test_the_pages_contain_commands() -> None:
    assert len(_commands(ROOT / "README.md")) >= 3


@every_page
def test_shell_blocks_can_be_copied(page: Path) -> None:
    placeholders = [found for block in _blocks(page, "sh") for found in re.findall(r"<[^<>\n]+>", block)]
    assert not placeholders  # the shell takes them for redirections


@dataclass(frozen=True)
class Demo:
    """A folder in which the demo ran, on fewer photos and with random weights."""

    folder: Path
    manifest: Manifest


@pytest.fixture(scope="module")
def demo(spark: SparkSession, model_file: str, tmp_path_factory: pytest.TempPathFactory) -> Demo:  # noqa: ARG001 - must be up
    folder = tmp_path_factory.mktemp("docs")
    photos, results = folder / "demo" / "photos", folder / "demo" / "results"
    draw(photos, photos_per_label=2)
    shutil.copy(photos / "Kiwi" / "00.jpg", photos / "Lemon" / "copy.jpg")
    settings = Settings(str(photos), str(results), weights=model_file, components=6, max_rejected=0.1)
    manifest = run(settings, open_input(settings.input), Stages(Console(file=io.StringIO())))
    shutil.copytree(results, folder / "results")  # as if copied from S3
    return Demo(folder, manifest)


def _run_python(page: Path) -> dict[str, Any]:
    """Run the page's Python blocks one after the other, and return the names that they define."""
    names: dict[str, Any] = {}
    for block in _blocks(page, "python"):
        exec(compile(block, page.name, "exec"), names)
    return names


@pytest.mark.parametrize("page", [page for page in PAGES if _blocks(page, "python")], ids=lambda page: page.name)
def test_python_blocks_run_as_they_are(page: Path, demo: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(demo.folder)
    assert _run_python(page)


def test_a_copy_with_another_label_is_found(demo: Demo) -> None:
    found = {finding.path: finding for finding in list_findings.find(demo.manifest.output, Kind.DUPLICATE).findings}
    for path, other, label in (("Kiwi/00.jpg", "Lemon/copy.jpg", "Lemon"), ("Lemon/copy.jpg", "Kiwi/00.jpg", "Kiwi")):
        assert found[path].other_path == other
        assert found[path].detail == f"the same bytes, but the other's label is {label}"


def test_the_summary_in_the_readme_has_the_lines_of_a_summary(demo: Demo) -> None:
    shown = next(block for block in _blocks(ROOT / "README.md", "") if block.startswith("run "))
    assert [line[:10] for line in shown.splitlines()] == [line[:10] for line in summary(demo.manifest).splitlines()]


def test_the_page_of_the_queries_has_every_question_with_the_columns_of_its_answer(demo: Demo) -> None:
    page = (ROOT / "docs" / "queries.md").read_text()
    for name, query in queries.load().items():
        section = page[page.index(f"\n## {query.question}\n") :].removeprefix("\n## ").partition("\n## ")[0]
        assert f"```sql\n{query.sql}\n```" in section
        assert f".venv/bin/fruits sql {name} " in section
        answer = sql.ask(name, demo.manifest.output, parameters={"photo": "Kiwi/00.jpg", "earlier_run": "none"})
        assert f"\n| {' | '.join(answer.columns)} |\n" in section


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


def test_the_architecture_names_every_module_of_the_job() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    section = page[page.index("## The job") : page.index("## The cloud side")]
    rows = re.findall(r"^\| (`.*?`) \|", section, re.MULTILINE)
    modules = {path.stem for path in (ROOT / "spark_job").glob("[a-z]*.py")}
    packages = {f"{path.parent.name}/" for path in (ROOT / "spark_job").glob("*/__init__.py")}
    assert sorted(name for row in rows for name in re.findall(r"`(.*?)`", row)) == sorted(modules | packages)


def test_the_table_of_run_options_matches_the_code() -> None:
    options = {option: action for action in _subparsers()["run"]._actions for option in action.option_strings}
    rows = _table((ROOT / "README.md").read_text(), "option of `run`")
    documented = {row[0].strip("`"): row[1].strip("`") for row in rows}
    assert set(documented) | {"-h", "--help", "--input", "--output", "--json"} >= set(options)
    defaults = {field.name: field.default for field in fields(Settings)}
    for option, default in documented.items():
        actual = options[option].default
        expected = {"off": False, "time and letters": None, "none": None}.get(default, default)
        assert str(actual) == str(expected), option
        name = option.removeprefix("--").replace("-", "_")
        assert actual is None or str(defaults[name]) == str(actual), option


def test_the_table_of_stage_settings_matches_the_code() -> None:
    rows = _table((ROOT / "README.md").read_text(), "setting of `cdk deploy -c name=value`")
    documented: dict[str, str] = {}
    for names, defaults, _ in rows:
        documented |= zip(
            re.findall(r"`(\w+)`", names), [word.strip("` ") for word in defaults.split(",")], strict=True
        )
    actual = {field.name: str(getattr(StageSettings.of(), field.name)) or "none" for field in fields(StageSettings)}
    assert documented == actual


def test_the_review_contains_the_tables_of_the_cost_calculator() -> None:
    page = (ROOT / "docs" / "critical-review.md").read_text()
    assert costs.table([10**4, 10**6, 10**8], 90) in page
    assert costs.price_table() in page
    scale = (ROOT / "docs" / "scale.md").read_text()
    assert costs.request_table([10**6, 10**8, 10**9]) in scale


def test_the_page_about_prices_contains_their_table() -> None:
    assert prices.node_table() in (ROOT / "docs" / "prices.md").read_text()


@every_page
def test_pages_contain_no_local_paths(page: Path) -> None:
    assert not re.findall(r"(?:^|[\s`'\"(=])/(?:root|home|tmp|work|Users)/\S*", page.read_text())


def test_the_changelog_mentions_every_command() -> None:
    changes = (ROOT / "CHANGELOG.md").read_text()
    for command in _subparsers():
        assert f"`{command}`" in changes
