"""The checks of an account before a deployment. Each asks one thing and says what it found and what to do."""

import re
from collections import Counter
from dataclasses import dataclass

import aws_cdk as cdk
from botocore.exceptions import ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as BotoConnectionError

from cdk_app import europe
from cdk_app.account import ALWAYS_ENABLED, AWS_ERRORS, Client, code, pages, resources, sentence
from cdk_app.emr_cluster import CORES, RELEASE, instance_types
from cdk_app.stage_settings import StageSettings

DEFAULT_QUALIFIER = str(cdk.DefaultStackSynthesizer.DEFAULT_QUALIFIER)
MINIMUM_BOOTSTRAP_VERSION = 6  # the synthesised template has a rule that requires it

# The marks of the findings.
FINE, FAILS, WARNING, UNKNOWN = "✓", "✗", "!", "?"

_ON_DEMAND, _SPOT = "L-1216C47A", "L-34B43A08"  # vCPU of standard instances: A, C, D, H, I, M, R, T, Z
_VPCS, _GATEWAY_ENDPOINTS = "L-F678F1CE", "L-1B52E74A"
_REGION_OF_PLANS = "us-east-1"  # the only one that answers questions about the plan of an account


@dataclass(frozen=True)
class Finding:
    """What a check found: the mark, one sentence, and the command that is the remedy."""

    mark: str
    sentence: str
    remedy: str = ""


@dataclass(frozen=True)
class Deployment:
    """The deployment to check: its settings, the qualifier of CDK's bootstrap stack, and the clients of the account."""

    settings: StageSettings
    qualifier: str
    client: Client

    @property
    def region(self) -> str:
        """The region of the deployment."""
        return self.settings.region


def credentials(deployment: Deployment) -> Finding:
    """Ask who is asking."""
    try:
        identity = deployment.client("sts", ALWAYS_ENABLED).get_caller_identity()
    except (BotoConnectionError, HTTPClientError) as error:
        problem = f"{sentence(error)} A deployment needs a way to AWS: check the network and the proxy."
        return Finding(FAILS, problem)
    except AWS_ERRORS as error:
        remedy = "aws sso login" if "expired" in str(error) else "aws configure"
        return Finding(FAILS, f"{sentence(error)} Sign in, or set AWS_PROFILE to a profile that works.", remedy)
    return Finding(FINE, f"Account {identity['Account']}, as {identity['Arn'].rpartition(':')[2]}.")


def region_enabled(deployment: Deployment) -> Finding:
    """Ask whether the region is enabled."""
    region = deployment.region
    ec2 = deployment.client("ec2", ALWAYS_ENABLED)
    (found,) = ec2.describe_regions(AllRegions=True, RegionNames=[region])["Regions"]
    name = f"{region} ({europe.REGIONS[region]})"
    if found["OptInStatus"] != "not-opted-in":
        return Finding(FINE, f"{name} is enabled.")
    remedy = f"aws account enable-region --region-name {region}"
    return Finding(FAILS, f"{name} is not enabled in this account. Enabling takes minutes to hours.", remedy)


def account_plan(deployment: Deployment) -> Finding:
    """Ask for the plan of the account. On the Free plan, EC2 starts six small types only.

    The types are in https://github.com/aws-samples/eks-workshop-v2/issues/1644, with EC2's error.
    """
    try:
        plan = deployment.client("freetier", _REGION_OF_PLANS).get_account_plan_state()["accountPlanType"]
    except ClientError as error:
        if code(error) != "ResourceNotFoundException":
            raise
        return Finding(FINE, "The account has no plan, so AWS does not limit what it may start.")
    if plan != "FREE":
        return Finding(FINE, "The account is on the Paid plan.")
    return Finding(
        FAILS,
        "The account is on the Free plan, in which EC2 does not start the instance types of the cluster. On the Paid "
        "plan, AWS charges what the credits do not cover.",
        "aws freetier upgrade-account-plan --account-plan-type PAID --region us-east-1",
    )


def bootstrap_stack(deployment: Deployment) -> Finding:
    """Ask for the version of the bootstrap stack, which holds the assets of a deployment."""
    account = deployment.client("sts", ALWAYS_ENABLED).get_caller_identity()["Account"]
    remedy = f"npx cdk bootstrap aws://{account}/{deployment.region}"
    if deployment.qualifier != DEFAULT_QUALIFIER:  # a stack of its own, so that the default one stays
        remedy += f" --qualifier {deployment.qualifier} --toolkit-stack-name CDKToolkit-{deployment.qualifier}"
    name = f"/cdk-bootstrap/{deployment.qualifier}/version"
    try:
        version = int(deployment.client("ssm").get_parameter(Name=name)["Parameter"]["Value"])
    except ClientError as error:
        if code(error) != "ParameterNotFound":
            raise
        return Finding(FAILS, f"CDK has no bootstrap stack in {deployment.region}.", remedy)
    found = f"The bootstrap stack has version {version}"
    if version < MINIMUM_BOOTSTRAP_VERSION:
        return Finding(FAILS, f"{found}; this app needs {MINIMUM_BOOTSTRAP_VERSION} or later.", remedy)
    return Finding(FINE, f"{found}.")


