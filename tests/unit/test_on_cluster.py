import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def submit(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the entry script as spark-submit does: by its path, with the package on PYTHONPATH."""
    script = str(ROOT / "spark_job" / "on_cluster.py")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, script, *words], env=environment, capture_output=True, text=True, check=False
    )


def test_a_failed_run_writes_its_reason_beside_its_results(tmp_path: Path) -> None:
    done = submit("run", "--input", "nowhere", "--run-id", "run-1", "--output", str(tmp_path), "--weights", "random")
    assert done.returncode == 2
    written = json.loads((tmp_path / "runs" / "run-1" / "_failed.json").read_text())
    assert [written["reason"]] == done.stderr.splitlines()  # Java has not been started, so it says nothing
    assert "nowhere does not exist" in written["reason"]


def test_a_reason_that_cannot_be_written_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("not a folder")
    done = submit("run", "--input", "nowhere", "--run-id", "run-1", "--output", str(tmp_path), "--weights", "random")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_a_successful_command_writes_no_reason(tmp_path: Path, model_file: str) -> None:
    done = submit("compile", "--weights", model_file, "--output", str(tmp_path / "model.zip"))
    assert done.returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["model.zip"]
