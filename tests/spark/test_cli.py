"""The commands, as a user types them."""

import dataclasses
import io
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from spark_job.demo import draw
from spark_job.manifest import Manifest
from spark_job.runs import RunFolder
from spark_job.storage import open_store
from spark_job.watch import watch
from tests.example import MANIFEST

ROOT = Path(__file__).parents[2]
COMMAND = Path(sys.executable).with_name("fruits")


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


def test_run_shows_its_stages_and_ends_with_a_summary_and_can_be_watched(
    tmp_path: Path, model_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spark_job.watch._READ_SECONDS", 0.05)
    photos, results, shown = tmp_path / "photos", tmp_path / "results", io.StringIO()
    draw(photos, photos_per_label=2)
    results.mkdir()
    command = [
        sys.executable, "-m", "spark_job", "run", "--input", str(photos), "--output", str(results),
        "--weights", model_file, "--max-rejected", "0.1", "--run-id", "first", "--components", "5",
    ]  # fmt: skip
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        folder = RunFolder(open_store(str(results)), "first")
        seen = watch(folder, Console(file=shown, width=100, force_terminal=True))
        output, errors = process.communicate()
    assert process.returncode == 0, errors
    stages = list(dict.fromkeys(line.split()[0] for line in errors.splitlines()))  # a slow stage has several lines
    assert stages == ["model", "spark", "plan", "features", "pca", "projection", "neighbours", "findings", "report"]
    summary = {line[:10].strip(): line[10:] for line in output.splitlines()}
    assert summary["photos"] == "39 found = 37 computed + 0 reused + 2 rejected"
    assert summary["rejected"] == "1 truncated, 1 unsupported"
    assert summary["PCA"].startswith("5 components keep ")
    assert "the features mean nothing" in summary["weights"]
    assert Path(summary["report"]).read_text().lstrip().startswith("<!DOCTYPE html>")
    assert json.loads((results / "latest.json").read_text())["run_id"] == "first"

    assert seen == Manifest.from_json((results / "runs" / "first" / "manifest.json").read_text())
    assert folder.progress is not None  # it stays, but the manifest is what counts
    assert "The run first has not started yet" in shown.getvalue()
    assert all(f"{stage:<10} " in shown.getvalue() for stage in stages)


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


def test_no_shell_and_no_working_folder_changes_a_run(tmp_path: Path, model_file: str) -> None:
    draw(tmp_path / "photos", photos_per_label=1)
    working, other = tmp_path / "working", tmp_path / "spark"
    for folder in (working, other, working / "pyspark", other / "numpy"):
        folder.mkdir()
    for module in (working / "random.py", working / "PIL.py", other / "rich.py", other / "numpy" / "__init__.py"):
        module.write_text("raise ImportError('the wrong module')\n")
    (other / "spark-defaults.conf").write_text("spark.master spark://nowhere.invalid:7077\n")
    hdfs = "<property><name>fs.defaultFS</name><value>hdfs://nowhere.invalid</value></property>"
    (other / "core-site.xml").write_text(f"<configuration>{hdfs}</configuration>")
    variables = {
        **dict.fromkeys(("SPARK_HOME", "SPARK_CONF_DIR", "HADOOP_CONF_DIR", "HADOOP_HOME", "JAVA_HOME"), str(other)),
        **dict.fromkeys(("_JAVA_OPTIONS", "JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "SPARK_SUBMIT_OPTS"), "-XX:+No"),
        **{"SPARK_REMOTE": "sc://nowhere.invalid", "SPARK_LOCAL_DIRS": "/dev/null/x", "SPARK_TESTING": "1"},
        **{"PYSPARK_GATEWAY_PORT": "9", "PYSPARK_GATEWAY_SECRET": "x", "PYSPARK_PYTHON": "/bin/false"},
        **{
            "PYSPARK_SUBMIT_ARGS": "--master yarn",
            "PYTHONWARNINGS": "error",
            "PYTHONPATH": str(other),
            "LC_ALL": "C",
            "CDPATH": str(tmp_path),
        },
    }
    done = subprocess.run(
        [str(COMMAND), "run", "--input", str(tmp_path / "photos"), "--output", str(tmp_path / "résultats"),
         "--weights", model_file, "--max-rejected", "0.2", "--components", "3"],
        cwd=working, env=os.environ | variables, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "résultats" / "latest.json").exists()
    assert "Picked up" not in done.stderr


def test_settings_of_keras_do_not_change_a_model(tmp_path: Path, model_file: str) -> None:
    (tmp_path / "keras.json").write_text(
        '{"image_data_format": "channels_first", "floatx": "float16", "backend": "jax"}'
    )
    keras = {"KERAS_HOME": str(tmp_path), "TF_USE_LEGACY_KERAS": "1", "XLA_FLAGS": "--no_such_flag"}
    model, fresh = tmp_path / "model", {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = _command("compile", "--weights", "random", "--output", str(model), **fresh, **keras)
    assert done.returncode == 0, done.stderr
    assert model.read_bytes() == Path(model_file).read_bytes()


@pytest.mark.parametrize(
    ("redirection", "variables", "code", "printed"),
    [
        ("", {}, 0, "run is é."),
        ("", {"PYTHONIOENCODING": "ascii"}, 0, r"run is \xe9."),
        ("| true; exit ${PIPESTATUS[0]}", {}, 0, ""),
        (">&-", {}, 0, ""),
        ("2>&-", {}, 0, "run is é."),
        (">/dev/full", {}, 1, "The result cannot be printed: No space left on device."),
    ],
)
def test_an_output_may_be_closed_or_lack_characters(
    tmp_path: Path, redirection: str, variables: dict[str, str], code: int, printed: str
) -> None:
    RunFolder(open_store(str(tmp_path)), "é").publish(dataclasses.replace(MANIFEST, run_id="é"), "<html>")
    watching = shlex.join([str(COMMAND), "watch", "--output", str(tmp_path)])
    command = ["bash", "-c", f"{watching} {redirection}"]
    done = subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert printed in done.stdout + done.stderr
    assert "Error" not in done.stderr


def test_a_failed_run_prints_one_sentence_and_exits_with_1(tmp_path: Path, model_file: str) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"no photo")
    done = _command(
        "run", "--input", str(tmp_path / "photos"), "--output", str(tmp_path / "x"), "--weights", model_file
    )
    _assert_one_sentence(done, 1, "1 of 1 photos were rejected")


def test_help_and_version_are_printed() -> None:
    assert "examples:" in _command("--help").stdout
    assert "--max-rejected" in _command("run", "--help").stdout
    assert re.fullmatch(r"fruits \d+\.\d+\.\d+\n", _command("--version").stdout)
