"""The ``cdk`` command against a local AWS, with an end to its patience."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.local_aws.emulator import ARCHITECTURE, ROOT, LocalAws

_CLI = ROOT / "node_modules" / "aws-cdk" / "bin" / "cdk"


class CdkError(Exception):
    """The command failed, or hung; with what it said."""


def cdk(aws: LocalAws, *words: str, seconds: float = 420) -> str:
    """Run the command as a person does, and return what it said.

    Raises
    ------
    CdkError
        If it fails or takes longer than `seconds`.
    """
    here = str(Path(sys.executable).parent)
    node = Path(here, "node")
    command = [
        *(str(node), str(_CLI), *words, "--output", str(aws.folder / "cdk.out")),
        *("--app", f"{sys.executable} app.py", "--context", f"architecture={ARCHITECTURE}"),
    ]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **aws.variables, "PATH": os.pathsep.join([here, os.environ["PATH"]]), "CI": "true"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=seconds)
    except BaseException as error:
        os.killpg(process.pid, signal.SIGKILL)
        said, _ = process.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            raise CdkError(f"cdk {words[0]} took longer than {seconds:g} s:\n{said}") from error
        raise
    if process.returncode:
        raise CdkError(f"cdk {words[0]} failed:\n{said}")
    return said


def bootstrap(aws: LocalAws) -> str:
    """Make the account ready for CDK."""
    return cdk(aws, "bootstrap")


def deploy(aws: LocalAws, **settings: object) -> str:
    """Deploy a stage; its settings are those of `cdk_app.settings`."""
    return cdk(aws, "deploy", "--require-approval", "never", *_context(settings))


def destroy(aws: LocalAws, **settings: object) -> str:
    """Destroy a stage."""
    return cdk(aws, "destroy", "--force", *_context(settings))


def _context(settings: dict[str, object]) -> list[str]:
    given = {"weights": "random"} | settings
    return [word for name, value in given.items() for word in ("--context", f"{name}={value}")]
