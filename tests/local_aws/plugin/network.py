"""EC2: refuses to delete subnets, security groups and networks that are in use, and knows the tags of endpoints."""

from collections.abc import Callable, Iterator
from typing import Any

from ministack.core import iam_actions
from ministack.core.responses import get_account_id, get_region
from ministack.services import ec2, emr, tagging
from ministack.services.cloudformation import provisioners

from tests.local_aws.plugin.control import replace

Json = dict[str, Any]

_GROUPS = ("EmrManagedMasterSecurityGroup", "EmrManagedSlaveSecurityGroup", "ServiceAccessSecurityGroup")


def install() -> None:
    """Check whether a resource is in use before CloudFormation deletes it."""
    handlers = provisioners._RESOURCE_HANDLERS
    for kind in ("Subnet", "SecurityGroup", "VPC"):
        name = f"AWS::EC2::{kind}"
        handlers[name] = handlers[name] | {"delete": _unless_in_use(handlers[name]["delete"])}
    tagging._RESOURCE_TAG_COLLECTORS["ec2"] = _tags  # for the condition key aws:ResourceTag

    def context_of_request(service: str, action: str, body: bytes, parameters: Json) -> Json:
        found: Json = context(service, action, body, parameters)
        group = ec2._security_groups.get(iam_actions._query_param(parameters, "GroupId"))
        return {**found, "ec2:vpc": _arn("vpc", group["VpcId"])} if service == "ec2" and group else found

    context = replace(iam_actions, "request_tag_context", context_of_request)


def _unless_in_use(delete: Callable[[str, Json], None]) -> Callable[[str, Json], None]:
    def check_and_delete(name: str, given: Json) -> None:
        users = sorted({user for user, used in _uses() if used == name})
        if users:
            raise ValueError(f"DependencyViolation: {name} has dependencies and cannot be deleted: {', '.join(users)}.")
        delete(name, given)

    return check_and_delete


def _uses() -> Iterator[tuple[str, str]]:
    """Yield every cluster, security group and endpoint with each resource that it uses."""
    for cluster in emr._clusters.values():
        if cluster["Status"]["State"] not in ("TERMINATED", "TERMINATED_WITH_ERRORS"):
            attributes = cluster["Ec2InstanceAttributes"]
            for key in ("Ec2SubnetId", *_GROUPS):
                yield cluster["Id"], attributes[key]
    for group in ec2._security_groups.values():
        if group["GroupName"] != "default":
            yield group["GroupId"], group["VpcId"]
    for endpoint in ec2._vpc_endpoints.values():
        for used in (endpoint["VpcId"], *endpoint["SubnetIds"], *endpoint.get("SecurityGroupIds", [])):
            yield endpoint["VpcEndpointId"], used


def _tags() -> Iterator[tuple[str, list[dict[str, str]]]]:
    for endpoint in ec2._vpc_endpoints:
        yield _arn("vpc-endpoint", endpoint), ec2._tags.get(endpoint, [])


def _arn(kind: str, name: str) -> str:
    return f"arn:aws:ec2:{get_region()}:{get_account_id()}:{kind}/{name}"
