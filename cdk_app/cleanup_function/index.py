"""The clean-up: a Lambda function that terminates the clusters that no run needs any more.

CloudFormation calls it before it deletes the stack. Then it ends all runs, and removes what others have created in the
network of the stack. EventBridge calls it every hour and after every run that ended badly. The state machine of a run
calls it if the run's cluster does not end. It may be called any number of times.
"""

import json
import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import urllib3
from botocore.config import Config
from botocore.exceptions import ClientError

from . import decisions
from .decisions import Json

_LOOKS_FOR_CLUSTER, _SECONDS_BETWEEN_LOOKS = 3, 60  # EMR may not list a new cluster for a while
_POLL_SECONDS = 5
_UNLISTED_SECONDS = 60
_RESERVE_SECONDS = 120  # enough for the last calls with all their retries, and for the answer
_HTTP = urllib3.PoolManager(timeout=10, retries=urllib3.Retry(3, backoff_factor=1, status_forcelist=range(400, 600)))
_MAX_REASON = 1000  # CloudFormation accepts answers of up to 4 KiB
_CLUSTERS_PER_CALL = 10


class UnfinishedError(Exception):
    """Something is left. The message is one sentence that says what, and what to do."""


class ClusterOutlivedItsRunError(Exception):
    """A cluster outlived its run and has been terminated. The error counts as one of the function: it is the alarm."""


def handler(event: Json, context: Any) -> None:
    """Handle the event of one of the triggers (see `cdk_app.cleanup`)."""
    if "RequestType" in event:
        _answer(event, _end_everything(context) if event["RequestType"] == "Delete" else "")
    elif "run" in event:
        CleanUp(context).after_run(event["run"], alarm=event["alarm"])
    else:
        CleanUp(context).every_hour()


