"""The EMR cluster that a run gets: its roles, its disks, its machines, how Spark uses them."""

from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_emr as emr
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_stepfunctions as sfn
from aws_cdk.aws_stepfunctions_tasks import EmrCreateCluster
from constructs import Construct

from cdk_app import europe
from cdk_app.network import EMR_MANAGED, Network
from cdk_app.settings import Architecture, Settings

RELEASE = "emr-7.14.0"

#: Several types a fleet: one that is sold out does not stop a run. All have 4 vCPU and 16 GiB, so a unit is a node.
MACHINES: dict[Architecture, tuple[str, ...]] = {
    "arm64": ("m7g.xlarge", "m6g.xlarge"),
    "x86_64": ("m7i.xlarge", "m5.xlarge"),
}
_NOT_OFFERED = {"eu-south-1": {"m7g.xlarge"}}  # by EMR in Milan

# A node: 4 vCPU, 16 GiB, of which EMR gives YARN 12 GiB. One executor of 8 GiB takes all four cores, one task a core,
# and leaves room for the driver (3 GiB) on whichever node YARN puts it. A Python worker of the job peaks near 250 MiB
# with LiteRT and 1 GiB with TensorFlow, outside the JVM: 4 GiB of overhead hold four of either.
CORES = 4
EXECUTOR_HEAP, EXECUTOR_OVERHEAD = "4g", "4g"
DRIVER_HEAP, DRIVER_OVERHEAD = "2g", "1g"
ENVIRONMENT, CODE = "environment", "code"  # the folders that YARN unpacks the job's packages and itself into


