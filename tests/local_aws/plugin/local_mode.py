"""Spark in one process, with two cores: fast enough for the faults that do not concern the nodes.

A folder replaces YARN: each archive is unpacked there under its name, and the driver starts there. The arguments, the
configuration of the cluster and the environment come from the state machine. Python has no packages: they come from the
archive, and pyspark comes from the zip files of Spark.
"""

import argparse
import os
import signal
import subprocess
import threading
import time
import zipfile
from pathlib import Path

from tests.local_aws.jars import SPARK_HOME
from tests.local_aws.plugin.control import faults
from tests.local_aws.plugin.node import Node

_APP_MASTER = "spark.yarn.appMasterEnv."
_DRIVER = "application_1_0001/container_1_0001_01_000001"
_unpacking = threading.Lock()


class LocalMode:
    """Runs spark-submit in local mode."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self._driver: subprocess.Popen[bytes] | None = None
        self._killed = threading.Event()

    def run(self, step: str, arguments: list[str]) -> int:
        """Run the command line of a step in a folder of its own, and return the exit code."""
        container = self.node.folder / step
        container.mkdir()
        parser = argparse.ArgumentParser(exit_on_error=False)
        for name in ("--deploy-mode", "--archives"):
            parser.add_argument(name, required=True)
        parser.add_argument("application", nargs=argparse.REMAINDER)
        options = parser.parse_args(arguments[1:])
        for archive, name in (uri.split("#") for uri in options.archives.split(",")):
            (container / name).symlink_to(self._unpacked(archive, container))
        main = self._fetch(options.application[0], container)
        settings = container / "spark-defaults.conf"
        settings.write_text("".join(f"{key} {value}\n" for key, value in self._settings().items()))
        submit = [str(SPARK_HOME / "bin" / "spark-submit"), "--master", "local[2]", "--properties-file", str(settings)]
        return self._drive([*submit, str(main), *options.application[1:]], container)

    def kill(self) -> None:
        """Kill the driver and every process that it started, as YARN does."""
        self._killed.set()
        if self._driver is not None and self._driver.poll() is None:
            os.killpg(self._driver.pid, signal.SIGKILL)

    def logs(self, step: str) -> dict[str, bytes]:
        """Return the output of the driver, by the name of the file in the folder of logs."""
        container = self.node.folder / step
        return {f"{_DRIVER}/{name}": _content(container / name) for name in ("stderr", "stdout")}

    def close(self) -> None:
        """Delete the files."""
        self.node.close()

    def _drive(self, command: list[str], container: Path) -> int:
        with (container / "stderr").open("wb") as errors, (container / "stdout").open("wb") as output:
            self._driver = subprocess.Popen(
                command,
                cwd=container,
                env=self._environment(container),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                start_new_session=True,
            )
            if self._killed.is_set():
                self.kill()
            if faults.driver:
                self._disturb(container)
            return self._driver.wait()

    def _fetch(self, uri: str, container: Path) -> Path:
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        path = container / Path(key).name
        self.node.client().download_file(bucket, key, str(path))
        return path

    def _unpacked(self, uri: str, container: Path) -> Path:
        """Return the folder of an unpacked archive. Like the cache of YARN, but shared by all clusters."""
        file = self._fetch(uri, container)
        cache = Path(os.environ["LOCAL_AWS_FOLDER"], "archives", file.stem)
        with _unpacking:
            if not cache.exists():
                with zipfile.ZipFile(file) as packed:
                    packed.extractall(cache)
        file.unlink()
        return cache

    def _environment(self, container: Path) -> dict[str, str]:
        """Return the variables of the driver: those of YARN's container and AWS's endpoints, but no credentials."""
        given = {
            name.removeprefix(_APP_MASTER): value
            for name, value in self.node.files["spark-defaults"].items()
            if name.startswith(_APP_MASTER)
        }
        return {
            **given,
            **self.node.variables(),
            "PATH": os.pathsep.join([os.environ["LOCAL_AWS_NODE_PYTHON"], os.environ["PATH"]]),
            "HOME": str(container),
            "JAVA_HOME": os.environ["LOCAL_AWS_JAVA_HOME"],
            "SPARK_HOME": str(SPARK_HOME),
            "SPARK_LOCAL_IP": "127.0.0.1",
            "LANG": "C.UTF-8",
        }

    def _settings(self) -> dict[str, str]:
        """Return the cluster's configuration of Spark, with faster settings for this machine."""
        return {
            **{f"spark.hadoop.{name}": value for name, value in self.node.files["core-site"].items()},
            **self.node.files["spark-defaults"],
            "spark.ui.enabled": "false",
            "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
        }

    def _disturb(self, container: Path) -> None:
        """Stop the driver at the start, or kill it when it has printed its plan, after which it has claimed the run."""
        assert self._driver is not None
        if faults.driver == "hangs":
            os.killpg(self._driver.pid, signal.SIGSTOP)
            return
        while b"plan " not in _content(container / "stdout") and self._driver.poll() is None:
            time.sleep(0.1)
        if self._driver.poll() is None:
            os.killpg(self._driver.pid, signal.SIGKILL)


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""
