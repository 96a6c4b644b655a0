"""Which clusters, endpoints and security groups the clean-up removes. Pure functions of what AWS lists.

Clusters, endpoints and groups are dictionaries as boto3 returns them.
"""

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from typing import Any

Json = dict[str, Any]

#: The states of a cluster that still costs money.
ACTIVE = ("STARTING", "BOOTSTRAPPING", "RUNNING", "WAITING", "TERMINATING")

#: The tags of the interface endpoints that EMR creates in the network of a cluster.
EMR_ENDPOINT = {"Name": "emr-service-vpce", "for-use-with-amazon-emr-managed-policies": "true"}

#: The tag of the interface endpoints that GuardDuty creates in every network of an account that it monitors.
GUARDDUTY_ENDPOINT = {"GuardDutyManaged": "true"}


def clusters_of_stack(clusters: Iterable[Json], stack: str) -> list[Json]:
    """Return the clusters with a name of this stack. A run's cluster is called ``<stack>-<run>``."""
    return [cluster for cluster in clusters if cluster["Name"].startswith(f"{stack}-")]


def clusters_of_run(clusters: Iterable[Json], stack: str, run: str) -> list[Json]:
    """Return the clusters with the name of this run."""
    return [cluster for cluster in clusters if cluster["Name"] == f"{stack}-{run}"]


def clusters_older_than(clusters: Iterable[Json], age: timedelta, now: datetime) -> list[Json]:
    """Return the clusters that were created longer than `age` ago."""
    return [cluster for cluster in clusters if now - cluster["Status"]["Timeline"]["CreationDateTime"] > age]


def to_terminate(clusters: Iterable[Json]) -> list[str]:
    """Return the ids of the clusters that nobody has told to terminate yet."""
    return [cluster["Id"] for cluster in clusters if cluster["Status"]["State"] != "TERMINATING"]


def foreign_endpoints(endpoints: Iterable[Json], vpc: str, own: Collection[str]) -> list[Json]:
    """Return the interface endpoints in this network that the stack did not create, and that still exist."""
    return [
        endpoint
        for endpoint in endpoints
        if endpoint["VpcId"] == vpc
        and endpoint["VpcEndpointType"] == "Interface"
        and endpoint["State"].lower() != "deleted"
        and endpoint["VpcEndpointId"] not in own
    ]


def endpoints_of_emr(endpoints: Iterable[Json]) -> list[Json]:
    """Return the endpoints with the tags that EMR gives to the endpoints that it creates."""
    return [endpoint for endpoint in endpoints if EMR_ENDPOINT.items() <= _tags(endpoint).items()]


def foreign_groups(groups: Iterable[Json], vpc: str, own: Collection[str]) -> list[Json]:
    """Return the security groups in this network that the stack did not create. Nobody can delete ``default``."""
    return [
        group
        for group in groups
        if group["VpcId"] == vpc and group["GroupName"] != "default" and group["GroupId"] not in own
    ]


def _tags(resource: Json) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in resource.get("Tags", [])}
