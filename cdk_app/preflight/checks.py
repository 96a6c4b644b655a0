"""The checks of an account before a deployment. Each asks one thing and says what it found and what to do."""

import re
from dataclasses import dataclass
from enum import Enum
from typing import Any

import aws_cdk as cdk

from cdk_app import europe
from cdk_app.account import ALWAYS_ENABLED, UNREACHABLE, Account, AwsError
from cdk_app.emr_cluster import CORES, RELEASE, instance_types
from cdk_app.stage_settings import StageSettings

DEFAULT_QUALIFIER = str(cdk.DefaultStackSynthesizer.DEFAULT_QUALIFIER)
MINIMUM_BOOTSTRAP_VERSION = 6  # the synthesised template has a rule that requires it

_EXPIRED = {
    *("ExpiredToken", "ExpiredTokenException", "RequestExpired"),
    *("UnauthorizedSSOTokenError", "SSOTokenLoadError", "TokenRetrievalError"),
}
_ON_DEMAND, _SPOT = "L-1216C47A", "L-34B43A08"  # vCPU of standard instances: A, C, D, H, I, M, R, T, Z
_VPCS, _GATEWAY_ENDPOINTS = "L-F678F1CE", "L-1B52E74A"
_REGION_OF_PLANS = "us-east-1"  # the only one that answers questions about the plan of an account


class Outcome(Enum):
    """How a check ended, with the mark that stands for it."""

    FINE = "✓"
    FAILS = "✗"
    WARNING = "!"
    UNKNOWN = "?"


@dataclass(frozen=True)
class Finding:
    """What a check found, in one sentence, and the command that is the remedy."""

    outcome: Outcome
    sentence: str
    remedy: str = ""


@dataclass(frozen=True)
class Deployment:
    """The deployment to check: its settings, the qualifier of CDK's bootstrap stack, and the account."""

    settings: StageSettings
    qualifier: str
    account: Account


def _fine(sentence: str) -> Finding:
    return Finding(Outcome.FINE, sentence)


def _warning(sentence: str, remedy: str = "") -> Finding:
    return Finding(Outcome.WARNING, sentence, remedy)


def _fails(sentence: str, remedy: str = "") -> Finding:
    return Finding(Outcome.FAILS, sentence, remedy)


def credentials(deployment: Deployment) -> Finding:
    """Ask who is asking."""
    try:
        identity = deployment.account.identity
    except AwsError as error:
        if error.code == UNREACHABLE:
            return _fails(f"{error} A deployment needs a way to AWS: check the network and the proxy.")
        remedy = "aws sso login" if error.code in _EXPIRED else "aws configure"
        return _fails(f"{error} Sign in, or set AWS_PROFILE to a profile that works.", remedy)
    return _fine(f"Account {identity['Account']}, as {identity['Arn'].rpartition(':')[2]}.")


def account_plan(deployment: Deployment) -> Finding:
    """Ask for the plan of the account. On the Free plan, EC2 starts six small types only.

    The types are in https://github.com/aws-samples/eks-workshop-v2/issues/1644, with EC2's error.
    """
    try:
        state = deployment.account.ask("freetier", "GetAccountPlanState", region=_REGION_OF_PLANS)
    except AwsError as error:
        if error.code != "ResourceNotFoundException":
            raise
        return _fine("The account has no plan, so AWS does not limit what it may start.")
    if state["accountPlanType"] != "FREE":
        return _fine("The account is on the Paid plan.")
    return _fails(
        "The account is on the Free plan, in which EC2 does not start the instance types of the cluster. On the Paid "
        "plan, AWS charges what the credits do not cover.",
        "aws freetier upgrade-account-plan --account-plan-type PAID --region us-east-1",
    )


def region_enabled(deployment: Deployment) -> Finding:
    """Ask whether the region is enabled. It must be a region of the settings, so it exists."""
    region = deployment.settings.region
    found = deployment.account.listed("ec2", "DescribeRegions", "Regions", region=ALWAYS_ENABLED, AllRegions=True)
    status = {each["RegionName"]: each.get("OptInStatus") for each in found}.get(region)
    name = f"{region} ({europe.REGIONS[region]})"
    if status in ("opt-in-not-required", "opted-in"):
        return _fine(f"{name} is enabled.")
    if status == "not-opted-in":
        remedy = f"aws account enable-region --region-name {region}"
        return _fails(f"{name} is not enabled in this account. Enabling takes minutes to hours.", remedy)
    return Finding(Outcome.UNKNOWN, f"Could not check. AWS does not say whether {name} is enabled.")


