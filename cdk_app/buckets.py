"""The three buckets: photos, results and logs."""

import aws_cdk as cdk
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3 as s3
from constructs import Construct

from cdk_app import nag
from spark_job import runs

# Folders of the log bucket.
CLUSTER_LOGS = "emr/"
ACCESS_LOGS = "access/"
#: The folder of the results bucket to which Athena writes the results of queries.
QUERY_RESULTS = "queries/"
_KEEP_QUERY_RESULTS_DAYS = 7


class Buckets(Construct):
    """`data` holds the photos, `results` the runs, and `logs` the logs of the clusters and of the buckets.

    Every bucket is encrypted with S3's keys, closed to the public, and answers over TLS only. A customer key would cost
    one more request per photo.
    """

    def __init__(
        self, scope: Construct, construct_id: str, *, keeps_data: bool, keep_runs_days: int, keep_logs_days: int
    ) -> None:
        super().__init__(scope, construct_id)
        # A bucket that is kept goes on logging its requests, so the bucket for the logs is kept too. The logs expire.
        self.logs = self._bucket(
            "Logs", keep=keeps_data, rules=[s3.LifecycleRule(expiration=cdk.Duration.days(keep_logs_days))]
        )
        nag.accept(self.logs, "S1", "This bucket receives the access logs. If it logged itself, it would never stop.")
        # Nobody can recreate a photo. A deleted or overwritten photo can be restored for 30 days. After that it is
        # gone forever, as an erasure request requires.
        self.data = self._bucket(
            "Data",
            keep=keeps_data,
            versioned=True,
            rules=[
                s3.LifecycleRule(noncurrent_version_expiration=cdk.Duration.days(30), expired_object_delete_marker=True)
            ],
        )
        # The job writes each run once under its own name, so versions would protect nothing. latest.json never expires.
        self.results = self._bucket(
            "Results",
            keep=keeps_data,
            rules=[
                *(
                    s3.LifecycleRule(prefix=f"{folder}/", expiration=cdk.Duration.days(keep_runs_days))
                    for folder in (runs.RUNS, runs.SUMMARIES)
                ),
                s3.LifecycleRule(prefix=QUERY_RESULTS, expiration=cdk.Duration.days(_KEEP_QUERY_RESULTS_DAYS)),
            ],
        )
        if not keeps_data:
            self._keep_log_of_emptying(keep_logs_days)

    def _keep_log_of_emptying(self, keep_logs_days: int) -> None:
        """Give CDK's function that empties buckets a log group of this stack. Its own would outlive the stack."""
        log = logs.LogGroup(
            self, "Emptying", retention=retention(keep_logs_days), removal_policy=cdk.RemovalPolicy.DESTROY
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


def run_key(name: str) -> str:
    """Return the key of an object of the run `$run`, as JSONata."""
    return f"'{runs.RUNS}/' & $run & '/{name}'"


def summary_key() -> str:
    """Return the key of the summary of the run `$run`, as JSONata."""
    return f"'{runs.SUMMARIES}/' & $run & '.json'"


def retention(days: int) -> logs.RetentionDays:
    """Return the shortest retention of CloudWatch that keeps logs for at least `days`."""
    choices = {30: logs.RetentionDays.ONE_MONTH, 90: logs.RetentionDays.THREE_MONTHS, 365: logs.RetentionDays.ONE_YEAR}
    return next((choice for limit, choice in choices.items() if days <= limit), logs.RetentionDays.TEN_YEARS)
