"""The commands, as a user types them."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from spark_job.demo import draw

ROOT = Path(__file__).parents[2]


def _command(*arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "spark_job", *arguments],
        cwd=ROOT,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )


def _assert_one_sentence(done: "subprocess.CompletedProcess[str]", code: int, sentence: str) -> None:
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert re.search(sentence, done.stderr.strip().splitlines()[-1])
    assert not done.stdout


def test_run_shows_its_stages_and_ends_with_a_summary(tmp_path: Path, model_file: str) -> None:
    draw(tmp_path / "photos", images_per_label=2)
    done = _command(
        "run", "--input", str(tmp_path / "photos"), "--output", str(tmp_path / "results"),
        "--weights", model_file, "--max-rejected", "0.1", "--run-id", "first", "--components", "5",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    stages = [line.split()[0] for line in done.stderr.splitlines()]
    assert stages == ["model", "spark", "plan", "features", "pca", "projection", "report"]
    summary = {line[:10].strip(): line[10:] for line in done.stdout.splitlines()}
    assert summary["images"] == "34 found = 32 computed + 0 reused + 2 rejected"
    assert summary["rejected"] == "1 truncated, 1 unsupported"
    assert summary["PCA"].startswith("5 components keep ")
    assert "the features mean nothing" in summary["weights"]
    assert Path(summary["report"]).read_text().lstrip().startswith("<!DOCTYPE html>")
    assert json.loads((tmp_path / "results" / "latest.json").read_text())["run_id"] == "first"


def test_run_prints_its_manifest_with_the_json_option(tmp_path: Path, model_file: str) -> None:
    draw(tmp_path / "photos", images_per_label=1)
    done = _command(
        "run", "--input", str(tmp_path / "photos"), "--output", str(tmp_path / "results"),
        "--weights", model_file, "--max-rejected", "0.2", "--components", "3", "--json", "--run-id", "one",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    run = tmp_path / "results" / "runs" / "one"
    assert json.loads(done.stdout) == json.loads((run / "manifest.json").read_text())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["run", "--input", "no/such/folder", "--output", "x"], "input .*no/such/folder does not exist"),
        (["run", "--input", ".", "--output", "x", "--components", "0"], "components is 0"),
        (["run", "--input", ".", "--output", "x", "--weights", "none.h5"], "weights none.h5 cannot be read"),
        (["run", "--input", "ftp://x", "--output", "x"], "ftp://x is neither"),
        (["run", "--input", "."], "--output"),
        (["compile", "--weights", "random", "--output", "no/such/folder/x"], "no/such/folder/x cannot be written"),
    ],
)
def test_a_user_error_prints_one_sentence_and_exits_with_2(arguments: list[str], sentence: str) -> None:
    _assert_one_sentence(_command(*arguments), 2, sentence)


def test_an_unusable_java_is_reported(tmp_path: Path, model_file: str) -> None:
    arguments = ["run", "--input", str(tmp_path), "--output", str(tmp_path), "--weights", model_file]
    _assert_one_sentence(_command(*arguments, JAVA_HOME=str(tmp_path)), 2, "JAVA_HOME is .*, which holds no bin/java")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "java").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "bin" / "java").chmod(0o755)
    (tmp_path / "release").write_text('JAVA_VERSION="21.0.2"\n')
    _assert_one_sentence(_command(*arguments, JAVA_HOME=str(tmp_path)), 2, "Java 21; Spark 3.5.8 runs on 8, 11, 17")
    (tmp_path / "release").unlink()
    _assert_one_sentence(_command(*arguments, JAVA_HOME=str(tmp_path)), 2, "Spark could not start Java")


def test_a_failed_run_prints_one_sentence_and_exits_with_1(tmp_path: Path, model_file: str) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"no photo")
    done = _command(
        "run", "--input", str(tmp_path / "photos"), "--output", str(tmp_path / "x"), "--weights", model_file
    )
    _assert_one_sentence(done, 1, "1 of 1 images were rejected")


def test_a_killed_run_leaves_nothing_that_looks_like_a_result(tmp_path: Path, model_file: str) -> None:
    draw(tmp_path / "photos", images_per_label=2)
    command = [
        sys.executable, "-m", "spark_job", "run", "--input", str(tmp_path / "photos"),
        "--output", str(tmp_path / "results"), "--weights", model_file, "--run-id", "killed",
    ]  # fmt: skip
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL, start_new_session=True) as process:
        for _ in range(600):
            if (tmp_path / "results" / "runs" / "killed").exists():
                break
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGKILL)
    assert (tmp_path / "results" / "runs" / "killed" / "_started.json").exists()
    assert not (tmp_path / "results" / "runs" / "killed" / "manifest.json").exists()
    assert not (tmp_path / "results" / "latest.json").exists()


def test_help_and_version_are_printed() -> None:
    assert "examples:" in _command("--help").stdout
    assert "--max-rejected" in _command("run", "--help").stdout
    assert re.fullmatch(r"fruits \d+\.\d+\.\d+\n", _command("--version").stdout)