def release_offered(deployment: Deployment) -> Finding:
    """Ask whether EMR offers the release of the cluster."""
    family = RELEASE.partition(".")[0] + "."
    offered = deployment.client("emr").list_release_labels(Filters={"Prefix": family})["ReleaseLabels"]
    if RELEASE in offered:
        return Finding(FINE, f"EMR offers {RELEASE}.")
    newest = max(offered, key=lambda label: [int(number) for number in re.findall(r"\d+", label)], default="none")
    return Finding(
        FAILS,
        f"EMR does not offer {RELEASE} in {deployment.region} (newest of this series: {newest}). "
        "Choose another region, or set RELEASE in cdk_app/emr_cluster.py.",
        f"aws emr list-release-labels --region {deployment.region}",
    )


def types_offered(deployment: Deployment) -> Finding:
    """Ask in how many zones of the network EC2 offers the instance types."""
    architecture, region = deployment.settings.architecture, deployment.region
    wanted = instance_types(architecture, region)
    filters = [{"Name": "instance-type", "Values": wanted}, {"Name": "location", "Values": europe.zones(region)}]
    offers = pages(
        deployment.client("ec2"),
        *("describe_instance_type_offerings", "InstanceTypeOfferings"),
        LocationType="availability-zone",
        Filters=filters,
    )
    zones = Counter(offer["InstanceType"] for offer in offers)
    found = ", ".join(f"{name} in {zones[name]} zone{'s' * (zones[name] != 1)}" for name in wanted) + "."
    if all(zones[name] for name in wanted):
        return Finding(FINE, found)
    if zones:
        return Finding(WARNING, f"{found} That is enough for a run.")
    other = "x86_64" if architecture == "arm64" else "arm64"
    remedy = f"make check-account C='-c region={region} -c architecture={other}'"
    return Finding(FAILS, f"{found} Choose another architecture or region, and check again.", remedy)


def on_demand_quota(deployment: Deployment) -> Finding:
    """Ask for the quota for on-demand instances."""
    nodes = 1 + deployment.settings.core_nodes
    needed, quota = CORES * nodes, _quota(deployment, "ec2", _ON_DEMAND)
    found = f"A run needs {needed} vCPU ({nodes} nodes of {CORES}); the quota is {quota}"
    if quota >= needed:
        return Finding(FINE, f"{found} for all instances of the account.")
    remedy = _request(deployment, "ec2", _ON_DEMAND, needed)
    return Finding(FAILS, f"{found}, so EMR could not start the cluster.", remedy)


def spot_quota(deployment: Deployment) -> Finding:
    """Ask for the quota for spot instances, if the settings want any. EMR replaces missing ones by on-demand nodes."""
    nodes = deployment.settings.spot_nodes
    if not nodes:
        return Finding(FINE, "A run needs none, because spot_nodes is 0.")
    needed, quota = CORES * nodes, _quota(deployment, "ec2", _SPOT)
    found = f"The spot nodes need {needed} vCPU ({nodes} nodes of {CORES}); the quota is {quota}"
    if quota >= needed:
        return Finding(FINE, f"{found} for all spot instances of the account.")
    remedy = _request(deployment, "ec2", _SPOT, needed)
    on_demand, everything = _quota(deployment, "ec2", _ON_DEMAND), needed + CORES * (1 + deployment.settings.core_nodes)
    if on_demand >= everything:
        return Finding(WARNING, f"{found}, so EMR starts on-demand nodes instead, which cost more.", remedy)
    also = f"EMR starts on-demand nodes instead, but their quota of {on_demand} is below {everything}."
    return Finding(FAILS, f"{found}. {also}", remedy)


def room_for_vpc(deployment: Deployment) -> Finding:
    """Ask whether there is room for the VPC of the stack."""
    used = len(pages(deployment.client("ec2"), "describe_vpcs", "Vpcs"))
    return _room(deployment, _VPCS, used, "VPCs", "AWS::EC2::VPC")


def room_for_endpoint(deployment: Deployment) -> Finding:
    """Ask whether there is room for the S3 endpoint of the stack."""
    gateways = [{"Name": "vpc-endpoint-type", "Values": ["Gateway"]}]
    used = len(pages(deployment.client("ec2"), "describe_vpc_endpoints", "VpcEndpoints", Filters=gateways))
    return _room(deployment, _GATEWAY_ENDPOINTS, used, "gateway endpoints", "AWS::EC2::VPCEndpoint")