def bootstrap_stack(deployment: Deployment) -> Finding:
    """Ask for the version of the bootstrap stack, which holds the assets of a deployment."""
    account, region = deployment.account, deployment.settings.region
    name = f"/cdk-bootstrap/{deployment.qualifier}/version"
    remedy = f"npx cdk bootstrap aws://{account.identity['Account']}/{region}"
    if deployment.qualifier != DEFAULT_QUALIFIER:  # a stack of its own, so that the default one stays
        remedy += f" --qualifier {deployment.qualifier} --toolkit-stack-name CDKToolkit-{deployment.qualifier}"
    try:
        version = int(account.ask("ssm", "GetParameter", Name=name)["Parameter"]["Value"])
    except AwsError as error:
        if error.code != "ParameterNotFound":
            raise
        return _fails(f"CDK has no bootstrap stack in {region}.", remedy)
    if version < MINIMUM_BOOTSTRAP_VERSION:
        sentence = f"The bootstrap stack has version {version}; this app needs {MINIMUM_BOOTSTRAP_VERSION} or later."
        return _fails(sentence, remedy)
    return _fine(f"The bootstrap stack has version {version}.")


def release_offered(deployment: Deployment) -> Finding:
    """Ask whether EMR offers the release of the cluster."""
    family = RELEASE.partition(".")[0] + "."
    found = deployment.account.listed("emr", "ListReleaseLabels", "ReleaseLabels", Filters={"Prefix": family})
    offered, region = [str(label) for label in found], deployment.settings.region
    if RELEASE in offered:
        return _fine(f"EMR offers {RELEASE}.")
    newest = max(offered, key=lambda label: [int(number) for number in re.findall(r"\d+", label)], default="none")
    sentence = (
        f"EMR does not offer {RELEASE} in {region} (newest of this series: {newest}). "
        "Choose another region, or set RELEASE in cdk_app/emr_cluster.py."
    )
    return _fails(sentence, f"aws emr list-release-labels --region {region}")


def types_offered(deployment: Deployment) -> Finding:
    """Ask which of the instance types EMR supports, and in which zones of the network EC2 offers them."""
    settings, account = deployment.settings, deployment.account
    wanted = instance_types(settings.architecture, settings.region)
    found = account.listed("emr", "ListSupportedInstanceTypes", "SupportedInstanceTypes", ReleaseLabel=RELEASE)
    offers = account.listed(
        "ec2",
        "DescribeInstanceTypeOfferings",
        "InstanceTypeOfferings",
        LocationType="availability-zone",
        Filters=[
            {"Name": "instance-type", "Values": wanted},
            {"Name": "location", "Values": europe.zones(settings.region)},
        ],
    )
    supported = {each["Type"] for each in found}
    zones = {name: sum(offer["InstanceType"] == name for offer in offers) for name in wanted}
    problems = {
        name: f"EMR does not support {name}" if name not in supported else f"no zone of the network offers {name}"
        for name, count in zones.items()
        if name not in supported or not count
    }
    usable = ", ".join(
        f"{name} in {count} zone{'s' * (count > 1)}" for name, count in zones.items() if name not in problems
    )
    if not problems:
        return _fine(f"{usable}.")
    reasons = "; ".join(problems.values())
    if usable:
        return _warning(f"{_capital(reasons)}. The remaining choice is enough for a run: {usable}.")
    other = "x86_64" if settings.architecture == "arm64" else "arm64"
    sentence = f"{_capital(reasons)}. Choose another architecture or region, and check again."
    return _fails(sentence, f"make check-account C='-c region={settings.region} -c architecture={other}'")


def on_demand_quota(deployment: Deployment) -> Finding:
    """Ask for the quota for on-demand instances."""
    nodes = 1 + deployment.settings.core_nodes
    needed, quota = CORES * nodes, deployment.account.quota("ec2", _ON_DEMAND)
    sentence = f"A run needs {needed} vCPU ({nodes} nodes of {CORES}); the quota is {quota}"
    if quota >= needed:
        return _fine(f"{sentence} for all instances of the account.")
    return _fails(
        f"{sentence}, so EMR could not start the cluster.", _request(_ON_DEMAND, needed, deployment.settings.region)
    )


def spot_quota(deployment: Deployment) -> Finding:
    """Ask for the quota for spot instances, if the settings want any. EMR replaces missing ones by on-demand nodes."""
    settings, account = deployment.settings, deployment.account
    if not settings.spot_nodes:
        return _fine("A run needs none, because spot_nodes is 0.")
    needed, spot, on_demand = CORES * settings.spot_nodes, account.quota("ec2", _SPOT), account.quota("ec2", _ON_DEMAND)
    sentence = f"The spot nodes need {needed} vCPU ({settings.spot_nodes} nodes of {CORES}); the quota is {spot}"
    if spot >= needed:
        return _fine(f"{sentence} for all spot instances of the account.")
    remedy = _request(_SPOT, needed, settings.region)
    everything = needed + CORES * (1 + settings.core_nodes)
    if on_demand >= everything:
        return _warning(f"{sentence}, so EMR starts on-demand nodes instead, which cost more.", remedy)
    return _fails(
        f"{sentence}. EMR starts on-demand nodes instead, but their quota of {on_demand} is below {everything}.",
        remedy,
    )


def room_for_vpc(deployment: Deployment) -> Finding:
    """Ask whether there is room for the VPC of the stack."""
    used = len(deployment.account.listed("ec2", "DescribeVpcs", "Vpcs"))
    return _room(deployment, _VPCS, used, "VPCs", "AWS::EC2::VPC")


