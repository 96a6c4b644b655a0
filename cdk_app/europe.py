"""Where the photos may be: the AWS regions of the European Union, and the denial of every other."""

from aws_cdk import aws_iam as iam

#: London (eu-west-2) and Zurich (eu-central-2) are in Europe, not in the Union.
REGIONS = {
    "eu-west-3": "Paris",
    "eu-west-1": "Ireland",
    "eu-central-1": "Frankfurt",
    "eu-north-1": "Stockholm",
    "eu-south-1": "Milan",
    "eu-south-2": "Spain",
}


def zones(region: str) -> list[str]:
    """Return the three availability zones that the cluster may start in (named, so that synth asks AWS nothing)."""
    return [f"{region}{letter}" for letter in "abc"]


def confine(role: iam.Role, region: str) -> None:
    """Deny `role` everything outside `region`, whatever else allows it.

    IAM is exempt: it is global, and its requests count as another region's.
    """
    role.add_to_policy(
        iam.PolicyStatement(
            sid="DenyOutsideTheRegion",
            effect=iam.Effect.DENY,
            not_actions=["iam:*"],
            resources=["*"],
            conditions={"StringNotEquals": {"aws:RequestedRegion": region}},
        )
    )
