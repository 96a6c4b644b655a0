"""Accepts findings of cdk-nag, each with its reason. Every other finding stops the synthesis."""

import aws_cdk as cdk
from constructs import Construct


def accept(construct: Construct, rule: str, reason: str) -> None:
    """Accept what the rule ``AwsSolutions-<rule>`` finds in `construct`."""
    cdk.Validations.of(construct).acknowledge(cdk.Acknowledgment(id=f"AwsSolutions-{rule}", reason=reason))


def accept_wildcard(construct: Construct, resource: str, reason: str) -> None:
    """Accept a policy of `construct` that allows something on `resource`, which has a wildcard."""
    resource = resource.replace(cdk.Aws.ACCOUNT_ID, "<AWS::AccountId>")  # as cdk-nag writes it
    accept(construct, f"IAM5[Resource::{resource}]", reason)
