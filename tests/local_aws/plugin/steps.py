"""Runs a step as EMR does: spark-submit runs in its own container, with the role of the node only.

A folder replaces YARN: each archive is unpacked there under its name, the driver starts there, and Spark runs in local
mode with two cores. Everything else comes from the state machine: the arguments, the configuration of the cluster, and
the environment of YARN's containers. Python has no packages: they come from the archive, and pyspark comes from the zip
files of Spark.

The local AWS sets nothing that the deployment needs and does not send. `ADDED_VARIABLES` and `ADDED_SETTINGS` list
what it adds, with a reason each. A test compares what a step gets with what the state machine sent and these lists.

Spark itself reads and writes ``s3://`` in one of two ways:

``staged``
    A view of a folder on this machine that is kept equal to the bucket (see `stage`).
``s3a``
    Hadoop's connector, which Spark downloads from Maven Central.
"""

import argparse
import gzip
import json
import os
import shutil
import signal
import subprocess
import threading
import time
import zipfile
from pathlib import Path
from typing import Any

import pyspark
from botocore.exceptions import ClientError

from tests.local_aws.plugin import roles
from tests.local_aws.plugin.control import faults
from tests.local_aws.plugin.metadata import Metadata
from tests.local_aws.plugin.stage import Stage

#: The environment variables that a step gets in addition.
ADDED_VARIABLES = {
    "PATH": "this machine's programs, and the Python of the cluster",
    "HOME": "a folder of this machine",
    "JAVA_HOME": "EMR sets it; Java is elsewhere on this machine",
    "SPARK_HOME": "EMR sets it; Spark is elsewhere on this machine",
    "SPARK_LOCAL_IP": "there is no other machine",
    "LANG": "EMR's nodes have it",
    "JAVA_TOOL_OPTIONS": "this machine's certificates, if it needs its own to download the S3 connector",
    "AWS_ENDPOINT_URL": "the local AWS is at another address",
    "AWS_ALLOW_HTTP": "the local AWS answers without TLS there",
    "AWS_METADATA_ENDPOINT": "the metadata service is at another address (obstore)",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT": "the metadata service is at another address (boto3)",
}
#: The settings of Spark that a step gets in addition.
ADDED_SETTINGS = {
    "spark.ui.enabled": "nobody looks, and it takes seconds to start",
    "spark.sql.shuffle.partitions": "there are two cores",
    "spark.driver.extraJavaOptions": "a JVM that starts fast, and the address of the metadata service",
    "spark.hadoop.fs.s3.impl": "EMR maps s3:// to S3A",
    "spark.jars.packages": "EMR's nodes have S3A",
    "spark.jars.ivy": "the cache of downloaded jars",
    "spark.hadoop.fs.s3a.endpoint": "the local AWS is at another address",
    "spark.hadoop.fs.s3a.path.style.access": "the local AWS has no host name for each bucket",
    "spark.hadoop.fs.s3a.aws.credentials.provider": "EMR sets the provider that asks the metadata service",
    "spark.hadoop.fs.viewfs.overload.scheme.target.file.impl": "the view of a folder, in place of S3A",
    "spark.hadoop.fs.viewfs.mounttable": "the view of a folder, in place of S3A; one per bucket",
}
_SPARK = Path(pyspark.__file__).parent
_APP_MASTER = "spark.yarn.appMasterEnv."
_unpacking = threading.Lock()

Json = dict[str, Any]


