"""The cluster's network: three isolated subnets that reach S3 and nothing else."""

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from constructs import Construct

from cdk_app import europe, nag

#: EMR's managed policy allows its service role to change only resources with this tag.
EMR_MANAGED = ("for-use-with-amazon-emr-managed-policies", "true")


class IsolatedVpc(Construct):
    """A VPC without internet gateway or NAT, and the three security groups that EMR needs.

    The nodes fetch everything through the S3 gateway endpoint, which is free. This includes the packages of Amazon
    Linux and of EMR.
    """

    def __init__(self, scope: Construct, construct_id: str) -> None:
        super().__init__(scope, construct_id)
        region = cdk.Stack.of(self).region
        self.vpc = ec2.Vpc(
            self,
            "Vpc",
            ip_addresses=ec2.IpAddresses.cidr("10.20.0.0/20"),
            availability_zones=europe.zones(region),  # EMR chooses the zone that has capacity
            nat_gateways=0,
            subnet_configuration=[
                ec2.SubnetConfiguration(name="Isolated", subnet_type=ec2.SubnetType.PRIVATE_ISOLATED, cidr_mask=22)
            ],
            # Nothing uses the default group, and CDK needs a Lambda function to remove its rules.
            restrict_default_security_group=False,
        )
        nag.accept(self.vpc, "VPC7", "Traffic leaves only through the S3 endpoint, and the buckets log each request.")
        self.s3_endpoint = self.vpc.add_gateway_endpoint("S3", service=ec2.GatewayVpcEndpointAwsService.S3)
        self._allow_buckets_of_emr(region)
        self.primary, self.workers, self.service = self._security_groups()
        cdk.Tags.of(self).add(*EMR_MANAGED)

    def _allow_buckets_of_emr(self, region: str) -> None:
        """Allow nodes to read the packages that they install at start, and to write the logs that EMR collects.

        The EMR Management Guide, "Amazon S3 endpoint policy for private subnets", names these buckets. It also names
        ``prod.<region>.appinfo.src``, which would receive the job's logs for the persistent Spark UI. That bucket of
        AWS stays closed, so the persistent Spark UI is empty.
        """
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
        self.s3_endpoint.add_to_policy(
            iam.PolicyStatement(
                sid="LogsOfEmr",
                principals=[iam.AnyPrincipal()],  # EMR does not document who writes them
                actions=["s3:PutObject"],
                resources=[f"arn:aws:s3:::aws157-logs-prod-{region}/*"],
            )
        )

    def _security_groups(self) -> tuple[ec2.SecurityGroup, ec2.SecurityGroup, ec2.SecurityGroup]:
        """Declare every rule that EMR would otherwise add itself. A rule that EMR adds blocks `cdk destroy`."""
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
