"""Runs the ``cdk`` command against a local AWS, with a time-out."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.local_aws.emulator import ARCHITECTURE, ROOT, LocalAws

_CLI = ROOT / "node_modules" / "aws-cdk" / "bin" / "cdk"


class CdkError(Exception):
    """The command failed or took too long. The message holds its output."""


def cdk(aws: LocalAws, *arguments: str, seconds: float = 420) -> str:
    """Run the command as a person does, and return its output.

    Raises
    ------
    CdkError
        If the command fails or takes longer than `seconds`.
    """
    programs = str(Path(sys.executable).parent)
    node = Path(programs, "node")
    command = [
        *(str(node), str(_CLI), *arguments, "--output", str(aws.folder / "cdk.out")),
        *("--app", f"{sys.executable} app.py", "--context", f"architecture={ARCHITECTURE}"),
    ]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **aws.variables, "PATH": os.pathsep.join([programs, os.environ["PATH"]]), "CI": "true"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=seconds)
    except BaseException as error:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            raise CdkError(f"cdk {arguments[0]} took longer than {seconds:g} s:\n{output}") from error
        raise
    if process.returncode:
        raise CdkError(f"cdk {arguments[0]} failed:\n{output}")
    return output


def bootstrap(aws: LocalAws) -> str:
    """Prepare the account for CDK."""
    return cdk(aws, "bootstrap")


def deploy(aws: LocalAws, **settings: object) -> str:
    """Deploy a stage. `settings` are those of `cdk_app.stage_settings`."""
    return cdk(aws, "deploy", "--require-approval", "never", *_context(settings))


def destroy(aws: LocalAws, **settings: object) -> str:
    """Destroy a stage."""
    return cdk(aws, "destroy", "--force", *_context(settings))


def _context(settings: dict[str, object]) -> list[str]:
    given = {"weights": "random"} | settings
    return [argument for name, value in given.items() for argument in ("--context", f"{name}={value}")]