class Cluster(Construct):
    """What every cluster of this stack shares; `create_task` is the state that starts one."""

    def __init__(self, scope: Construct, construct_id: str, settings: Settings, network: Network) -> None:
        super().__init__(scope, construct_id)
        self._settings, self._network = settings, network
        self.tags = {EMR_MANAGED[0]: EMR_MANAGED[1], "project": "fruits", "stack": settings.name}
        self.instance_role = iam.Role(
            self, "InstanceRole", assumed_by=iam.ServicePrincipal("ec2.amazonaws.com"), description="EMR nodes"
        )
        # EMR takes the name of an instance profile where Step Functions passes the name of the role: the same name.
        iam.CfnInstanceProfile(
            self,
            "InstanceProfile",
            instance_profile_name=self.instance_role.role_name,
            roles=[self.instance_role.role_name],
        )
        self.service_role = self._make_service_role()
        key = kms.Key(
            self,
            "DiskKey",
            description=f"{settings.name}: disks of the clusters",
            enable_key_rotation=True,
            pending_window=cdk.Duration.days(7),
            removal_policy=cdk.RemovalPolicy.DESTROY,  # the disks are gone long before
        )
        self._allow_disk_encryption(key)
        self._security = emr.CfnSecurityConfiguration(
            self, "Security", security_configuration=_security_configuration(key.key_arn)
        )
        for role in (self.instance_role, self.service_role):
            europe.confine(role, settings.region)

    def _make_service_role(self) -> iam.Role:
        account, region = cdk.Aws.ACCOUNT_ID, self._settings.region
        role = iam.Role(
            self,
            "ServiceRole",
            assumed_by=iam.ServicePrincipal(
                "elasticmapreduce.amazonaws.com",
                conditions={
                    "StringEquals": {"aws:SourceAccount": account},
                    "ArnLike": {"aws:SourceArn": f"arn:aws:elasticmapreduce:{region}:{account}:*"},
                },
            ),
            managed_policies=[iam.ManagedPolicy.from_aws_managed_policy_name("service-role/AmazonEMRServicePolicy_v2")],
            description="What EMR itself may do: start and stop the nodes",
        )
        role.add_to_policy(
            iam.PolicyStatement(
                sid="PassTheNodesTheirRole",
                actions=["iam:PassRole"],
                resources=[self.instance_role.role_arn],
                conditions={"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}},
            )
        )
        if self._settings.spot_nodes:
            role.add_to_policy(
                iam.PolicyStatement(
                    sid="FirstSpotOfTheAccount",
                    actions=["iam:CreateServiceLinkedRole"],
                    resources=[
                        f"arn:aws:iam::{account}:role/aws-service-role/spot.amazonaws.com/AWSServiceRoleForEC2Spot"
                    ],
                    conditions={"StringEquals": {"iam:AWSServiceName": "spot.amazonaws.com"}},
                )
            )
        cdk.Validations.of(role).acknowledge(
            cdk.Acknowledgment(
                id="AwsSolutions-IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/service-role/AmazonEMRServicePolicy_v2]",
                reason="AWS keeps it in step with EMR; it reaches only what is tagged for EMR.",
            )
        )
        return role

    def _allow_disk_encryption(self, key: kms.Key) -> None:
        """Allow what EMR asks for (Management Guide, keys for data at rest): nodes and service use the key."""
        for role in (self.instance_role, self.service_role):
            key.grant(
                role,
                "kms:Encrypt",
                "kms:Decrypt",
                "kms:ReEncryptFrom",
                "kms:ReEncryptTo",
                "kms:GenerateDataKey",
                "kms:GenerateDataKeyWithoutPlaintext",
                "kms:DescribeKey",
            )
        # As AWS's own key for disks has it: fleets attach disks under roles of EC2 that only a key's policy can name.
        key.add_to_resource_policy(
            iam.PolicyStatement(
                sid="ThroughEc2",
                principals=[iam.AnyPrincipal()],
                actions=[
                    "kms:Encrypt",
                    "kms:Decrypt",
                    "kms:ReEncryptFrom",
                    "kms:ReEncryptTo",
                    "kms:GenerateDataKey",
                    "kms:GenerateDataKeyWithoutPlaintext",
                    "kms:CreateGrant",
                    "kms:DescribeKey",
                ],
                resources=["*"],  # of a key's policy: the key
                conditions={
                    "StringEquals": {
                        "kms:CallerAccount": cdk.Aws.ACCOUNT_ID,
                        "kms:ViaService": f"ec2.{self._settings.region}.amazonaws.com",
                    }
                },
            )
        )
        self.service_role.add_to_policy(
            iam.PolicyStatement(
                sid="LetEc2AttachEncryptedDisks",
                actions=["kms:CreateGrant"],
                resources=[key.key_arn],
                conditions={"Bool": {"kms:GrantIsForAWSResource": "true"}},
            )
        )

    def create_task(
        self, scope: Construct, construct_id: str, *, name: str, log_uri: str, **task: Any
    ) -> EmrCreateCluster:
        """Return the state that asks EMR for a cluster called `name` (a JSONata expression) and does not wait for it.

        `task` holds the state's own properties: its comment, what it assigns.
        """
        return EmrCreateCluster.jsonata(
            scope,
            construct_id,
            name=name,
            release_label=RELEASE,
            applications=[EmrCreateCluster.ApplicationConfigProperty(name="Spark")],
            instances=self._instances(),
            configurations=[
                EmrCreateCluster.ConfigurationProperty(classification=file, properties=properties)
                for file, properties in configurations(self._settings).items()
            ],
            auto_termination_policy_idle_timeout=cdk.Duration.minutes(self._settings.idle_minutes),
            security_configuration=self._security.ref,
            # Their policies are written here and in the stack; CDK's own additions are broader.
            service_role=self.service_role.without_policy_updates(),
            cluster_role=self.instance_role.without_policy_updates(),
            log_uri=log_uri,
            tags=self.tags,
            # Without .sync the id is known before anything can go wrong with the cluster.
            integration_pattern=sfn.IntegrationPattern.REQUEST_RESPONSE,
            **task,
        )

    def _instances(self) -> EmrCreateCluster.InstancesConfigProperty:
        role = EmrCreateCluster.InstanceRoleType
        fleets = [
            self._fleet("Primary", role.MASTER, on_demand=1),
            self._fleet("Core", role.CORE, on_demand=self._settings.core_nodes),
        ]
        if self._settings.spot_nodes:
            fleets.append(self._fleet("Spot", role.TASK, spot=self._settings.spot_nodes))
        return EmrCreateCluster.InstancesConfigProperty(
            instance_fleets=fleets,
            ec2_subnet_ids=[subnet.subnet_id for subnet in self._network.vpc.isolated_subnets],
            emr_managed_master_security_group=self._network.primary.security_group_id,
            emr_managed_slave_security_group=self._network.workers.security_group_id,
            service_access_security_group=self._network.service.security_group_id,
        )

    def _fleet(
        self, name: str, role: EmrCreateCluster.InstanceRoleType, *, on_demand: int = 0, spot: int = 0
    ) -> EmrCreateCluster.InstanceFleetConfigProperty:
        fallback = EmrCreateCluster.SpotProvisioningSpecificationProperty(
            timeout=cdk.Duration.minutes(10),
            timeout_action=EmrCreateCluster.SpotTimeoutAction.SWITCH_TO_ON_DEMAND,
            allocation_strategy=EmrCreateCluster.SpotAllocationStrategy.PRICE_CAPACITY_OPTIMIZED,
        )
        disk = EmrCreateCluster.EbsBlockDeviceConfigProperty(
            volume_specification=EmrCreateCluster.VolumeSpecificationProperty(
                volume_type=EmrCreateCluster.EbsBlockDeviceVolumeType.GP3, volume_size=cdk.Size.gibibytes(64)
            )
        )
        return EmrCreateCluster.InstanceFleetConfigProperty(
            name=name,
            instance_fleet_type=role,
            target_on_demand_capacity=on_demand,
            target_spot_capacity=spot,
            instance_type_configs=[
                EmrCreateCluster.InstanceTypeConfigProperty(
                    instance_type=machine,
                    weighted_capacity=1,
                    ebs_configuration=EmrCreateCluster.EbsConfigurationProperty(ebs_block_device_configs=[disk]),
                )
                for machine in machines(self._settings)
            ],
            launch_specifications=(
                EmrCreateCluster.InstanceFleetProvisioningSpecificationsProperty(spot_specification=fallback)
                if spot
                else None
            ),
        )


def machines(settings: Settings) -> list[str]:
    """Return the types of the architecture that EMR offers in the region."""
    missing = _NOT_OFFERED.get(settings.region, set())
    return [machine for machine in MACHINES[settings.architecture] if machine not in missing]


def configurations(settings: Settings) -> dict[str, dict[str, str]]:
    """Return EMR's configuration files by name: how Spark uses the machines, and what its Python processes see."""
    environment = {
        "PYTHONPATH": f"./{ENVIRONMENT}:./{CODE}",
        "AWS_REGION": settings.region,  # YARN containers do not have it; obstore reads this one,
        "AWS_DEFAULT_REGION": settings.region,  # boto3 the other
        "OMP_NUM_THREADS": "1",  # one task a core: more threads would only wait for each other
    }
    files = {
        "spark-defaults": {
            # One job has the whole cluster, so all executors start at once and stay. Dynamic allocation would begin
            # with few, and the job would cut its work into too few tasks.
            "spark.dynamicAllocation.enabled": "false",
            "spark.executor.instances": str(settings.core_nodes + settings.spot_nodes),
            "spark.executor.cores": str(CORES),
            "spark.executor.memory": EXECUTOR_HEAP,
            "spark.executor.memoryOverhead": EXECUTOR_OVERHEAD,
            "spark.driver.memory": DRIVER_HEAP,
            "spark.driver.memoryOverhead": DRIVER_OVERHEAD,
            # A failed driver is a failed run: a second attempt would cost as much again and hide the reason.
            "spark.yarn.maxAppAttempts": "1",
            "spark.pyspark.python": "python3.11",
            "spark.python.daemon.module": "spark_job.daemon",
            **{f"spark.yarn.appMasterEnv.{name}": value for name, value in environment.items()},
            **{f"spark.executorEnv.{name}": value for name, value in environment.items()},
        }
    }
    if settings.spot_nodes:  # the driver must not be on a node that can be taken away
        files["yarn-site"] = {
            "yarn.node-labels.enabled": "true",
            "yarn.node-labels.am.default-node-label-expression": "ON_DEMAND",
        }
    return files


def _security_configuration(key_arn: str) -> dict[str, object]:
    return {
        "EncryptionConfiguration": {
            "EnableInTransitEncryption": False,  # nodes talk inside three subnets of their own; S3 is TLS in any case
            "EnableAtRestEncryption": True,
            "AtRestEncryptionConfiguration": {
                "LocalDiskEncryptionConfiguration": {
                    "EncryptionKeyProviderType": "AwsKms",
                    "AwsKmsKey": key_arn,
                    "EnableEbsEncryption": True,
                }
            },
        },
        "InstanceMetadataServiceConfiguration": {
            "MinimumInstanceMetadataServiceVersion": 2,
            "HttpPutResponseHopLimit": 1,
        },
    }
