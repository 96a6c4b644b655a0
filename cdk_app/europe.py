"""Where the photos may be: the AWS regions of the European Union. Roles are denied every other region."""

import aws_cdk as cdk
from aws_cdk import aws_iam as iam

#: London (eu-west-2) and Zurich (eu-central-2) are in Europe, but not in the European Union.
REGIONS = {
    "eu-west-3": "Paris",
    "eu-west-1": "Ireland",
    "eu-central-1": "Frankfurt",
    "eu-north-1": "Stockholm",
    "eu-south-1": "Milan",
    "eu-south-2": "Spain",
}


def zones(region: str) -> list[str]:
    """Return the three availability zones that the cluster may start in. CDK does not ask AWS for named zones."""
    return [f"{region}{letter}" for letter in "abc"]


def confine(role: iam.Role) -> None:
    """Deny `role` everything outside the region of its stack, even if another policy allows it.

    IAM is exempt: it is a global service, and its requests count as requests to another region.
    """
    role.add_to_policy(
        iam.PolicyStatement(
            sid="DenyOutsideTheRegion",
            effect=iam.Effect.DENY,
            not_actions=["iam:*"],
            resources=["*"],
            conditions={"StringNotEquals": {"aws:RequestedRegion": cdk.Stack.of(role).region}},
        )
    )
