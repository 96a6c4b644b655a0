"""The stack: makes the constructs, connects them, and grants what one needs of another."""

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from constructs import Construct

from cdk_app.bundle import Bundle, Job
from cdk_app.cluster import Cluster
from cdk_app.janitor import Janitor
from cdk_app.machine import acknowledge
from cdk_app.network import Network
from cdk_app.settings import Settings
from cdk_app.storage import CLUSTER_LOGS, RUNS, Storage
from cdk_app.watch import Watch
from cdk_app.workflow import FAILURE, Workflow, longest


class FruitsStack(cdk.Stack):
    """Photos in, features out: everything that `cdk deploy` makes and `cdk destroy` removes."""

    def __init__(self, scope: Construct, construct_id: str, settings: Settings, bundle: Bundle) -> None:
        super().__init__(
            scope,
            construct_id,
            description="Image features of fruit photos on EMR",
            env=cdk.Environment(region=settings.region),
            termination_protection=settings.keeps_data,
        )
        self.storage = Storage(self, "Storage", settings)
        self.network = Network(self, "Network", settings)
        self.cluster = Cluster(self, "Cluster", settings, self.network)
        self.job = Job(self, "Job", bundle)
        self.watch = Watch(self, "Watch", settings)
        self.janitor = Janitor(self, "Janitor", settings, oldest=longest(settings))
        self.workflow = Workflow(
            self,
            "Workflow",
            settings=settings,
            cluster=self.cluster,
            job=self.job,
            storage=self.storage,
            topic=self.watch.topic,
            janitor=self.janitor,
        )
        self.janitor.clean_up_after(self.workflow.machine)
        self.watch.add_alarms(self.workflow.machine, self.janitor.machine)
        self.watch.add_outputs(self, self.storage, self.workflow.machine)
        self._let_nodes_work()
        self._let_requests_through()
        self._let_the_workflow_read_and_tell()
        for tag, value in {"project": "fruits", "stage": settings.stage, "stack": settings.name}.items():
            cdk.Tags.of(self).add(tag, value)

    def _let_nodes_work(self) -> None:
        """Let the nodes read photos and the job, write results and leave logs."""
        data, results, logs = self.storage.data, self.storage.results, self.storage.logs
        allow = self.cluster.instance_role.add_to_policy
        allow(_statement("ReadPhotos", ["s3:GetObject"], [data.arn_for_objects("*")]))
        allow(_statement("ListPhotosAndResults", ["s3:ListBucket"], [data.bucket_arn, results.bucket_arn]))
        allow(_statement("ReadTheJob", ["s3:GetObject"], self.job.object_arns))
        allow(
            _statement(
                "WriteResults",
                ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"],
                [results.arn_for_objects(f"{RUNS}*"), results.arn_for_objects("latest.json")],
            )
        )
        allow(_statement("LeaveLogs", ["s3:PutObject"], [logs.arn_for_objects(f"{CLUSTER_LOGS}*")]))
        for bucket, keys in ((data, "*"), (results, f"{RUNS}*"), (logs, f"{CLUSTER_LOGS}*")):
            self._acknowledge_keys(
                self.cluster.instance_role, bucket, keys, "Photos, runs and logs have names of their own."
            )

    def _let_requests_through(self) -> None:
        """Let this account's own requests to these buckets out of the network."""
        buckets = [self.storage.data, self.storage.results, self.storage.logs]
        self.network.s3_endpoint.add_to_policy(
            iam.PolicyStatement(
                sid="OwnBuckets",
                principals=[iam.AnyPrincipal()],
                actions=[
                    "s3:ListBucket",
                    "s3:GetObject",
                    "s3:PutObject",
                    "s3:DeleteObject",
                    "s3:AbortMultipartUpload",
                ],
                resources=[
                    *(bucket.bucket_arn for bucket in buckets),
                    *(bucket.arn_for_objects("*") for bucket in buckets),
                    *self.job.object_arns,
                ],
                conditions={"StringEquals": {"aws:PrincipalAccount": cdk.Aws.ACCOUNT_ID}},
            )
        )

    def _let_the_workflow_read_and_tell(self) -> None:
        """Let the workflow list photos, read manifests and last words, tell the topic and call the janitor."""
        data, results = self.storage.data, self.storage.results
        allow = self.workflow.role.add_to_policy
        # Listing the results is what makes S3 answer "there is none" instead of "denied".
        allow(_statement("LookForImages", ["s3:ListBucket"], [data.bucket_arn, results.bucket_arn]))
        for name in ("manifest.json", FAILURE):
            allow(_statement("", ["s3:GetObject"], [results.arn_for_objects(f"{RUNS}*/{name}")]))
            self._acknowledge_keys(
                self.workflow.role, results, f"{RUNS}*/{name}", "A run is called like its execution."
            )
        allow(_statement("TellPeople", ["sns:Publish"], [self.watch.topic.topic_arn]))
        allow(_statement("CallTheJanitor", ["states:StartExecution"], [self.janitor.machine.state_machine_arn]))

    def _acknowledge_keys(self, role: iam.Role, bucket: s3.Bucket, keys: str, reason: str) -> None:
        logical_id = self.get_logical_id(bucket.node.default_child)  # type: ignore[arg-type]  # a bucket has one
        acknowledge(role, f"Resource::<{logical_id}.Arn>/{keys}", reason)


def _statement(sid: str, actions: list[str], resources: list[str]) -> iam.PolicyStatement:
    return iam.PolicyStatement(sid=sid or None, actions=actions, resources=resources)
