"""The cluster's network: three isolated subnets and a way to S3, no way to anywhere else."""

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from constructs import Construct

from cdk_app import europe
from cdk_app.settings import Settings

#: EMR's managed policy lets its service role touch only what carries this tag.
EMR_MANAGED = ("for-use-with-amazon-emr-managed-policies", "true")


class Network(Construct):
    """A VPC without internet gateway or NAT, and the three security groups that EMR asks for.

    Nodes fetch everything, Amazon Linux's and EMR's packages too, through the S3 gateway endpoint, which is free.
    """

    def __init__(self, scope: Construct, construct_id: str, settings: Settings) -> None:
        super().__init__(scope, construct_id)
        self.vpc = ec2.Vpc(
            self,
            "Vpc",
            ip_addresses=ec2.IpAddresses.cidr("10.20.0.0/20"),
            availability_zones=europe.zones(settings.region),  # EMR picks the one with capacity
            nat_gateways=0,
            subnet_configuration=[
                ec2.SubnetConfiguration(name="Isolated", subnet_type=ec2.SubnetType.PRIVATE_ISOLATED, cidr_mask=22)
            ],
            # Nothing uses the default group; emptying it would take a Lambda function.
            restrict_default_security_group=False,
        )
        cdk.Validations.of(self.vpc).acknowledge(
            cdk.Acknowledgment(
                id="AwsSolutions-VPC7",
                reason="Nothing leaves but through the S3 endpoint, and the buckets log those requests themselves.",
            )
        )
        self.s3_endpoint = self.vpc.add_gateway_endpoint("S3", service=ec2.GatewayVpcEndpointAwsService.S3)
        self._allow_package_repositories(settings.region)
        self.primary, self.workers, self.service = self._security_groups()
        cdk.Tags.of(self).add(*EMR_MANAGED)

    def _allow_package_repositories(self, region: str) -> None:
        """Let nodes read what every EMR 7 node installs at its start (EMR Management Guide, private subnets)."""
        self.s3_endpoint.add_to_policy(
            iam.PolicyStatement(
                sid="PackageRepositories",
                principals=[iam.AnyPrincipal()],  # package managers do not sign their requests
                actions=["s3:GetObject"],
                resources=[
                    f"arn:aws:s3:::al2023-repos-{region}-de612dc2/*",
                    f"arn:aws:s3:::repo.{region}.emr.amazonaws.com/*",
                ],
            )
        )

    def _security_groups(self) -> tuple[ec2.SecurityGroup, ec2.SecurityGroup, ec2.SecurityGroup]:
        """Declare every rule that EMR would add by itself; one that it added would block `cdk destroy`."""
        primary = ec2.SecurityGroup(self, "Primary", vpc=self.vpc, description="EMR primary node")
        workers = ec2.SecurityGroup(self, "Workers", vpc=self.vpc, description="EMR core and task nodes")
        service = ec2.SecurityGroup(
            self, "Service", vpc=self.vpc, description="EMR service access", allow_all_outbound=False
        )
        for group in (primary, workers):
            for peer in (primary, workers):
                for port in (ec2.Port.all_tcp(), ec2.Port.all_udp(), ec2.Port.all_icmp()):
                    group.add_ingress_rule(peer, port, "between nodes")
            group.add_ingress_rule(service, ec2.Port.tcp(8443), "EMR service to node")
            service.add_egress_rule(group, ec2.Port.tcp(8443), "EMR service to node")
        service.add_ingress_rule(primary, ec2.Port.tcp(9443), "primary node to EMR service")
        return primary, workers, service
