"""What commands import before they answer, and the files that they write for people."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from spark_job import cli
from spark_job.errors import UserError


def test_a_file_that_a_command_writes_is_whole_or_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.html"
    cli._write(page, b"old")

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(UserError, match=r"page\.html cannot be written: No space left on device\."):
        cli._write(page, b"new")
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("page.html", b"old")]


def test_a_command_writes_through_links_and_to_devices_and_makes_no_folder(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    cli._write(tmp_path / "link", b"new")
    assert (tmp_path / "target").read_bytes() == b"new"
    cli._write(Path("/dev/null"), b"new")
    assert Path("/dev/null").is_char_device()
    with pytest.raises(UserError, match="No such file or directory"):
        cli._write(tmp_path / "none" / "page.html", b"new")
    assert not (tmp_path / "none").exists()


def test_a_log_on_a_full_disk_hides_no_error(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cli, "_watch", refuse)
    monkeypatch.setattr("traceback.print_exc", refuse)
    assert cli.main(["watch", "--output", "x"]) == 1
    assert "No space left on device for temporary files in" in capfd.readouterr().err


def test_commands_that_answer_at_once_import_nothing_slow() -> None:
    code = """
import sys
import spark_job.cli, spark_job.list_findings, spark_job.similar
print({"faiss", "jinja2", "pandas", "pyspark", "tensorflow"} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
