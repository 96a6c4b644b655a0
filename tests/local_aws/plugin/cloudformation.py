"""Resource types that CloudFormation in MiniStack lacks, and the tags of buckets, which it ignores."""

import json
from typing import Any

from ministack.services import athena, ec2, s3
from ministack.services.cloudformation import provisioners

Properties = dict[str, Any]


def install() -> None:
    """Register the handlers."""
    handlers = provisioners._RESOURCE_HANDLERS
    for direction, rules in (("Ingress", "IpPermissions"), ("Egress", "IpPermissionsEgress")):
        handlers[f"AWS::EC2::SecurityGroup{direction}"] = _security_group_rule(rules)
    for kind in ("AWS::EMR::SecurityConfiguration", "AWS::Budgets::Budget"):
        handlers[kind] = _record(kind)
    handlers["AWS::Athena::NamedQuery"] = {"create": _create_query, "delete": _delete_query}
    handlers["AWS::S3::Bucket"] = _bucket(handlers["AWS::S3::Bucket"])


def _record(kind: str) -> dict[str, Any]:
    """Return the handlers of a type of which nothing else here needs more than the name."""
    created: set[str] = set()

    def create(logical_id: str, given: Properties, stack: str) -> tuple[str, Properties]:
        name = given.get("Name") or f"{stack}-{logical_id}"
        created.add(name)
        return name, {}

    def delete(name: str, _: Properties) -> None:
        if name not in created:
            raise ValueError(f"There is no {kind} {name}.")
        created.remove(name)

    return {"create": create, "update": lambda name, *_: (name, {}), "delete": delete}


def _security_group_rule(where: str) -> dict[str, Any]:
    def create(logical_id: str, given: Properties, _: str) -> tuple[str, Properties]:
        ec2._security_groups[given["GroupId"]][where] += provisioners._ec2_sg_permissions([given])
        return logical_id, {}

    def delete(_: str, given: Properties) -> None:
        (rule,) = provisioners._ec2_sg_permissions([given])
        rules = ec2._security_groups[given["GroupId"]][where]
        rules.remove(rule)

    return {"create": create, "delete": delete}


def _create_query(_: str, given: Properties, __: str) -> tuple[str, Properties]:
    """Save a query in Athena. A changed query is a new one, as in AWS."""
    _, __, body = athena._create_named_query(given)
    query = json.loads(body)["NamedQueryId"]
    return query, {"NamedQueryId": query}


def _delete_query(query: str, _: Properties) -> None:
    athena._delete_named_query({"NamedQueryId": query})


def _bucket(own: dict[str, Any]) -> dict[str, Any]:
    """Return the handlers of buckets, with tags. They refuse to delete a bucket that is not empty."""

    def tag(created: tuple[str, Properties], given: Properties) -> tuple[str, Properties]:
        s3._bucket_tags[created[0]] = {tag["Key"]: tag["Value"] for tag in given.get("Tags", [])}
        return created

    def delete(name: str, given: Properties) -> None:
        status, _, answer = s3._delete_bucket(name)  # this fails if the bucket is not empty
        if status >= 300:
            raise ValueError(answer.decode())
        own["delete"](name, given)

    return {
        **own,
        "create": lambda logical_id, given, stack: tag(own["create"](logical_id, given, stack), given),
        "update": lambda name, old, given, stack: tag(own["update"](name, old, given, stack), given),
        "delete": delete,
    }