def _room(deployment: Deployment, quota_code: str, used: int, things: str, kind: str) -> Finding:
    """Return whether the stack finds room for one more thing, or has it already."""
    quota, stack = _quota(deployment, "vpc", quota_code), deployment.settings.name
    found = f"{used} of {quota} {things} are in use"
    if used < quota:
        return Finding(FINE, f"{found}; the stack needs one.")
    if resources(deployment.client, stack, kind):
        return Finding(FINE, f"{found}; the stack {stack} has its own already.")
    remedy = _request(deployment, "vpc", quota_code, used + 1)
    return Finding(FAILS, f"{found}, and the stack needs one more. Delete one, or ask for more.", remedy)


def disk_encryption(deployment: Deployment) -> Finding:
    """Ask whether the disks of the nodes will be encrypted."""
    if deployment.settings.disk_key == "own":
        return Finding(FINE, "A key of the stack encrypts the disks (disk_key=own).")
    ec2 = deployment.client("ec2")
    if not ec2.get_ebs_encryption_by_default()["EbsEncryptionByDefault"]:
        return Finding(
            WARNING,
            "The disks of the nodes, which hold features of photos while a run lasts, are not encrypted. The remedy "
            "encrypts new disks of the whole account in this region.",
            f"aws ec2 enable-ebs-encryption-by-default --region {deployment.region}",
        )
    key = ec2.get_ebs_default_kms_key_id()["KmsKeyId"]
    if key.endswith("alias/aws/ebs"):
        return Finding(FINE, "The account encrypts new disks with AWS's key.")
    return Finding(
        WARNING,
        f"The account encrypts new disks with {key}. If this is a customer managed key, nodes start only if its policy "
        "allows EMR's service role to use it. Allow that, or deploy with -c disk_key=own.",
    )


def runtime_monitoring(deployment: Deployment) -> Finding:
    """Ask whether GuardDuty will create an endpoint in the network of the stack."""
    guardduty = deployment.client("guardduty")
    for detector in pages(guardduty, "list_detectors", "DetectorIds"):
        features = guardduty.get_detector(DetectorId=detector).get("Features", [])
        if any(feature["Name"] == "RUNTIME_MONITORING" and feature["Status"] == "ENABLED" for feature in features):
            return Finding(
                FINE,
                "Runtime Monitoring is on, so GuardDuty may create an endpoint and a security group in the VPC of the "
                "stack. `cdk destroy` removes them.",
            )
    return Finding(FINE, "Runtime Monitoring is off.")


def address_confirmed(deployment: Deployment) -> Finding:
    """Ask whether the address for notifications is confirmed."""
    email = deployment.settings.email
    if not email:
        return Finding(
            WARNING, "No address is set, so AWS tells nobody when a run fails. Deploy with -c email=you@example.org."
        )
    topics = resources(deployment.client, deployment.settings.name, "AWS::SNS::Topic")
    if not topics:
        return Finding(FINE, f"{email} gets a message to confirm once the stack is deployed.")
    sns = deployment.client("sns")
    subscriptions = pages(sns, "list_subscriptions_by_topic", "Subscriptions", TopicArn=topics[0])
    arns = [each["SubscriptionArn"] for each in subscriptions if each.get("Endpoint") == email]
    if any(arn.startswith("arn:") for arn in arns):  # one that is not confirmed has a word instead of an ARN
        return Finding(FINE, f"{email} is confirmed.")
    if not arns:
        return Finding(WARNING, f"The stack was deployed without {email}. Deploy it again with this address.")
    return Finding(
        WARNING,
        f'{email} is not confirmed, so AWS sends nothing to it. Follow the link in the message "AWS Notification - '
        'Subscription Confirmation". The remedy sends it again.',
        f"aws sns subscribe --topic-arn {topics[0]} --protocol email --notification-endpoint {email} "
        f"--region {deployment.region}",
    )


def budget(deployment: Deployment) -> Finding:
    """Decide about the budget."""
    if limit := deployment.settings.monthly_budget:
        return Finding(FINE, f"AWS sends an e-mail at 80 % of {limit} USD per month.")
    return Finding(
        WARNING, "No budget is set, so AWS tells nobody when the costs rise. Deploy with -c monthly_budget=20."
    )


def _quota(deployment: Deployment, service: str, quota_code: str) -> int:
    """Return the value of a service quota. AWS gives its default value if the account never had its own."""
    client, which = deployment.client("service-quotas"), {"ServiceCode": service, "QuotaCode": quota_code}
    try:
        answer = client.get_service_quota(**which)
    except client.exceptions.NoSuchResourceException:
        answer = client.get_aws_default_service_quota(**which)
    return int(answer["Quota"]["Value"])


def _request(deployment: Deployment, service: str, quota_code: str, value: int) -> str:
    return (
        f"aws service-quotas request-service-quota-increase --service-code {service} --quota-code {quota_code} "
        f"--desired-value {value} --region {deployment.region}"
    )