class Node:
    """What all steps of a cluster share: the role, the metadata service and the configuration of Spark."""

    def __init__(self, cluster: Json, given: Json, role: str) -> None:
        self.cluster_id, self.role = cluster["Id"], role
        self._source = cluster["ClusterArn"]
        self.log_uri = f"{given['LogUri'].rstrip('/')}/{self.cluster_id}/"
        files = {one["Classification"]: one["Properties"] for one in given.get("Configurations", [])}
        hadoop = {f"spark.hadoop.{name}": value for name, value in files.get("core-site", {}).items()}
        self.defaults = hadoop | files.get("spark-defaults", {})
        self.metadata = Metadata(role, self.credentials)
        self.folder = Path(os.environ["LOCAL_AWS_FOLDER"], "nodes", self.cluster_id)

    def credentials(self) -> dict[str, str]:
        """Return the credentials of a session of the instance role."""
        return roles.assume(self.role, "ec2", self._source)

    def close(self) -> None:
        """Stop the metadata service and delete the files."""
        self.metadata.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class Step:
    """One step of a cluster."""

    def __init__(self, node: Node, record: Json) -> None:
        self._node = node
        self._name, self._arguments = record["Name"], record["Config"]["Args"]
        self._container: Path = node.folder / record["Id"]
        self._stage = node.folder / "stage"
        self.logs = f"{node.log_uri}steps/{record['Id']}/"
        self._driver: subprocess.Popen[bytes] | None = None
        self._s3: Any = None
        self._killed = threading.Event()

    def run(self) -> int:
        """Fetch the files, run the driver, upload the logs, and return the exit code."""
        self._container.mkdir(parents=True)
        self._s3 = roles.client("s3", self._node.credentials())
        log = self._container / "stderr"
        try:
            code = self._submit(log)
        except ClientError as error:
            log.write_text(f"{error}\n")
            code = 1
        self._upload_logs(code)
        return code

    def kill(self) -> None:
        """Kill the driver and every process that it started, as YARN does."""
        self._killed.set()
        if self._driver is not None and self._driver.poll() is None:
            os.killpg(self._driver.pid, signal.SIGKILL)

    def _submit(self, log: Path) -> int:
        parser = argparse.ArgumentParser(exit_on_error=False)
        for name in ("--deploy-mode", "--archives"):
            parser.add_argument(name, required=True)
        parser.add_argument("application", nargs=argparse.REMAINDER)
        options = parser.parse_args(self._arguments[1:])
        for archive, name in (uri.split("#") for uri in options.archives.split(",")):
            (self._container / name).symlink_to(self._unpacked(archive))
        main = self._fetch(options.application[0])
        settings = self._container / "spark-defaults.conf"
        settings.write_text("".join(f"{key} {value}\n" for key, value in self._settings().items()))
        given = {"environment": self._environment(), "settings": self._settings()}
        Path(os.environ["LOCAL_AWS_FOLDER"], "steps", f"{self._name}.json").write_text(json.dumps(given))
        stages = [] if _by_s3a() else [Stage(self._stage / name, name, self._s3) for name in self._buckets()]
        command = [
            *(str(_SPARK / "bin" / "spark-submit"), "--master", "local[2]", "--properties-file", str(settings)),
            *(str(main), *options.application[1:]),
        ]
        with log.open("wb") as errors, (self._container / "stdout").open("wb") as output:
            self._driver = subprocess.Popen(
                command,
                cwd=self._container,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                start_new_session=True,
            )
            if self._killed.is_set():
                self.kill()
            known = Path(os.environ["LOCAL_AWS_FOLDER"], "drivers", str(self._driver.pid))
            known.touch()  # stopping the local AWS kills the drivers listed here
            if faults.driver:
                self._disturb()
            exit_code = self._driver.wait()
            known.unlink()
        for stage in stages:
            stage.close(push=not self._killed.is_set())
        return exit_code

    def _fetch(self, uri: str) -> Path:
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        path = self._container / Path(key).name
        self._s3.download_file(bucket, key, str(path))
        return path

    def _unpacked(self, uri: str) -> Path:
        """Return the folder of an unpacked archive. Like the cache of YARN, but shared by all clusters."""
        file = self._fetch(uri)
        cache = Path(os.environ["LOCAL_AWS_FOLDER"], "archives", file.stem)
        with _unpacking:
            if not cache.exists():
                with zipfile.ZipFile(file) as packed:
                    packed.extractall(cache)
        file.unlink()
        return cache

    def _environment(self) -> dict[str, str]:
        """Return the variables of the driver: those of YARN's container and AWS's endpoints, but no credentials."""
        given = {
            name.removeprefix(_APP_MASTER): value
            for name, value in self._node.defaults.items()
            if name.startswith(_APP_MASTER)
        }
        return (
            given
            | {name: value for name, value in os.environ.items() if name == "JAVA_TOOL_OPTIONS"}
            | {
                "PATH": os.pathsep.join([os.environ["LOCAL_AWS_NODE_PYTHON"], os.environ["PATH"]]),
                "HOME": str(self._container),
                "JAVA_HOME": os.environ["LOCAL_AWS_JAVA_HOME"],
                "SPARK_HOME": str(_SPARK),
                "SPARK_LOCAL_IP": "127.0.0.1",
                "LANG": "C.UTF-8",
                "AWS_ENDPOINT_URL": os.environ["LOCAL_AWS_NODES_URL"],
                "AWS_ALLOW_HTTP": "true",
                "AWS_METADATA_ENDPOINT": self._node.metadata.url,
                "AWS_EC2_METADATA_SERVICE_ENDPOINT": self._node.metadata.url,
            }
        )

    def _settings(self) -> dict[str, str]:
        """Return the cluster's configuration of Spark, with faster settings for this machine and its way to s3://."""
        faster = {
            "spark.ui.enabled": "false",
            "spark.sql.shuffle.partitions": "2",
            "spark.driver.extraJavaOptions": f"-XX:TieredStopAtLevel=1 -XX:+UseSerialGC {self._metadata_option()}",
        }
        return self._node.defaults | faster | (self._s3a() if _by_s3a() else self._view())

    def _metadata_option(self) -> str:
        return f"-Dcom.amazonaws.sdk.ec2MetadataServiceEndpointOverride={self._node.metadata.url}"

    def _view(self) -> dict[str, str]:
        table = {
            f"spark.hadoop.fs.viewfs.mounttable.{bucket}.linkFallback": f"file://{self._stage}/{bucket}"
            for bucket in self._buckets()
        }
        return table | {
            "spark.hadoop.fs.s3.impl": "org.apache.hadoop.fs.viewfs.ViewFileSystemOverloadScheme",
            "spark.hadoop.fs.viewfs.overload.scheme.target.file.impl": "org.apache.hadoop.fs.RawLocalFileSystem",
        }

    def _s3a(self) -> dict[str, str]:
        (jar,) = (_SPARK / "jars").glob("hadoop-client-api-*.jar")
        return {
            "spark.jars.packages": f"org.apache.hadoop:hadoop-aws:{jar.stem.removeprefix('hadoop-client-api-')}",
            "spark.jars.ivy": str(Path.home() / ".ivy2"),
            "spark.hadoop.fs.s3.impl": "org.apache.hadoop.fs.s3a.S3AFileSystem",
            "spark.hadoop.fs.s3a.aws.credentials.provider": "com.amazonaws.auth.InstanceProfileCredentialsProvider",
            "spark.hadoop.fs.s3a.endpoint": os.environ["LOCAL_AWS_NODES_URL"],
            "spark.hadoop.fs.s3a.path.style.access": "true",
        }

    def _buckets(self) -> list[str]:
        """Return the buckets that Spark itself reads and writes."""
        return [self._arguments[self._arguments.index("--output") + 1].split("/")[2]]

    def _disturb(self) -> None:
        """Stop the driver at the start, or kill it when it has printed its plan, after which it has claimed the run."""
        assert self._driver is not None
        if faults.driver == "hangs":
            os.killpg(self._driver.pid, signal.SIGSTOP)
            return
        while b"plan " not in _content(self._container / "stdout") and self._driver.poll() is None:
            time.sleep(0.1)
        if self._driver.poll() is None:
            os.killpg(self._driver.pid, signal.SIGKILL)

    def _upload_logs(self, code: int) -> None:
        driver = f"{self._node.log_uri}containers/application_1_0001/container_1_0001_01_000001/"
        message = f"Exit code {code}; the driver's own output is in {driver}stdout.gz\n".encode()
        for uri, data in {
            f"{self.logs}stderr.gz": message,
            f"{driver}stderr.gz": _content(self._container / "stderr"),
            f"{driver}stdout.gz": _content(self._container / "stdout"),
        }.items():
            bucket, _, key = uri.removeprefix("s3://").partition("/")
            self._s3.put_object(Bucket=bucket, Key=key, Body=gzip.compress(data))


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def _by_s3a() -> bool:
    return faults.file_system == "s3a"
