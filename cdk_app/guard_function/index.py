"""The guard's Lambda function: before CloudFormation deletes the stack, it ends everything that uses the network.

CloudFormation calls the function when it creates, updates or deletes the guard. Only a deletion has an effect. The
function may be called any number of times.
"""

import json
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

_POLL_SECONDS = 5
_UNLISTED_SECONDS = 60  # EMR may not list a cluster yet that was created just before its execution was stopped
_RESERVE_SECONDS = 120  # enough for the last calls with all their retries, and for the answer
_ANSWER_ATTEMPTS = 3
_MAX_REASON = 1000  # CloudFormation accepts answers of up to 4 KiB
_ALIVE = ["STARTING", "BOOTSTRAPPING", "RUNNING", "WAITING", "TERMINATING"]
_CLUSTERS_PER_CALL = 10
_ENDED_ALREADY = ("ExecutionDoesNotExist", "ValidationException")

Json = dict[str, Any]


class UnfinishedError(Exception):
    """Something is left. The message is one sentence that says what, and what to do."""


def handler(event: Json, context: Any) -> None:
    """Handle a request of CloudFormation, and answer it whatever happens. Without an answer, CloudFormation waits."""
    reason = ""
    try:
        if event["RequestType"] == "Delete":
            Guard(event["ResourceProperties"], context.get_remaining_time_in_millis).end_everything()
    except UnfinishedError as error:
        reason = str(error)
    except Exception as error:
        reason = f"The guard failed; remove the cause, and destroy the stack again. ({type(error).__name__}: {error})"
    _answer(event, reason)


