"""The three buckets: what comes in, what comes out, what was said meanwhile."""

import aws_cdk as cdk
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3 as s3
from constructs import Construct

from cdk_app.settings import Settings

RUNS = "runs/"
CLUSTER_LOGS = "emr/"
ACCESS_LOGS = "access/"


class Storage(Construct):
    """`data` holds the photos, `results` the runs, `logs` the clusters' and the buckets' own logs.

    All encrypted with S3's keys (a customer key would cost a request a photo), closed to the public, TLS only.
    """

    def __init__(self, scope: Construct, construct_id: str, settings: Settings) -> None:
        super().__init__(scope, construct_id)
        # Logs go with the stack in both stages: they expire anyhow, and nothing refers to them.
        self.logs = self._bucket(
            "Logs", keep=False, rules=[s3.LifecycleRule(expiration=cdk.Duration.days(settings.keep_logs_days))]
        )
        cdk.Validations.of(self.logs).acknowledge(
            cdk.Acknowledgment(
                id="AwsSolutions-S1", reason="It receives the other buckets' access logs; its own would feed on itself."
            )
        )
        # Photos are what cannot be made again: a deleted or overwritten one can be fetched back for 30 days,
        # and then is gone for good, as an erasure request wants.
        self.data = self._bucket(
            "Data",
            keep=settings.keeps_data,
            versioned=True,
            rules=[
                s3.LifecycleRule(noncurrent_version_expiration=cdk.Duration.days(30), expired_object_delete_marker=True)
            ],
        )
        # A run is written once under its own name, so versions would protect nothing. latest.json does not expire.
        self.results = self._bucket(
            "Results",
            keep=settings.keeps_data,
            rules=[s3.LifecycleRule(prefix=RUNS, expiration=cdk.Duration.days(settings.keep_runs_days))],
        )
        self._keep_log_of_emptying(settings)

    def _keep_log_of_emptying(self, settings: Settings) -> None:
        """Give CDK's function that empties buckets a log of ours: the one it makes itself would outlive the stack."""
        log = logs.LogGroup(
            self, "Emptying", retention=retention(settings.keep_logs_days), removal_policy=cdk.RemovalPolicy.DESTROY
        )
        provider = cdk.Stack.of(self).node.find_child("Custom::S3AutoDeleteObjectsCustomResourceProvider")
        function = provider.node.find_child("Handler")
        assert isinstance(function, cdk.CfnResource)  # noqa: S101 - for the type checker
        function.add_property_override("LoggingConfig", {"LogGroup": log.log_group_name})

    def _bucket(self, name: str, *, keep: bool, rules: list[s3.LifecycleRule], versioned: bool = False) -> s3.Bucket:
        return s3.Bucket(
            self,
            name,
            encryption=s3.BucketEncryption.S3_MANAGED,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            enforce_ssl=True,
            minimum_tls_version=1.2,
            versioned=versioned,
            lifecycle_rules=[
                *rules,
                s3.LifecycleRule(abort_incomplete_multipart_upload_after=cdk.Duration.days(2)),
            ],
            server_access_logs_bucket=None if name == "Logs" else self.logs,
            server_access_logs_prefix=None if name == "Logs" else f"{ACCESS_LOGS}{name.lower()}/",
            removal_policy=cdk.RemovalPolicy.RETAIN if keep else cdk.RemovalPolicy.DESTROY,
            auto_delete_objects=not keep,
        )


def retention(days: int) -> logs.RetentionDays:
    """Return the shortest of CloudWatch's choices that keeps logs at least so many days."""
    choices = {30: logs.RetentionDays.ONE_MONTH, 90: logs.RetentionDays.THREE_MONTHS, 365: logs.RetentionDays.ONE_YEAR}
    return next((choice for limit, choice in choices.items() if days <= limit), logs.RetentionDays.TEN_YEARS)
