"""What every EMR cluster of the stack has: roles, disks, instance types, and the configuration of Spark."""

import aws_cdk as cdk
from aws_cdk import aws_emr as emr
from aws_cdk import aws_iam as iam
from aws_cdk.aws_stepfunctions_tasks import EmrCreateCluster
from constructs import Construct

from cdk_app import europe, nag
from cdk_app.disk_key import disk_key, encryption
from cdk_app.prices import DISK_GB, Nodes
from cdk_app.stage_settings import Architecture
from cdk_app.vpc import EMR_MANAGED, IsolatedVpc

# EMR 8 (emr-spark-8.x, Spark 4) needs more than another label:
# - CDK's EmrCreateCluster must accept the label. Version 2.275 does not.
# - In `cdk_app.vpc`, the policy of the S3 endpoint must let nodes read aws157-instance-data-0-prod-<region> and
#   aws157-instance-data-1-prod-<region> (EMR Management Guide, "Sample policies for private subnets").
# - EMR creates an interface endpoint, emr-service-vpce (AmazonEMRServicePolicy_v2 allows it). Nodes reach endpoints on
#   port 443, so the group of this endpoint must accept this port from the nodes. The stack has no such rule.
RELEASE = "emr-7.14.0"

#: Each fleet has several types, so a run starts even if one type is sold out. Every type has 4 vCPU and 16 GiB, so one
#: unit of a fleet's capacity is one node.
INSTANCE_TYPES: dict[Architecture, tuple[str, ...]] = {
    "arm64": ("m7g.xlarge", "m6g.xlarge"),
    "x86_64": ("m7i.xlarge", "m5.xlarge"),
}
_NOT_OFFERED = {"eu-south-1": {"m7g.xlarge"}}  # EMR does not offer it in Milan

# A node has 4 vCPU and 16 GiB, and EMR gives YARN 12 GiB of it. One executor of 8 GiB uses all four cores and runs one
# task per core. The rest is enough for the driver (3 GiB) on any node. A Python worker of the job uses up to 250 MiB
# with LiteRT and 1 GiB with TensorFlow, outside the JVM. The overhead of 4 GiB holds four workers of either engine.
CORES = 4
EXECUTOR_HEAP, EXECUTOR_OVERHEAD = "4g", "4g"
DRIVER_HEAP, DRIVER_OVERHEAD = "2g", "1g"
_S3A_REGION = "fs.s3a.endpoint.region"
_SILENCE_SECONDS = 30
ENVIRONMENT, CODE = "environment", "code"  # the folders into which YARN unpacks the packages and the code of the job


