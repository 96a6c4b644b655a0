"""Ctrl-C and SIGTERM, at different moments of a command."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from spark_job.demo import draw

COMMAND = str(Path(sys.executable).with_name("fruits"))


def _interrupt(
    command: list[str], temporary: Path, is_time: Callable[[psutil.Process], object], number: signal.Signals
) -> tuple[int, str]:
    """Start a command and send it a signal at a time. Return its exit code and its last line; nothing else stays."""
    temporary.mkdir()
    environment = os.environ | {"TMPDIR": str(temporary)}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and not is_time(psutil.Process(process.pid)):
            time.sleep(0.01)
        started = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(number)
        _, said = process.communicate()
    assert not list(temporary.iterdir())
    assert not [one for one in started if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
    assert "Traceback" not in said
    return process.returncode, said.splitlines()[-1]


@pytest.mark.parametrize(
    ("moment", "number", "sentence"),
    [
        ("fruits-*", signal.SIGINT, "Interrupted."),
        ("java", signal.SIGTERM, "Interrupted."),
        ("_plan/*", signal.SIGINT, "Interrupted; nothing was published."),
    ],
)
def test_an_interrupted_run_leaves_one_sentence_and_nothing_else(
    tmp_path: Path, model_file: str, moment: str, number: signal.Signals, sentence: str
) -> None:
    draw(tmp_path / "photos", photos_per_label=4)
    temporary, run = tmp_path / "temporary", tmp_path / "results" / "runs" / "x"

    def is_time(process: psutil.Process) -> object:
        if moment == "java":
            return [child for child in process.children() if child.name() == "java"]
        return [*temporary.glob(moment), *run.glob(moment)]

    command = [COMMAND, "run", "--input", str(tmp_path / "photos"), "--output", str(tmp_path / "results")]
    command += ["--weights", model_file, "--run-id", "x"]
    code, said = _interrupt(command, temporary, is_time, number)
    assert (code, said) == (128 + number, f"fruits: {sentence}")
    if run.exists():
        assert json.loads((run / "_failed.json").read_text()) == {"reason": sentence}
        assert not (run / "manifest.json").exists()


def test_a_run_that_is_interrupted_while_it_is_published_is_published(tmp_path: Path) -> None:
    script = f"""
        import time
        from pathlib import Path
        from spark_job import interruption
        interruption.listen()
        from spark_job.runs import RunFolder
        from spark_job.storage.local import LocalStore
        from tests.example import MANIFEST

        class Slow(LocalStore):
            def write(self, path, data):
                Path({str(tmp_path / "begun")!r}).touch()
                time.sleep(0.2)
                super().write(path, data)

        folder = RunFolder(Slow({str(tmp_path / "results")!r}), "one")
        with folder.failure_left():
            folder.publish(MANIFEST, "<html>")
            time.sleep(60)
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    code, said = _interrupt(command, tmp_path / "t", lambda _: (tmp_path / "begun").exists(), signal.SIGTERM)
    assert (code, said) == (128 + signal.SIGTERM, "fruits: Interrupted; the run one had just been published.")
    assert (tmp_path / "results" / "latest.json").exists()
    assert not (tmp_path / "results" / "runs" / "one" / "_failed.json").exists()


def test_a_compilation_can_be_interrupted(tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    command = ["env", f"XDG_CACHE_HOME={tmp_path}/cache", COMMAND, "compile", "--weights", "random", "--output"]

    def has_tensorflow(process: psutil.Process) -> bool:
        return any("tensorflow" in map_.path for map_ in process.memory_maps())

    code, said = _interrupt([*command, str(tmp_path / "model")], temporary, has_tensorflow, signal.SIGINT)
    assert (code, said) == (130, "fruits: Interrupted.")