class Guard:
    """Ends the executions and clusters of one stack, and deletes the endpoints that EMR left in its network.

    Parameters
    ----------
    properties
        ``Stack``, the name of the stack: the tag of its clusters, and the beginning of their names. ``StateMachine``,
        the ARN of the workflow. ``Vpc``, the ID of the network. ``EndpointTags``, the tags of EMR's endpoints.
    remaining_milliseconds
        Returns how long the function may still run.
    """

    def __init__(self, properties: Json, remaining_milliseconds: Callable[[], float]) -> None:
        self._stack, self._state_machine = properties["Stack"], properties["StateMachine"]
        self._vpc, self._endpoint_tags = properties["Vpc"], properties["EndpointTags"]
        self._remaining_milliseconds = remaining_milliseconds
        self._states, self._emr, self._ec2 = (client(name) for name in ("stepfunctions", "emr", "ec2"))
        self._listed: set[str] = set()  # the names of all clusters that were found
        self._expected: dict[str, float] = {}  # the names of the clusters of stopped executions, and until when

    def end_everything(self) -> None:
        """Return when nothing is left.

        Raises
        ------
        UnfinishedError
            If something is left when the time is over.
        """
        # The second look finds an execution that started, and a cluster that EMR listed, after the first.
        self._repeat(self._end_runs, empty_looks=2)
        self._repeat(self._delete_endpoints, empty_looks=1)

    def _repeat(self, look: Callable[[], list[str]], empty_looks: int) -> None:
        """Call `look`, which returns what is left, until nothing is left several times in a row."""
        empty = 0
        while True:
            left = look()
            print(f"{self._stack}: {', '.join(left) or 'nothing'} left")
            empty = 0 if left else empty + 1
            if empty == empty_looks:
                return
            if left and self._remaining_milliseconds() < _RESERVE_SECONDS * 1000:
                raise UnfinishedError(
                    f"Not ended in time: {', '.join(left)}; wait until they have ended, and destroy the stack again."
                )
            time.sleep(_POLL_SECONDS)

    def _end_runs(self) -> list[str]:
        """Stop all executions, terminate all clusters, and return those that had not ended."""
        clusters = list(self._clusters())
        self._listed.update(cluster["Name"] for cluster in clusters)
        executions = list(self._stop_executions())  # first, so that no run reports the end of its cluster as a failure
        for name in executions:
            self._expected.setdefault(f"{self._stack}-{name}", time.monotonic() + _UNLISTED_SECONDS)
        ids = [cluster["Id"] for cluster in clusters if cluster["Status"]["State"] != "TERMINATING"]
        for start in range(0, len(ids), _CLUSTERS_PER_CALL):
            self._emr.terminate_job_flows(JobFlowIds=ids[start : start + _CLUSTERS_PER_CALL])
        expected = [name for name, end in self._expected.items() if name not in self._listed and time.monotonic() < end]
        return [
            *(f"execution {name}" for name in executions),
            *(f"cluster {cluster['Id']}" for cluster in clusters),
            *(f"cluster {name}" for name in expected),
        ]

    def _stop_executions(self) -> Iterator[str]:
        """Stop the running executions, and yield their names."""
        pages = self._states.get_paginator("list_executions").paginate(
            stateMachineArn=self._state_machine, statusFilter="RUNNING"
        )
        try:
            running = [execution for page in pages for execution in page["executions"]]
        except self._states.exceptions.StateMachineDoesNotExist:
            return
        for execution in running:
            try:
                self._states.stop_execution(
                    executionArn=execution["executionArn"], error="StackDeleted", cause="The stack is being deleted."
                )
            except ClientError as error:
                if error.response["Error"]["Code"] not in _ENDED_ALREADY:
                    raise
            yield execution["name"]

    def _clusters(self) -> Iterator[Json]:
        """Yield the clusters of the stack that have not ended."""
        for page in self._emr.get_paginator("list_clusters").paginate(ClusterStates=_ALIVE):
            for cluster in page["Clusters"]:
                if cluster["Name"].startswith(f"{self._stack}-") and self._is_ours(cluster["Id"]):
                    yield cluster

    def _is_ours(self, cluster: str) -> bool:
        """Return whether a cluster has the tag of the stack. The role may describe no other cluster."""
        try:
            tags = self._emr.describe_cluster(ClusterId=cluster)["Cluster"].get("Tags", [])
        except ClientError as error:
            if error.response["Error"]["Code"] == "AccessDeniedException":
                print(f"The cluster {cluster} belongs to somebody else: {error}")
                return False
            raise
        return {"Key": "stack", "Value": self._stack} in tags

    def _delete_endpoints(self) -> list[str]:
        """Delete the endpoints that EMR created in the network, and return those that existed."""
        pages = self._ec2.get_paginator("describe_vpc_endpoints").paginate(
            Filters=[
                {"Name": "vpc-id", "Values": [self._vpc]},
                *({"Name": f"tag:{key}", "Values": [value]} for key, value in self._endpoint_tags.items()),
            ]
        )
        endpoints = [endpoint for page in pages for endpoint in page["VpcEndpoints"] if self._is_emrs(endpoint)]
        ids = [endpoint["VpcEndpointId"] for endpoint in endpoints if endpoint["State"].lower() != "deleting"]
        if ids:
            refused = self._ec2.delete_vpc_endpoints(VpcEndpointIds=ids).get("Unsuccessful", [])
            if refused:
                raise UnfinishedError(
                    f"EC2 did not delete the endpoint {refused[0]['ResourceId']}; delete it in the VPC console, and "
                    f"destroy the stack again. ({refused[0]['Error']['Message']})"
                )
        return [f"endpoint {endpoint['VpcEndpointId']}" for endpoint in endpoints]

    def _is_emrs(self, endpoint: Json) -> bool:
        """Return whether EMR created an endpoint in the network of the stack, and whether it still exists."""
        tags = {tag["Key"]: tag["Value"] for tag in endpoint.get("Tags", [])}
        return bool(
            endpoint["VpcId"] == self._vpc
            and endpoint["VpcEndpointType"] == "Interface"
            and endpoint["State"].lower() != "deleted"
            and self._endpoint_tags.items() <= tags.items()
        )


def client(service: str) -> Any:
    """Return a client that gives up early enough for the answer."""
    retries = {"mode": "standard", "total_max_attempts": 4}
    return boto3.client(service, config=Config(connect_timeout=5, read_timeout=15, retries=retries))


def _answer(event: Json, reason: str) -> None:
    """Tell CloudFormation the result. A `reason` means failure."""
    answer = {
        "Status": "FAILED" if reason else "SUCCESS",
        "Reason": reason[:_MAX_REASON],
        # The ID never changes. If it did, CloudFormation would delete the old guard, and that would end all runs.
        "PhysicalResourceId": event.get("PhysicalResourceId") or event["LogicalResourceId"],
        **{key: event[key] for key in ("StackId", "RequestId", "LogicalResourceId")},
    }
    print(json.dumps(answer))
    request = urllib.request.Request(  # noqa: S310 - the URL is CloudFormation's
        event["ResponseURL"],
        json.dumps(answer).encode(),
        {"Content-Type": ""},  # the signature of the URL is for a request without a type
        method="PUT",
    )
    for attempt in range(1, _ANSWER_ATTEMPTS + 1):
        try:
            with urllib.request.urlopen(request, timeout=10):  # noqa: S310 - likewise
                return
        except OSError:
            if attempt == _ANSWER_ATTEMPTS:
                raise
            time.sleep(attempt)