class EmrCluster(Construct):
    """The roles and the properties of every cluster. `cdk_app.emr_states` has the state that starts one."""

    def __init__(  # noqa: PLR0913 - the settings of a cluster
        self,
        scope: Construct,
        construct_id: str,
        *,
        network: IsolatedVpc,
        architecture: Architecture,
        core_nodes: int,
        spot_nodes: int,
        idle_minutes: int,
        own_disk_key: bool,
    ) -> None:
        super().__init__(scope, construct_id)
        stack = cdk.Stack.of(self)
        self._network, self._core_nodes, self._spot_nodes = network, core_nodes, spot_nodes
        types = tuple(instance_types(architecture, stack.region))
        self.nodes = Nodes(stack.region, types, count=1 + core_nodes + spot_nodes, spot=spot_nodes)
        self.idle_timeout = cdk.Duration.minutes(idle_minutes)
        self.configurations = configurations(stack.region, core_nodes, spot_nodes)
        self.tags = {EMR_MANAGED[0]: EMR_MANAGED[1], "project": "fruits", "stack": stack.stack_name}
        self.instance_role = iam.Role(
            self, "InstanceRole", assumed_by=iam.ServicePrincipal("ec2.amazonaws.com"), description="EMR nodes"
        )
        # EMR expects the name of an instance profile where Step Functions passes the name of the role, so both have
        # the same name.
        iam.CfnInstanceProfile(
            self,
            "InstanceProfile",
            instance_profile_name=self.instance_role.role_name,
            roles=[self.instance_role.role_name],
        )
        self.service_role = self._make_service_role()
        self.security_configuration = emr.CfnSecurityConfiguration(
            self, "Security", security_configuration=self._security_configuration(own_key=own_disk_key)
        ).ref
        for role in (self.instance_role, self.service_role):
            europe.confine(role)

    def _make_service_role(self) -> iam.Role:
        account = cdk.Aws.ACCOUNT_ID
        role = iam.Role(
            self,
            "ServiceRole",
            assumed_by=iam.ServicePrincipal(
                "elasticmapreduce.amazonaws.com",
                conditions={
                    "StringEquals": {"aws:SourceAccount": account},
                    "ArnLike": {"aws:SourceArn": f"arn:aws:elasticmapreduce:{self.nodes.region}:{account}:*"},
                },
            ),
            managed_policies=[iam.ManagedPolicy.from_aws_managed_policy_name("service-role/AmazonEMRServicePolicy_v2")],
            description="EMR service: start and stop the nodes",
        )
        role.add_to_policy(
            iam.PolicyStatement(
                sid="PassTheNodesTheirRole",
                actions=["iam:PassRole"],
                resources=[self.instance_role.role_arn],
                conditions={"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}},
            )
        )
        if self._spot_nodes:
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
        nag.accept(
            role,
            "IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/service-role/AmazonEMRServicePolicy_v2]",
            "AWS updates this policy together with EMR. It covers only resources that are tagged for EMR.",
        )
        return role

    def _security_configuration(self, *, own_key: bool) -> dict[str, object]:
        """Return EMR's security configuration: tokens for the metadata service and, with an own key, disk encryption.

        Otherwise the account's "EBS encryption by default" encrypts the disks. It costs nothing and needs no network.
        """
        configuration: dict[str, object] = {
            "InstanceMetadataServiceConfiguration": {
                "MinimumInstanceMetadataServiceVersion": 2,
                "HttpPutResponseHopLimit": 1,
            }
        }
        if own_key:
            roles = {"instance_role": self.instance_role, "service_role": self.service_role}
            configuration["EncryptionConfiguration"] = encryption(disk_key(self, self._network, **roles))
        return configuration

    def instances(self) -> EmrCreateCluster.InstancesConfigProperty:
        """Return the fleets of a cluster, its subnets and its security groups."""
        role = EmrCreateCluster.InstanceRoleType
        fleets = [
            self._fleet("Primary", role.MASTER, on_demand=1),
            self._fleet("Core", role.CORE, on_demand=self._core_nodes),
        ]
        if self._spot_nodes:
            fleets.append(self._fleet("Spot", role.TASK, spot=self._spot_nodes))
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
                volume_type=EmrCreateCluster.EbsBlockDeviceVolumeType.GP3, volume_size=cdk.Size.gibibytes(DISK_GB)
            )
        )
        return EmrCreateCluster.InstanceFleetConfigProperty(
            name=name,
            instance_fleet_type=role,
            target_on_demand_capacity=on_demand,
            target_spot_capacity=spot,
            instance_type_configs=[
                EmrCreateCluster.InstanceTypeConfigProperty(
                    instance_type=instance_type,
                    weighted_capacity=1,
                    ebs_configuration=EmrCreateCluster.EbsConfigurationProperty(ebs_block_device_configs=[disk]),
                )
                for instance_type in self.nodes.instance_types
            ],
            launch_specifications=(
                EmrCreateCluster.InstanceFleetProvisioningSpecificationsProperty(spot_specification=fallback)
                if spot
                else None
            ),
        )


