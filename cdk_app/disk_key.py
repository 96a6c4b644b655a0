"""A KMS key of the stack's own for the disks of the clusters, for those who must have one (``disk_key=own``)."""

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from constructs import Construct

from cdk_app.vpc import IsolatedVpc

_USE_KEY = (
    *("kms:Encrypt", "kms:Decrypt", "kms:ReEncryptFrom", "kms:ReEncryptTo"),
    *("kms:GenerateDataKey", "kms:GenerateDataKeyWithoutPlaintext"),
)


def disk_key(scope: Construct, network: IsolatedVpc, *, instance_role: iam.Role, service_role: iam.Role) -> kms.Key:
    """Return a key that the nodes and EMR may use, and that the nodes can reach."""
    stack = cdk.Stack.of(scope)
    key = kms.Key(
        scope,
        "DiskKey",
        description=f"{stack.stack_name}: disks of the clusters",
        enable_key_rotation=True,
        pending_window=cdk.Duration.days(7),
        removal_policy=cdk.RemovalPolicy.DESTROY,  # no disk exists any more when the key is deleted
    )
    _allow_disk_encryption(key, instance_role, service_role)
    _add_endpoint(scope, network, key)
    return key


def encryption(key: kms.Key) -> dict[str, object]:
    """Return the part of EMR's security configuration that encrypts all disks with the key."""
    return {
        "EnableInTransitEncryption": False,  # nodes talk only inside their own subnets; S3 uses TLS anyway
        "EnableAtRestEncryption": True,
        "AtRestEncryptionConfiguration": {
            "LocalDiskEncryptionConfiguration": {
                "EncryptionKeyProviderType": "AwsKms",
                "AwsKmsKey": key.key_arn,
                "EnableEbsEncryption": True,
            }
        },
    }


def _allow_disk_encryption(key: kms.Key, instance_role: iam.Role, service_role: iam.Role) -> None:
    """Allow the nodes and EMR to use the key (EMR Management Guide, keys for data at rest)."""
    for role in (instance_role, service_role):
        key.grant(role, *_USE_KEY, "kms:DescribeKey")
    # AWS's own key for disks has the same statement. Fleets attach disks with roles of EC2, which only a key policy
    # can name.
    key.add_to_resource_policy(
        iam.PolicyStatement(
            sid="ThroughEc2",
            principals=[iam.AnyPrincipal()],
            actions=[*_USE_KEY, "kms:CreateGrant", "kms:DescribeKey"],
            resources=["*"],  # in a key policy, this is the key itself
            conditions={
                "StringEquals": {
                    "kms:CallerAccount": cdk.Aws.ACCOUNT_ID,
                    "kms:ViaService": f"ec2.{cdk.Stack.of(key).region}.amazonaws.com",
                }
            },
        )
    )
    service_role.add_to_policy(
        iam.PolicyStatement(
            sid="LetEc2AttachEncryptedDisks",
            actions=["kms:CreateGrant"],
            resources=[key.key_arn],
            conditions={"Bool": {"kms:GrantIsForAWSResource": "true"}},
        )
    )


def _add_endpoint(scope: Construct, network: IsolatedVpc, key: kms.Key) -> None:
    """Let the nodes reach KMS, and there only this key.

    With AwsKms, the nodes themselves call KMS (github.com/awsdocs/amazon-emr-management-guide/issues/15). An interface
    endpoint costs money per zone and hour. One zone is enough, because the other subnets reach it too.
    """
    group = ec2.SecurityGroup(
        scope, "KmsEndpointGroup", vpc=network.vpc, description="nodes to KMS", allow_all_outbound=False
    )
    for nodes in (network.primary, network.workers):
        group.add_ingress_rule(nodes, ec2.Port.tcp(443), "node to KMS")
    endpoint = network.vpc.add_interface_endpoint(
        "Kms",
        service=ec2.InterfaceVpcEndpointAwsService.KMS,
        subnets=ec2.SubnetSelection(subnets=network.vpc.isolated_subnets[:1]),
        security_groups=[group],
        private_dns_enabled=True,
        open=False,  # the group names its peers itself
    )
    endpoint.add_to_policy(
        iam.PolicyStatement(
            principals=[iam.AnyPrincipal()],
            actions=[*_USE_KEY, "kms:DescribeKey"],
            resources=[key.key_arn],
            conditions={"StringEquals": {"aws:PrincipalAccount": cdk.Aws.ACCOUNT_ID}},
        )
    )
