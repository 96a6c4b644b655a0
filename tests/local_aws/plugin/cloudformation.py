"""Types of resources that MiniStack's CloudFormation lacks, and the rest of its buckets."""

import copy
from typing import Any

from botocore.serialize import create_serializer
from botocore.session import Session
from ministack.services import ec2, s3
from ministack.services.cloudformation import provisioners

Properties = dict[str, Any]


def install() -> None:
    """Register the handlers."""
    handlers = provisioners._RESOURCE_HANDLERS
    for direction, rules in (("Ingress", "IpPermissions"), ("Egress", "IpPermissionsEgress")):
        handlers[f"AWS::EC2::SecurityGroup{direction}"] = _security_group_rule(rules)
    for kind in ("AWS::EMR::SecurityConfiguration", "AWS::Budgets::Budget"):
        handlers[kind] = _record(kind)
    handlers["AWS::S3::Bucket"] = _bucket(handlers["AWS::S3::Bucket"])


def _record(kind: str) -> dict[str, Any]:
    """Return the handlers of a type that nothing here asks for again: what is made has a name, and no more."""
    made: dict[str, Properties] = {}

    def create(logical_id: str, given: Properties, stack: str) -> tuple[str, Properties]:
        name = given.get("Name") or f"{stack}-{logical_id}"
        made[name] = copy.deepcopy(given)
        return name, {}

    def delete(name: str, _: Properties) -> None:
        if made.pop(name, None) is None:
            raise ValueError(f"There is no {kind} {name}")

    def update(name: str, _: Properties, given: Properties, __: str) -> tuple[str, Properties]:
        made[name] = copy.deepcopy(given)
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


def _bucket(own: dict[str, Any]) -> dict[str, Any]:
    """Return the bucket's handlers with tags, life cycle, and the refusal to delete what is not empty."""

    def complete(made: tuple[str, Properties], given: Properties) -> tuple[str, Properties]:
        bucket = made[0]
        s3._bucket_tags[bucket] = {tag["Key"]: tag["Value"] for tag in given.get("Tags", [])}
        if rules := given.get("LifecycleConfiguration", {}).get("Rules"):
            _expect_success(s3._put_bucket_lifecycle(bucket, _as_sent(bucket, [_life_cycle(rule) for rule in rules])))
        return made

    def delete(name: str, given: Properties) -> None:
        _expect_success(s3._delete_bucket(name))  # which refuses while there is anything in it
        own["delete"](name, given)

    return {
        **own,
        "create": lambda logical_id, given, stack: complete(own["create"](logical_id, given, stack), given),
        "update": lambda name, old, given, stack: complete(own["update"](name, old, given, stack), given),
        "delete": delete,
    }


def _life_cycle(rule: Properties) -> Properties:
    """Return a template's rule as the API has it."""
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
    """Return rules as the body of the request that sets them."""
    operation = Session().get_service_model("s3").operation_model("PutBucketLifecycleConfiguration")
    given = {"Bucket": bucket, "LifecycleConfiguration": {"Rules": rules}}
    body: bytes = create_serializer("rest-xml").serialize_to_request(given, operation)["body"]
    return body


def _expect_success(answer: tuple[int, dict[str, str], bytes]) -> None:
    if answer[0] >= 300:
        raise ValueError(answer[2].decode())
