"""The walkthrough runs, and its saved outputs are of the same kinds as those of a new run."""

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

pytestmark = pytest.mark.slow
NOTEBOOK = Path(__file__).parents[2] / "docs" / "walkthrough.ipynb"


def _read() -> Any:
    return nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]  # nbformat has no types


@pytest.fixture(scope="module")
def saved() -> Any:
    return _read()


def _code(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _kinds(cell: Any) -> list[str]:
    """Return the kinds of a cell's outputs. A stream may arrive in several outputs, so equal neighbours count once."""
    kinds = [output.get("name", output.output_type) for output in cell.outputs]
    return [kind for place, kind in enumerate(kinds) if kinds[place - 1 : place] != [kind]]


def test_the_walkthrough_runs_from_top_to_bottom(
    saved: Any, model_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRUITS_WEIGHTS", model_file)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    fresh = _read()
    for cell in _code(fresh):
        cell.outputs = []
    NotebookClient(fresh, timeout=1200, resources={"metadata": {"path": str(NOTEBOOK.parent)}}).execute()
    assert [_kinds(cell) for cell in _code(fresh)] == [_kinds(cell) for cell in _code(saved)]


def test_all_outputs_are_saved_in_order(saved: Any) -> None:
    assert [cell.execution_count for cell in _code(saved)] == list(range(1, len(_code(saved)) + 1))
    assert {kind for cell in _code(saved) for kind in _kinds(cell)} == {"stdout", "display_data", "execute_result"}
    assert "random weights" not in str([cell.outputs for cell in _code(saved)])


def test_the_notebook_is_small_and_contains_no_local_paths(saved: Any) -> None:
    assert NOTEBOOK.stat().st_size < 1_000_000
    texts = [data for cell in _code(saved) for output in cell.outputs for data in _texts(output)]
    assert not [text for text in texts if re.search(r"(^|[\s'\"(=])(/[\w.-]+){2,}|file:|[A-Z]:\\", text)]


def _texts(output: Any) -> list[str]:
    if output.output_type == "stream":
        return [output.text]
    return [str(data) for kind, data in output.data.items() if kind.startswith("text/")]
