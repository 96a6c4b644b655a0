"""Whether the bundle for arm64, the cluster's default, works and gives the results of x86-64."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from tests.slow.arm64.node import Node

pytestmark = pytest.mark.slow

SCRIPTS = Path(__file__).parent
FARTHEST = 1e-4
#: Compiled modules that a node cannot import, and that nothing imports: Pillow's window, and tests of numpy.
NOT_IMPORTED = {"PIL._imagingtk", "numpy.core._umath_tests"}


def test_every_module_of_the_job_and_of_its_packages_can_be_imported(arm64: Node) -> None:
    found = json.loads(arm64.run(SCRIPTS / "imports.py"))
    assert found["machine"] == "aarch64"
    assert {name: error for name, error in found["failed"].items() if name not in NOT_IMPORTED} == {}
    assert found["imported"] > 100


@pytest.fixture(scope="module")
def runs(arm64: Node, x86_64: Node, drawn: Path) -> tuple[Path, Path]:
    """The folders of two runs on the same photos, on x86-64 and on arm64: the whole job, from Spark to the report."""
    with ThreadPoolExecutor() as pool:
        one, other = pool.map(lambda node: _run(node, drawn), (x86_64, arm64))
    return one, other


def _run(node: Node, photos: Path) -> Path:
    output = node.folder / "results"
    places = ("--input", photos, "--output", output, "--weights", node.bundle.model)
    node.submit(node.bundle.main, "run", *places, "--run-id", "run", "--components", "4", "--max-rejected", "0.5")
    return output / "runs" / "run"


def test_a_run_has_the_same_tables(runs: tuple[Path, Path]) -> None:
    one, other = (json.loads((run / "manifest.json").read_text()) for run in runs)
    assert one["counts"] == other["counts"] == {"found": 11, "computed": 9, "reused": 0, "rejected": 2}
    for name, numbers in (("features", ["features"]), ("pca", ["pca"]), ("rejected", [])):
        one, other = (pq.read_table(run / name).sort_by("path") for run in runs)
        assert one.drop_columns(numbers).equals(other.drop_columns(numbers))
        for column in numbers:
            check(*(np.array(table.column(column).to_pylist(), np.float64) for table in (one, other)))


def check(one: NDArray[np.float64], other: NDArray[np.float64]) -> None:
    """Fail if a number differs too much, or if the numbers do not vary."""
    assert np.ptp(one) > 0
    np.testing.assert_allclose(other, one, rtol=0, atol=FARTHEST)


def test_a_run_has_the_same_moments_and_components(runs: tuple[Path, Path]) -> None:
    for stage, column in ((0, "mean"), (1, "pc"), (1, "explainedVariance")):
        check(*(_saved(run, stage, column) for run in runs))


def _saved(run: Path, stage: int, column: str) -> NDArray[np.float64]:
    """Return what Spark saved of a stage of the pipeline: the scaler or the rotation."""
    (file,) = (run / "model" / "stages").glob(f"{stage}_*/data/*.parquet")
    return np.array(pq.read_table(file).column(column)[0]["values"].as_py())


def test_a_report_has_the_same_thumbnails(runs: tuple[Path, Path]) -> None:
    one, other = (re.findall(r"data:image/jpeg;base64,[\w+/=]+", (run / "report.html").read_text()) for run in runs)
    assert one == other
    assert len(one) >= 9
