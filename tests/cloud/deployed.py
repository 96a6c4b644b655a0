"""A deployed stage: its resources, and what a person does with them."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.local_aws.emulator import LocalAws

_ALIVE = ["STARTING", "BOOTSTRAPPING", "RUNNING", "WAITING", "TERMINATING"]
_TIMEOUT_SECONDS = 1200


@dataclass(frozen=True)
class Execution:
    """How an execution ended."""

    name: str
    status: str
    error: str
    cause: str
    output: dict[str, Any]


@dataclass(frozen=True)
class Deployed:
    """The buckets and the state machine of a stage, from the outputs of the stack."""

    aws: LocalAws
    name: str
    data: str
    results: str
    logs: str
    machine: str

    @classmethod
    def find(cls, aws: LocalAws, name: str) -> Self:
        """Return the stage whose stack has this name."""
        (stack,) = aws.client("cloudformation").describe_stacks(StackName=name)["Stacks"]
        outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
        buckets = {key.lower(): outputs[key].split("/")[2] for key in ("Photos", "Results", "Logs")}
        machine = outputs["StartHere"].rpartition("/")[2]
        return cls(aws, name, buckets["photos"], buckets["results"], buckets["logs"], machine)

    def put_photos(self, folder: Path, prefix: str = "photos") -> list[str]:
        """Copy a folder of photos to the data bucket, and return the keys."""
        keys = {f"{prefix}/{file.relative_to(folder).as_posix()}": file for file in folder.rglob("*") if file.is_file()}
        s3 = self.aws.client("s3")
        for key, file in keys.items():
            s3.upload_file(str(file), self.data, key)
        return sorted(keys)

    def start(self, given: Any, name: str) -> str:
        """Start an execution and return its ARN."""
        client = self.aws.client("stepfunctions")
        arn = client.start_execution(stateMachineArn=self.machine, name=name, input=json.dumps(given))
        return str(arn["executionArn"])

    def wait(self, arn: str) -> Execution:
        """Wait for the end of an execution."""
        client = self.aws.client("stepfunctions")
        wait_until(lambda: client.describe_execution(executionArn=arn)["status"] != "RUNNING", f"{arn} to end")
        end = client.describe_execution(executionArn=arn)
        return Execution(
            name=end["name"],
            status=end["status"],
            error=end.get("error") or "",
            cause=end.get("cause") or "",
            output=json.loads(end.get("output") or "{}"),
        )

    def run(self, given: Any, name: str) -> Execution:
        """Start an execution and wait for its end."""
        return self.wait(self.start(given, name))

    def stop(self, arn: str) -> None:
        """Stop an execution, as the console's button does."""
        self.aws.client("stepfunctions").stop_execution(executionArn=arn)

    def clusters(self) -> list[dict[str, Any]]:
        """Return the clusters that are alive."""
        found: list[dict[str, Any]] = self.aws.client("emr").list_clusters(ClusterStates=_ALIVE)["Clusters"]
        return [one for one in found if one["Name"].startswith(f"{self.name}-")]

    def wait_until_no_cluster(self) -> None:
        """Wait until no cluster is alive."""
        wait_until(lambda: not self.clusters(), "every cluster to end")

    def keys(self, bucket: str, prefix: str = "") -> list[str]:
        """Return the keys of a bucket's objects."""
        pages = self.aws.client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return [found["Key"] for page in pages for found in page.get("Contents", [])]

    def read(self, bucket: str, key: str) -> bytes | None:
        """Return the bytes of an object, or None if it does not exist."""
        s3 = self.aws.client("s3")
        try:
            return bytes(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
        except s3.exceptions.NoSuchKey:
            return None

    def manifest(self, run: str) -> dict[str, Any]:
        """Return a run's manifest."""
        manifest: dict[str, Any] = json.loads(self.read(self.results, f"runs/{run}/manifest.json") or b"")
        return manifest

    def role(self, of: str) -> str:
        """Return the name of the role whose logical ID begins with `of`."""
        roles = self.aws.client("iam").get_paginator("list_roles").paginate()
        (name,) = [
            role["RoleName"]
            for page in roles
            for role in page["Roles"]
            if role["RoleName"].startswith(f"{self.name}-{of}")
        ]
        return str(name)


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Check a condition again and again until it is true. Raise AssertionError after the time-out."""
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited {_TIMEOUT_SECONDS} s for {what}"
        time.sleep(0.2)
