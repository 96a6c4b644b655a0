"""The stack: creates the constructs, connects them, and grants what one construct needs from another."""

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from constructs import Construct

from cdk_app import emr_states, nag
from cdk_app.buckets import CLUSTER_LOGS, Buckets
from cdk_app.bundle import Bundle, Job
from cdk_app.catalogue import Catalogue
from cdk_app.cleanup import CleanUp
from cdk_app.emr_cluster import EmrCluster
from cdk_app.monitoring import Monitoring
from cdk_app.stage_settings import StageSettings
from cdk_app.states import States
from cdk_app.vpc import IsolatedVpc
from cdk_app.workflow import Workflow, longest_execution
from spark_job import runs

_READ_AND_WRITE = ["s3:GetObject", "s3:PutObject"]


class FruitsStack(cdk.Stack):
    """Photos in, features out: everything that `cdk deploy` creates and `cdk destroy` deletes."""

    def __init__(self, scope: Construct, construct_id: str, settings: StageSettings, bundle: Bundle) -> None:
        super().__init__(
            scope,
            construct_id,
            description="Image features of fruit photos on EMR",
            env=cdk.Environment(region=settings.region),
            termination_protection=settings.keeps_data,
        )
        self.storage = Buckets(
            self,
            "Storage",
            keeps_data=settings.keeps_data,
            keep_runs_days=settings.keep_runs_days,
            keep_logs_days=settings.keep_logs_days,
        )
        self.catalogue = Catalogue(self, "Catalogue", results=self.storage.results)
        self.network = IsolatedVpc(self, "Network")
        self.cluster = EmrCluster(
            self,
            "Cluster",
            network=self.network,
            architecture=settings.architecture,
            core_nodes=settings.core_nodes,
            spot_nodes=settings.spot_nodes,
            idle_minutes=settings.idle_minutes,
            own_disk_key=settings.disk_key == "own",
        )
        self.job = Job(self, "Job", bundle)
        # The ID is not "Monitoring", because a new ID would replace the topic and require a new confirmation by e-mail.
        self.monitoring = Monitoring(self, "Watch", email=settings.email, monthly_budget=settings.monthly_budget)
        self.clean_up = CleanUp(
            self,
            "CleanUp",
            vpc=self.network.vpc,
            longest_run=longest_execution(settings.longest_run_hours),
            keep_logs_days=settings.keep_logs_days,
        )
        states = States(
            self,
            "States",
            cluster=self.cluster,
            job=self.job,
            storage=self.storage,
            topic=self.monitoring.topic,
            clean_up=self.clean_up,
            engine=settings.engine,
            input_prefix=settings.input_prefix,
            longest_run_hours=settings.longest_run_hours,
        )
        self.workflow = Workflow(
            self,
            "Workflow",
            states=states,
            longest_run_hours=settings.longest_run_hours,
            keep_logs_days=settings.keep_logs_days,
        )
        self.monitoring.add_alarms(self.workflow.state_machine, self.clean_up.function)
        self.clean_up.clean_up_after(self.workflow.state_machine)
        self.clean_up.clean_up_before_deletion_of(
            self.storage, self.catalogue, self.network, self.cluster, self.monitoring, self.workflow
        )
        self._add_outputs(settings.input_prefix)
        self._allow_nodes()
        self._allow_requests_to_buckets()
        self._allow_workflow()
        for tag, value in {"project": "fruits", "stage": settings.stage, "stack": settings.name}.items():
            cdk.Tags.of(self).add(tag, value)

    def _add_outputs(self, input_prefix: str) -> None:
        """Print where to put photos, where to start a run and where the results are."""
        buckets = (self.storage.data, self.storage.results, self.storage.logs)
        data, results, logs = (bucket.bucket_name for bucket in buckets)
        console = f"https://{self.region}.console.aws.amazon.com"
        state_machine = self.workflow.state_machine.state_machine_arn
        for name, value in {
            "Photos": f"s3://{data}/{input_prefix}",
            "Results": f"s3://{results}/",
            "ResultsInConsole": f"{console}/s3/buckets/{results}?region={self.region}",
            "StartHere": f"{console}/states/home?region={self.region}#/statemachines/view/{state_machine}",
            "Logs": f"s3://{logs}/",
        }.items():
            cdk.CfnOutput(self, name, value=value)

    def _allow_nodes(self) -> None:
        """Allow the nodes to read photos and the job, and to write results and logs."""
        data, results, logs = self.storage.data, self.storage.results, self.storage.logs
        allow = self.cluster.instance_role.add_to_policy
        allow(_statement("ReadPhotos", ["s3:GetObject"], [data.arn_for_objects("*")]))
        allow(_statement("ListPhotosAndResults", ["s3:ListBucket"], [data.bucket_arn, results.bucket_arn]))
        # A deployment replaces the job's objects by others while a cluster starts, so all assets are allowed.
        allow(_statement("ReadTheJob", ["s3:GetObject"], [self.job.asset_arns]))
        allow(
            _statement(
                "WriteResults",
                _READ_AND_WRITE,
                [results.arn_for_objects(keys) for keys in (f"{runs.RUNS}/*", f"{runs.SUMMARIES}/*", runs.LATEST)],
            )
        )
        allow(_statement("LeaveLogs", ["s3:PutObject"], [logs.arn_for_objects(f"{CLUSTER_LOGS}*")]))
        for bucket, keys in (
            (data, "*"),
            (results, f"{runs.RUNS}/*"),
            (results, f"{runs.SUMMARIES}/*"),
            (logs, f"{CLUSTER_LOGS}*"),
        ):
            self._accept_wildcard(self.cluster.instance_role, bucket, keys, "People and runs choose the keys.")
        nag.accept_wildcard(
            self.cluster.instance_role,
            f"arn:<AWS::Partition>:s3:::cdk-hnb659fds-assets-<AWS::AccountId>-{self.region}/*",
            "A run must find the job's objects even if a deployment replaces them while its cluster starts.",
        )

    def _allow_requests_to_buckets(self) -> None:
        """Allow requests of this account to the buckets of the stack to leave the network."""
        buckets = [self.storage.data, self.storage.results, self.storage.logs]
        self.network.s3_endpoint.add_to_policy(
            iam.PolicyStatement(
                sid="OwnBuckets",
                principals=[iam.AnyPrincipal()],
                actions=["s3:ListBucket", *_READ_AND_WRITE],
                resources=[
                    *(bucket.bucket_arn for bucket in buckets),
                    *(bucket.arn_for_objects("*") for bucket in buckets),
                    self.job.asset_arns,
                ],
                conditions={"StringEquals": {"aws:PrincipalAccount": cdk.Aws.ACCOUNT_ID}},
            )
        )

    def _allow_workflow(self) -> None:
        """Allow the workflow to list photos, run jobs, read summaries, notify people and call the clean-up."""
        emr_states.allow_running_jobs(self.workflow.role, self.cluster)
        data, results = self.storage.data, self.storage.results
        allow = self.workflow.role.add_to_policy
        # S3 answers "not found" instead of "denied" only to those who may list the bucket.
        allow(_statement("LookForPhotos", ["s3:ListBucket"], [data.bucket_arn, results.bucket_arn]))
        for keys, actions in {
            f"{runs.RUNS}/*/{runs.PROGRESS}": ["s3:GetObject"],
            f"{runs.RUNS}/*/{runs.FAILED}": ["s3:GetObject"],
            f"{runs.SUMMARIES}/*": _READ_AND_WRITE,
        }.items():
            allow(_statement(None, actions, [results.arn_for_objects(keys)]))
            self._accept_wildcard(self.workflow.role, results, keys, "A run has the name of its execution.")
        allow(_statement("TellPeople", ["sns:Publish"], [self.monitoring.topic.topic_arn]))
        allow(_statement("CallTheCleanUp", ["lambda:InvokeFunction"], [self.clean_up.function.function_arn]))

    def _accept_wildcard(self, role: iam.Role, bucket: s3.Bucket, keys: str, reason: str) -> None:
        logical_id = self.get_logical_id(bucket.node.default_child)  # type: ignore[arg-type]  # a bucket has one
        nag.accept_wildcard(role, f"<{logical_id}.Arn>/{keys}", reason)


def _statement(sid: str | None, actions: list[str], resources: list[str]) -> iam.PolicyStatement:
    return iam.PolicyStatement(sid=sid, actions=actions, resources=resources)
