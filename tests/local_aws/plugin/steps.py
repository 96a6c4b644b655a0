"""Runs a step as EMR does: spark-submit runs with the role of the nodes only, and the logs go to the log bucket."""

import gzip
from typing import Any, Protocol

from botocore.exceptions import ClientError

from tests.local_aws.plugin.control import faults
from tests.local_aws.plugin.local_mode import LocalMode
from tests.local_aws.plugin.node import Node
from tests.local_aws.plugin.on_yarn import OnYarn

Json = dict[str, Any]


class Spark(Protocol):
    """Where the steps of a cluster run: on a YARN, or in one process."""

    node: Node

    def run(self, step: str, arguments: list[str]) -> int:
        """Run the command line of a step, and return the exit code."""

    def kill(self) -> None:
        """End the step that runs."""

    def logs(self, step: str) -> dict[str, bytes]:
        """Return the output of a step by ``application/container/name``."""

    def close(self) -> None:
        """Stop everything and delete the files."""


def spark_on(node: Node) -> Spark:
    """Start what the steps of a cluster need."""
    return OnYarn(node) if faults.spark == "yarn" else LocalMode(node)


class Step:
    """One step of a cluster."""

    def __init__(self, spark: Spark, record: Json) -> None:
        self._spark, self._id, self._arguments = spark, record["Id"], record["Config"]["Args"]
        self.logs = f"{spark.node.log_uri}steps/{self._id}/"

    def run(self) -> int:
        """Run the step, upload the logs, and return the exit code."""
        message = ""
        try:
            code = self._spark.run(self._id, self._arguments)
        except ClientError as error:  # the nodes may not read the job
            message, code = f"{error}\n", 1
        self._upload_logs(f"{message}Exit code {code}\n")
        return code

    def kill(self) -> None:
        """End the step."""
        self._spark.kill()

    def _upload_logs(self, message: str) -> None:
        s3, containers = self._spark.node.client(), f"{self._spark.node.log_uri}containers/"
        logs = {f"{containers}{name}.gz": data for name, data in self._spark.logs(self._id).items()}
        for uri, data in {f"{self.logs}stderr.gz": message.encode(), **logs}.items():
            bucket, _, key = uri.removeprefix("s3://").partition("/")
            s3.put_object(Bucket=bucket, Key=key, Body=gzip.compress(data))
