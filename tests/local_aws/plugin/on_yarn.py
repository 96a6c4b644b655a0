"""Spark on a real YARN: spark-submit starts the driver and the executors in containers on several nodes.

The local AWS sets nothing that the deployment needs and does not send. `ADDED_VARIABLES` lists what the containers get
in addition, with a reason each. A test compares what the driver gets with what the state machine sent and these lists.
"""

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

from tests.local_aws import jars
from tests.local_aws.plugin.control import faults
from tests.local_aws.plugin.node import Node
from tests.local_aws.yarn import DISTURBANCES, Yarn

#: The environment variables that a container gets in addition to those of the state machine.
ADDED_VARIABLES = {
    "AWS_ENDPOINT_URL": "the local AWS is at another address",
    "AWS_METADATA_ENDPOINT": "the metadata service is at another address (obstore)",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT": "the metadata service is at another address (boto3)",
    "JAVA_TOOL_OPTIONS": "the metadata service is at another address (S3A), and a JVM that starts fast",
    "PATH": "this machine's programs, and the Python of the cluster",
    "JAVA_HOME": "EMR sets it; Java is elsewhere on this machine",
    "HADOOP_CONF_DIR": "EMR sets it; the configuration is elsewhere on this machine",
    "SPARK_DIST_CLASSPATH": "EMR's nodes have the jars of S3A elsewhere",
    "LANG": "EMR's nodes have it",
}
#: The settings of Hadoop that the nodes get in addition.
ADDED_SETTINGS = {
    "fs.s3.impl": "EMR maps s3:// to S3A",
    "fs.s3a.endpoint": "the local AWS is at another address",
    "fs.s3a.path.style.access": "the local AWS has no host name for each bucket",
    "fs.s3a.aws.credentials.provider": "EMR sets the provider that asks the metadata service",
}


class OnYarn:
    """Runs spark-submit on a YARN with a node for each core and task node of the cluster."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self._yarn = Yarn(
            folder=node.folder / "yarn",
            files=node.files,
            nodes=node.markets,
            python=Path(os.environ["LOCAL_AWS_NODE_PYTHON"]),
            variables={**node.variables(), "JAVA_TOOL_OPTIONS": self._java_options()},
            hadoop={
                "fs.s3.impl": "org.apache.hadoop.fs.s3a.S3AFileSystem",
                "fs.s3a.endpoint": os.environ["LOCAL_AWS_NODES_URL"],
                "fs.s3a.path.style.access": "true",
                "fs.s3a.aws.credentials.provider": "com.amazonaws.auth.InstanceProfileCredentialsProvider",
            },
        )
        jars.fetch(*jars.YARN, *jars.S3A)
        self._yarn.__enter__()
        self._submitted: subprocess.Popen[bytes] | None = None
        self._killed = threading.Event()

    def _java_options(self) -> str:
        metadata = f"-Dcom.amazonaws.sdk.ec2MetadataServiceEndpointOverride={self.node.metadata.url}"
        return f"-XX:TieredStopAtLevel=1 -XX:+UseSerialGC {metadata}"

    def run(self, step: str, arguments: list[str]) -> int:
        """Run the command line of a step, and return the exit code."""
        self._submitted = self._yarn.submit(arguments[1:], self.node.folder / f"{step}.log", **self.node.variables())
        if self._killed.is_set():
            self.kill()
        bucket, run = (arguments[arguments.index(option) + 1] for option in ("--output", "--run-id"))
        if run in faults.nodes:
            self._disturb(faults.nodes[run], bucket.removeprefix("s3://"), run)
        code = self._submitted.wait()
        if not self._killed.is_set():
            self._record(run)
        return code

    def kill(self) -> None:
        """End spark-submit. The containers end together with YARN."""
        self._killed.set()
        if self._submitted is not None and self._submitted.poll() is None:
            os.killpg(self._submitted.pid, signal.SIGKILL)

    def logs(self, _: str) -> dict[str, bytes]:
        """Return the output of the containers, by the name of the file in the folder of logs."""
        return self._yarn.logs()

    def close(self) -> None:
        """Stop YARN and delete the files."""
        self._yarn.__exit__()
        self.node.close()

    def _disturb(self, kind: str, bucket: str, run: str) -> None:
        """Disturb the run when it has written its first file of features and every container that this needs runs."""
        assert self._submitted is not None
        wanted = {"Bucket": bucket, "Prefix": f"runs/{run}/features/"}
        while self._submitted.poll() is None:
            if self.node.client().list_objects_v2(**wanted).get("KeyCount"):
                with contextlib.suppress(LookupError):
                    return DISTURBANCES[kind](self._yarn)
            time.sleep(0.2)
        raise RuntimeError(f"The run {run} ended before this could happen: {kind}.")

    def _record(self, run: str) -> None:
        """Write what the driver and the nodes got, and where the driver was, for a test."""
        environment = self._yarn.environment_of_driver()
        given = {
            "environment": environment,
            "files": self._yarn.configuration(),
            "driver_market": self.node.markets[self._yarn.number(environment["NM_HOST"])],
        }
        Path(os.environ["LOCAL_AWS_FOLDER"], "steps", f"{run}.json").write_text(json.dumps(given))