def room_for_endpoint(deployment: Deployment) -> Finding:
    """Ask whether there is room for the S3 endpoint of the stack."""
    gateways = [{"Name": "vpc-endpoint-type", "Values": ["Gateway"]}]
    used = len(deployment.account.listed("ec2", "DescribeVpcEndpoints", "VpcEndpoints", Filters=gateways))
    return _room(deployment, _GATEWAY_ENDPOINTS, used, "gateway endpoints", "AWS::EC2::VPCEndpoint")


def _room(deployment: Deployment, code: str, used: int, things: str, kind: str) -> Finding:
    """Return whether the stack finds room for one more thing, or has it already."""
    account, settings = deployment.account, deployment.settings
    quota = account.quota("vpc", code)
    sentence = f"{used} of {quota} {things} are in use"
    if used < quota:
        return _fine(f"{sentence}; the stack needs one.")
    if account.resources(settings.name, kind):
        return _fine(f"{sentence}; the stack {settings.name} has its own already.")
    remedy = _request(code, used + 1, settings.region, "vpc")
    return _fails(f"{sentence}, and the stack needs one more. Delete one, or ask for more.", remedy)


def disk_encryption(deployment: Deployment) -> Finding:
    """Ask whether the disks of the nodes will be encrypted."""
    settings, account = deployment.settings, deployment.account
    if settings.disk_key == "own":
        return _fine("A key of the stack encrypts the disks (disk_key=own).")
    if not account.ask("ec2", "GetEbsEncryptionByDefault")["EbsEncryptionByDefault"]:
        return _warning(
            "The disks of the nodes, which hold features of photos while a run lasts, are not encrypted. The remedy "
            "encrypts new disks of the whole account in this region.",
            f"aws ec2 enable-ebs-encryption-by-default --region {settings.region}",
        )
    key = str(account.ask("ec2", "GetEbsDefaultKmsKeyId")["KmsKeyId"])
    if key.endswith("alias/aws/ebs"):
        return _fine("The account encrypts new disks with AWS's key.")
    return _warning(
        f"The account encrypts new disks with {key}. If this is a customer managed key, nodes start only if its policy "
        "allows EMR's service role to use it. Allow that, or deploy with -c disk_key=own.",
    )


def runtime_monitoring(deployment: Deployment) -> Finding:
    """Ask whether GuardDuty will create an endpoint in the network of the stack."""
    account = deployment.account
    detectors = account.listed("guardduty", "ListDetectors", "DetectorIds")
    if any(_monitors_runtime(account.ask("guardduty", "GetDetector", DetectorId=one)) for one in detectors):
        return _fine(
            "Runtime Monitoring is on, so GuardDuty may create an endpoint and a security group in the VPC of the "
            "stack. `cdk destroy` removes them."
        )
    return _fine("Runtime Monitoring is off.")


def _monitors_runtime(detector: dict[str, Any]) -> bool:
    features = {feature["Name"]: feature["Status"] for feature in detector.get("Features", [])}
    return features.get("RUNTIME_MONITORING") == "ENABLED"


def budget(deployment: Deployment) -> Finding:
    """Decide about the budget."""
    limit = deployment.settings.monthly_budget
    if limit:
        return _fine(f"AWS sends an e-mail at 80 % of {limit} USD per month.")
    return _warning("No budget is set, so AWS tells nobody when the costs rise. Deploy with -c monthly_budget=20.")


def address_confirmed(deployment: Deployment) -> Finding:
    """Ask whether the address for notifications is confirmed."""
    settings, account = deployment.settings, deployment.account
    if not settings.email:
        return _warning(
            "No address is set, so AWS tells nobody when a run fails. Deploy with -c email=you@example.org."
        )
    topics = account.resources(settings.name, "AWS::SNS::Topic")
    if not topics:
        return _fine(f"{settings.email} gets a message to confirm once the stack is deployed.")
    subscriptions = account.listed("sns", "ListSubscriptionsByTopic", "Subscriptions", TopicArn=topics[0])
    arns = [each["SubscriptionArn"] for each in subscriptions if each.get("Endpoint") == settings.email]
    if any(arn.startswith("arn:") for arn in arns):  # one that is not confirmed has a word instead of an ARN
        return _fine(f"{settings.email} is confirmed.")
    if not arns:
        return _warning(f"The stack was deployed without {settings.email}. Deploy it again with this address.")
    return _warning(
        f'{settings.email} is not confirmed, so AWS sends nothing to it. Follow the link in the message "AWS '
        'Notification - Subscription Confirmation". The remedy sends it again.',
        f"aws sns subscribe --topic-arn {topics[0]} --protocol email --notification-endpoint {settings.email} "
        f"--region {settings.region}",
    )


def _request(code: str, value: int, region: str, service: str = "ec2") -> str:
    return (
        f"aws service-quotas request-service-quota-increase --service-code {service} --quota-code {code} "
        f"--desired-value {value} --region {region}"
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
