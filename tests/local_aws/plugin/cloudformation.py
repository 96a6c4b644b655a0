"""Resource types that CloudFormation in MiniStack lacks, and properties of buckets that it ignores."""

import copy
import json
from typing import Any

from botocore.serialize import create_serializer
from botocore.session import Session
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
    created: dict[str, Properties] = {}

    def create(logical_id: str, given: Properties, stack: str) -> tuple[str, Properties]:
        name = given.get("Name") or f"{stack}-{logical_id}"
        created[name] = copy.deepcopy(given)
        return name, {}

    def delete(name: str, _: Properties) -> None:
        if created.pop(name, None) is None:
            raise ValueError(f"There is no {kind} {name}.")

    def update(name: str, _: Properties, given: Properties, __: str) -> tuple[str, Properties]:
        created[name] = copy.deepcopy(given)
        return name, {}

    return {"create": create, "update": update, "delete": delete}


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
    """Return the handlers of buckets, with tags and life cycle. They refuse to delete a bucket that is not empty."""

    def complete(created: tuple[str, Properties], given: Properties) -> tuple[str, Properties]:
        bucket = created[0]
        s3._bucket_tags[bucket] = {tag["Key"]: tag["Value"] for tag in given.get("Tags", [])}
        if rules := given.get("LifecycleConfiguration", {}).get("Rules"):
            _expect_success(s3._put_bucket_lifecycle(bucket, _as_sent(bucket, [_life_cycle(rule) for rule in rules])))
        return created

    def delete(name: str, given: Properties) -> None:
        _expect_success(s3._delete_bucket(name))  # this fails if the bucket is not empty
        own["delete"](name, given)

    return {
        **own,
        "create": lambda logical_id, given, stack: complete(own["create"](logical_id, given, stack), given),
        "update": lambda name, old, given, stack: complete(own["update"](name, old, given, stack), given),
        "delete": delete,
    }


def _life_cycle(rule: Properties) -> Properties:
    """Convert a rule of a template to the form of the API."""
    expiration = {
        "Days": int(rule["ExpirationInDays"]) if "ExpirationInDays" in rule else None,
        "ExpiredObjectDeleteMarker": rule.get("ExpiredObjectDeleteMarker"),
    }
    known = {
        "ID": rule.get("Id"),
        "Status": rule["Status"],
        "Expiration": {name: value for name, value in expiration.items() if value},
        "NoncurrentVersionExpiration": rule.get("NoncurrentVersionExpiration"),
        "AbortIncompleteMultipartUpload": rule.get("AbortIncompleteMultipartUpload"),
    }
    return {"Filter": {"Prefix": rule.get("Prefix", "")}} | {name: value for name, value in known.items() if value}


def _as_sent(bucket: str, rules: list[Properties]) -> bytes:
    """Return the body of the request that sets these rules."""
    operation = Session().get_service_model("s3").operation_model("PutBucketLifecycleConfiguration")
    given = {"Bucket": bucket, "LifecycleConfiguration": {"Rules": rules}}
    body: bytes = create_serializer("rest-xml").serialize_to_request(given, operation)["body"]
    return body


def _expect_success(answer: tuple[int, dict[str, str], bytes]) -> None:
    if answer[0] >= 300:
        raise ValueError(answer[2].decode())