class CleanUp:
    """Ends runs and clusters of one stack, and removes what others have created in its network.

    The environment variables say which stack: ``STACK`` is its name, which is also the tag of its clusters and the
    beginning of their names. ``STATE_MACHINE`` is the ARN of the workflow, ``LONGEST_RUN_SECONDS`` the time after which
    a cluster is too old, ``VPC`` the ID of the network, and ``OWN`` the IDs of the endpoints and security groups that
    belong to the stack.

    Parameters
    ----------
    context
        The context of the function, which knows how long it may still run.
    """

    def __init__(self, context: Any) -> None:
        self._context = context
        self._stack, self._state_machine = os.environ["STACK"], os.environ["STATE_MACHINE"]
        self._longest_run = timedelta(seconds=int(os.environ["LONGEST_RUN_SECONDS"]))
        self._vpc, self._own = os.environ["VPC"], os.environ["OWN"].split(",")
        self._states, self._emr, self._ec2 = (client(name) for name in ("stepfunctions", "emr", "ec2"))
        self._listed: set[str] = set()  # the names of all clusters that were found
        self._expected: dict[str, float] = {}  # the names of the clusters of stopped executions, and until when

    def after_run(self, run: str, *, alarm: bool) -> None:
        """Terminate the cluster of a run, if there is one.

        Raises
        ------
        ClusterOutlivedItsRunError
            If there was a cluster and `alarm` is true.
        """
        for look in range(_LOOKS_FOR_CLUSTER):
            if look:
                time.sleep(_SECONDS_BETWEEN_LOOKS)
            if clusters := self._ours(decisions.clusters_of_run(self._clusters(), self._stack, run)):
                break
        self._terminate(clusters)
        if alarm:
            _raise_alarm(clusters)

    def every_hour(self) -> None:
        """Terminate clusters that are older than any run can be. If nothing runs, delete the endpoints of EMR.

        Raises
        ------
        ClusterOutlivedItsRunError
            If there was such a cluster.
        """
        clusters = self._ours(decisions.clusters_of_stack(self._clusters(), self._stack))
        old = decisions.clusters_older_than(clusters, self._longest_run, datetime.now(UTC))
        self._terminate(old)
        endpoints = decisions.endpoints_of_emr(self._foreign_endpoints())
        if endpoints and not clusters and not self._running_executions():
            self._delete_endpoints(endpoints)
        _raise_alarm(old)

    def end_everything(self) -> None:
        """Return when no execution, no cluster, and nothing that the stack did not create is left in the network.

        Raises
        ------
        UnfinishedError
            If something is left when the time is over.
        """
        # The second look finds an execution that started, and a cluster that EMR listed, after the first.
        self._repeat(self._end_runs, empty_looks=2)
        self._repeat(lambda: self._delete_endpoints(self._foreign_endpoints()), empty_looks=1)
        self._repeat(self._delete_groups, empty_looks=1)

    def _repeat(self, look: Callable[[], list[str]], empty_looks: int) -> None:
        """Call `look`, which returns what is left, until nothing is left several times in a row."""
        empty = 0
        while True:
            left = look()
            print(f"{self._stack}: {', '.join(left) or 'nothing'} left")
            empty = 0 if left else empty + 1
            if empty == empty_looks:
                return
            if left and self._context.get_remaining_time_in_millis() < _RESERVE_SECONDS * 1000:
                raise UnfinishedError(
                    f"Not ended in time: {', '.join(left)}; wait until they have ended, and destroy the stack again."
                )
            time.sleep(_POLL_SECONDS)

    def _end_runs(self) -> list[str]:
        """Stop all executions, terminate all clusters, and return those that had not ended."""
        clusters = self._ours(decisions.clusters_of_stack(self._clusters(), self._stack))
        self._listed.update(cluster["Name"] for cluster in clusters)
        executions = self._running_executions()
        self._stop(executions)  # first, so that no run reports the end of its cluster as a failure
        names = [execution["name"] for execution in executions]
        for name in names:
            self._expected.setdefault(f"{self._stack}-{name}", time.monotonic() + _UNLISTED_SECONDS)
        self._terminate(clusters)
        expected = [name for name, end in self._expected.items() if name not in self._listed and time.monotonic() < end]
        return [
            *(f"execution {name}" for name in names),
            *(f"cluster {cluster['Id']}" for cluster in clusters),
            *(f"cluster {name}" for name in expected),
        ]

    def _running_executions(self) -> list[Json]:
        machine = {"stateMachineArn": self._state_machine, "statusFilter": "RUNNING"}
        try:
            return _listed(self._states, "list_executions", "executions", **machine)
        except self._states.exceptions.StateMachineDoesNotExist:
            return []

    def _stop(self, executions: Iterable[Json]) -> None:
        why = {"error": "StackDeleted", "cause": "The stack is being deleted."}
        has_ended = (self._states.exceptions.ExecutionDoesNotExist, self._states.exceptions.ValidationException)
        for execution in executions:
            with suppress(*has_ended):
                self._states.stop_execution(executionArn=execution["executionArn"], **why)

    def _clusters(self) -> list[Json]:
        """Return all clusters of the region that have not ended."""
        return _listed(self._emr, "list_clusters", "Clusters", ClusterStates=decisions.ACTIVE)

    def _ours(self, clusters: Iterable[Json]) -> list[Json]:
        """Return the clusters that have the tag of the stack. The role may describe no others."""
        return [cluster for cluster in clusters if self._is_ours(cluster["Id"])]

    def _is_ours(self, cluster: str) -> bool:
        try:
            tags = self._emr.describe_cluster(ClusterId=cluster)["Cluster"].get("Tags", [])
        except ClientError as error:
            if _code(error) != "AccessDeniedException":
                raise
            print(f"The cluster {cluster} belongs to somebody else: {error}")
            return False
        return {"Key": "stack", "Value": self._stack} in tags

    def _terminate(self, clusters: Iterable[Json]) -> None:
        ids = decisions.to_terminate(clusters)
        for start in range(0, len(ids), _CLUSTERS_PER_CALL):
            self._emr.terminate_job_flows(JobFlowIds=ids[start : start + _CLUSTERS_PER_CALL])

    def _foreign_endpoints(self) -> list[Json]:
        endpoints = _listed(self._ec2, "describe_vpc_endpoints", "VpcEndpoints")
        return decisions.foreign_endpoints(endpoints, self._vpc, self._own)

    def _delete_endpoints(self, endpoints: list[Json]) -> list[str]:
        """Delete endpoints, and return those that existed."""
        names = [f"endpoint {endpoint['VpcEndpointId']}" for endpoint in endpoints]
        for name, endpoint in zip(names, endpoints, strict=True):
            if endpoint["State"].lower() != "deleting":
                _delete(name, self._ec2.delete_vpc_endpoints, VpcEndpointIds=[endpoint["VpcEndpointId"]])
        return names

    def _delete_groups(self) -> list[str]:
        """Delete the security groups that the stack did not create, and return those that existed."""
        groups = _listed(self._ec2, "describe_security_groups", "SecurityGroups")
        foreign = [group["GroupId"] for group in decisions.foreign_groups(groups, self._vpc, self._own)]
        names = [f"security group {group}" for group in foreign]
        for name, group in zip(names, foreign, strict=True):
            _delete(name, self._ec2.delete_security_group, GroupId=group)
        return names