def instance_types(architecture: Architecture, region: str) -> list[str]:
    """Return the instance types of an architecture that EMR offers in a region."""
    missing = _NOT_OFFERED.get(region, set())
    return [instance_type for instance_type in INSTANCE_TYPES[architecture] if instance_type not in missing]


def configurations(region: str, core_nodes: int, spot_nodes: int) -> dict[str, dict[str, str]]:
    """Return EMR's configuration by file: how Spark uses the nodes, and the environment of its Python processes."""
    environment = {
        "PYTHONPATH": f"./{ENVIRONMENT}:./{CODE}",
        "AWS_REGION": region,  # YARN does not set it in containers; obstore reads this variable
        "AWS_DEFAULT_REGION": region,  # boto3 reads this one
        # By itself, boto3 asks the node for credentials once and waits for 1 s, which is too short on a busy node.
        "AWS_METADATA_SERVICE_TIMEOUT": "5",
        "AWS_METADATA_SERVICE_NUM_ATTEMPTS": "5",
        "OMP_NUM_THREADS": "1",  # there is one task per core, so more threads would only wait for each other
    }
    files = {
        # EMR's s3:// is S3A, which without a region asks us-east-2 first. No route leads there from the nodes
        # (Hadoop's documentation, "Connecting to an S3 bucket"). YARN reads core-site when it fetches the archives.
        "core-site": {_S3A_REGION: region},
        # YARN gives up a node after this silence, by default after 10 minutes. If the driver was on it, the run fails.
        "yarn-site": {"yarn.nm.liveness-monitor.expiry-interval-ms": str(2 * _SILENCE_SECONDS * 1000)},
        "spark-defaults": {
            f"spark.hadoop.{_S3A_REGION}": region,
            # One job has the whole cluster, so all executors start at once and stay. Dynamic allocation would start
            # with few executors, and the job would split its work into too few tasks.
            "spark.dynamicAllocation.enabled": "false",
            "spark.executor.instances": str(core_nodes + spot_nodes),
            "spark.executor.cores": str(CORES),
            "spark.executor.memory": EXECUTOR_HEAP,
            "spark.executor.memoryOverhead": EXECUTOR_OVERHEAD,
            "spark.driver.memory": DRIVER_HEAP,
            "spark.driver.memoryOverhead": DRIVER_OVERHEAD,
            # A node can vanish without closing its connections, if it freezes or the network breaks. With Spark's
            # defaults, the driver gives up its executor after 2 to 3 minutes, and a task that has asked it for data
            # waits for 8 minutes (four attempts of 120 s).
            "spark.executor.heartbeatInterval": "5s",
            "spark.network.timeout": f"{_SILENCE_SECONDS}s",
            "spark.network.timeoutInterval": "5s",
            "spark.shuffle.io.connectionTimeout": "15s",
            "spark.shuffle.io.maxRetries": "1",
            "spark.shuffle.io.retryWait": "1s",
            # EMR's NodeManagers would serve the data of executors. Then Spark would not forget the data together with
            # the executor, and would ask a lost node for it.
            "spark.shuffle.service.enabled": "false",
            # If the driver fails, the run fails. A second attempt would cost the same again and hide the reason.
            "spark.yarn.maxAppAttempts": "1",
            "spark.pyspark.python": "python3.11",
            "spark.python.daemon.module": "spark_job.daemon",
            **{f"spark.yarn.appMasterEnv.{name}": value for name, value in environment.items()},
            **{f"spark.executorEnv.{name}": value for name, value in environment.items()},
        },
    }
    if spot_nodes:
        # AWS can take a spot node away, so the driver must not be on one. EMR documents the settings of YARN; only its
        # own YARN knows the second. Spark's setting asks for the label itself.
        files["yarn-site"] |= {
            "yarn.node-labels.enabled": "true",
            "yarn.node-labels.am.default-node-label-expression": "ON_DEMAND",
        }
        files["spark-defaults"]["spark.yarn.am.nodeLabelExpression"] = "ON_DEMAND"
    return files
