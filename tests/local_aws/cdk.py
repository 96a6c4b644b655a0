"""Runs the ``cdk`` command against a local AWS, with a time-out."""

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

from tests.local_aws.emulator import ARCHITECTURE, REGION, ROOT, LocalAws

_CLI = ROOT / "node_modules" / "aws-cdk" / "bin" / "cdk"


class CdkError(Exception):
    """The command failed or took too long. The message holds its output."""


def cdk(aws: LocalAws, *arguments: str, seconds: float = 1200) -> str:
    """Run the command as a person does, and return its output.

    Raises
    ------
    CdkError
        If the command fails or takes longer than `seconds`.
    """
    programs = str(Path(sys.executable).parent)
    node = Path(programs, "node")
    process = subprocess.Popen(
        [str(node), str(_CLI), *arguments],
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
    account = aws.client("sts").get_caller_identity()["Account"]
    return cdk(aws, "bootstrap", f"aws://{account}/{REGION}")


def deploy(aws: LocalAws, **settings: object) -> str:
    """Deploy a stage. `settings` are those of `cdk_app.stage_settings`."""
    return cdk(aws, "deploy", "--require-approval", "never", "--app", _synthesised(aws, settings))


def destroy(aws: LocalAws, **settings: object) -> str:
    """Destroy a stage."""
    return cdk(aws, "destroy", "--force", "--app", _synthesised(aws, settings))


def _synthesised(aws: LocalAws, settings: dict[str, object]) -> str:
    """Return the folder with the synthesised app. It takes seconds, so it happens once for the same settings."""
    given = {"architecture": ARCHITECTURE, "weights": "random"} | settings
    context = [f"{name}={value}" for name, value in sorted(given.items())]
    folder = aws.folder / "cdk.out" / "_".join(context)
    if not folder.exists():
        options = [argument for setting in context for argument in ("--context", setting)]
        app = f"{shlex.quote(sys.executable)} app.py"
        cdk(aws, "synth", "--quiet", "--app", app, "--output", str(folder), *options)
    return str(folder)