def client(service: str) -> Any:
    """Return a client that gives up early enough for the answer."""
    retries = {"mode": "standard", "total_max_attempts": 4}
    return boto3.client(service, config=Config(connect_timeout=5, read_timeout=15, retries=retries))


def _code(error: ClientError) -> str:
    return str(error.response["Error"]["Code"])


def _raise_alarm(clusters: Iterable[Json]) -> None:
    """Raise an error if there are clusters."""
    if ids := ", ".join(cluster["Id"] for cluster in clusters):
        raise ClusterOutlivedItsRunError(f"Terminated {ids}, which no run used any more.")


def _listed(client: Any, operation: str, key: str, **which: Any) -> list[Json]:
    return [item for page in client.get_paginator(operation).paginate(**which) for item in page[key]]


def _delete(what: str, call: Callable[..., Json], **which: Any) -> None:
    """Delete something in the network, unless it is still in use. Raise UnfinishedError if EC2 refuses."""
    try:
        refused = call(**which).get("Unsuccessful", [])
        problem = refused[0]["Error"]["Message"] if refused else ""
    except ClientError as error:
        problem = "" if _code(error) == "DependencyViolation" else str(error)
    if problem:
        raise UnfinishedError(
            f"EC2 did not delete the {what}; delete it in the VPC console, and destroy the stack again. ({problem})"
        )


def _end_everything(context: Any) -> str:
    """End everything, and return what is wrong. Nothing else may happen, or CloudFormation would get no answer."""
    try:
        CleanUp(context).end_everything()
    except UnfinishedError as error:
        return str(error)
    except Exception as error:
        return f"The clean-up failed; remove the cause, and destroy the stack again. ({type(error).__name__}: {error})"
    return ""


def _answer(event: Json, reason: str) -> None:
    """Tell CloudFormation the result. A `reason` means failure."""
    answer = {
        "Status": "FAILED" if reason else "SUCCESS",
        "Reason": reason[:_MAX_REASON],
        # The ID never changes. If it did, CloudFormation would delete the old resource, and that would end all runs.
        "PhysicalResourceId": event.get("PhysicalResourceId") or event["LogicalResourceId"],
        **{key: event[key] for key in ("StackId", "RequestId", "LogicalResourceId")},
    }
    print(json.dumps(answer))
    # The signature of the URL is for a request without a type.
    _HTTP.request("PUT", event["ResponseURL"], body=json.dumps(answer), headers={"Content-Type": ""})
