"""The state machine: one run, from its input to its results, with a cluster that never outlives it."""

from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sns as sns
from aws_cdk import aws_stepfunctions as sfn
from aws_cdk import aws_stepfunctions_tasks as tasks
from constructs import Construct

from cdk_app import request
from cdk_app.bundle import Job
from cdk_app.cluster import CODE, ENVIRONMENT, Cluster
from cdk_app.janitor import Janitor, allow_ending_clusters, clusters_arn, of_this_stack
from cdk_app.machine import machine, machine_role
from cdk_app.settings import Settings
from cdk_app.storage import CLUSTER_LOGS, RUNS, Storage

IMAGE = r"/\.(jpe?g|png|webp)$/i"
FAILURE = "_failed.json"  # the job's last words, in the run's folder
_KEYS_A_LOOK = 100  # what Step Functions hands on is 256 KiB at most, and a name may have 1,024 bytes
_LOOKS = 200  # after 20,000 objects that are no image the job is left to find out by itself
_REASONS = ("job_reason", "cluster_reason", "step_reason")
_CAUSE = "($exists($states.errorOutput.Cause) ? $states.errorOutput.Cause : $states.errorOutput.Error)"


def longest(settings: Settings) -> cdk.Duration:
    """Return how long an execution may take: the job, and 45 minutes to look, tear down and tell.

    The job's own time-out comes first, because no catch runs when the state machine's does.
    """
    return cdk.Duration.minutes(settings.longest_run_hours * 60 + 45)


class Workflow(Construct):
    """What a person starts with ``{}`` in the console.

    There is one lane, not two: whatever becomes of the job, the cluster is terminated next, and then the manifest,
    which a run writes last, tells whether there is a result. What is known meanwhile travels in variables.
    """

    def __init__(  # noqa: PLR0913 - it is what connects them all
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: Settings,
        cluster: Cluster,
        job: Job,
        storage: Storage,
        topic: sns.ITopic,
        janitor: Janitor,
    ) -> None:
        super().__init__(scope, construct_id)
        self._settings, self._cluster, self._job, self._storage = settings, cluster, job, storage
        self._topic, self._janitor = topic, janitor
        self.role = machine_role(self, settings, "The workflow: one cluster a run, its step, its end")
        self._allow_clusters()
        self.machine = machine(
            self,
            settings,
            name=settings.name,
            comment="Image features of the photos in the data bucket. Start it with {}.",
            role=self.role,
            story=self._story(),
            timeout=longest(settings),
        )

    def _story(self) -> sfn.Chain:
        """Return the states, made from the last to the first, because each names the next."""
        explain = self._explain()
        create = self._create_cluster(explain).next(self._run_job(self._finish(explain)))
        prepare = self._prepare().next(self._look_for_images(explain, create))
        wrong = sfn.Fail.jsonata(
            self, "Input is wrong", comment="Nothing was started.", error="InputIsWrong", cause="{% $trim($problems) %}"
        )
        return sfn.Pass.jsonata(
            self,
            "Read input",
            comment="Every key may be left out; what is there must be right.",
            assign={"problems": request.problems(self._settings)},
        ).next(
            sfn.Choice.jsonata(self, "Is the input right?")
            .when(sfn.Condition.jsonata("{% $problems != '' %}"), wrong)
            .otherwise(prepare)
        )

    def _prepare(self) -> sfn.Chain:
        fill_in = sfn.Pass.jsonata(self, "Fill in defaults", outputs=request.complete(self._settings))
        prepare = sfn.Pass.jsonata(
            self,
            "Prepare run",
            comment="The run is called like the execution.",
            assign={
                "run": "{% $states.context.Execution.Name %}",
                "prefix": "{% $states.input.input_prefix %}",
                "command": self._command(),
                "flags": "{% $states.input.recompute ? ['--recompute'] : [] %}",
                **dict.fromkeys(("cluster_id", "error", "failure", "leak", "last_seen", *_REASONS), ""),
                "manifest": "{% null %}",
                "looks": 0,
            },
        )
        return fill_in.next(prepare)

    def _command(self) -> list[str]:
        job, storage = self._job, self._storage
        return [
            "spark-submit",
            *("--deploy-mode", "cluster"),
            *("--archives", f"{job.environment}#{ENVIRONMENT},{job.code}#{CODE}"),
            *(job.main, "run"),
            *("--input", f"{{% 's3://{storage.data.bucket_name}/' & $states.input.input_prefix %}}"),
            *("--output", f"s3://{storage.results.bucket_name}"),
            *("--weights", job.model),
            *("--engine", self._settings.engine),
            *("--components", "{% $string($states.input.components) %}"),
            *("--max-rejected", "{% $string($states.input.max_rejected) %}"),
            *("--run-id", "{% $states.context.Execution.Name %}"),
        ]

    def _look_for_images(self, explain: sfn.IChainable, create: sfn.IChainable) -> sfn.Chain:
        bucket = self._storage.data.bucket_name
        look = tasks.CallAwsService.jsonata(
            self,
            "Look for images",
            comment="Before anything is paid for.",
            service="s3",
            action="listObjectsV2",
            iam_resources=["*"],  # its policy is written in the stack
            parameters={
                "Bucket": bucket,
                "Prefix": "{% $prefix %}",
                "MaxKeys": _KEYS_A_LOOK,
                # All that is in a folder sorts after the folder's own name, and every name after a space.
                "StartAfter": "{% $last_seen != '' ? $last_seen : $prefix != '' ? $prefix : ' ' %}",
            },
            task_timeout=_minutes(1),
            assign={
                "images": f"{{% $count($states.result.Contents[$contains(Key, {IMAGE})]) %}}",
                "last_seen": "{% $states.result.IsTruncated ? $states.result.Contents[-1].Key : '' %}",
                "looks": "{% $looks + 1 %}",
            },
        )
        _retry(look)
        look.add_catch(explain, errors=["States.ALL"], assign=_failure("InputUnreadable"))
        none = sfn.Pass.jsonata(
            self,
            "There is no image",
            assign={
                "error": "NoImages",
                "failure": f"{{% 'There is no image under s3://{bucket}/' & $prefix & "
                "'; put photos there that end in .jpg, .jpeg, .png or .webp, or give another input_prefix.' %}",
            },
        ).next(explain)
        return look.next(
            sfn.Choice.jsonata(self, "Is there an image?", comment="One is enough to go on.")
            .when(sfn.Condition.jsonata(f"{{% $images = 0 and $last_seen != '' and $looks < {_LOOKS} %}}"), look)
            .when(sfn.Condition.jsonata("{% $images = 0 and $last_seen = '' %}"), none)
            .otherwise(create)
        )

    def _create_cluster(self, explain: sfn.IChainable) -> tasks.EmrCreateCluster:
        create = self._cluster.create_task(
            self,
            "Create cluster",
            name=f"{{% '{self._settings.name}-' & $run %}}",
            log_uri=self._storage.logs.s3_url_for_object(CLUSTER_LOGS),
            comment="Does not wait for it: from here on its id is known, whatever happens.",
            task_timeout=_minutes(5),
            assign={"cluster_id": "{% $states.result.ClusterId %}"},
        )
        # Only what surely started nothing may be tried again: a second cluster would have no run to end it.
        create.add_retry(
            errors=["ElasticMapReduce.ThrottlingException"], max_attempts=5, interval=cdk.Duration.seconds(5)
        )
        create.add_catch(explain, errors=["States.ALL"], assign=_failure("ClusterNotCreated"))
        return create

    def _run_job(self, finish: sfn.IChainable) -> sfn.Chain:
        hours = self._settings.longest_run_hours
        run = tasks.EmrAddStep.jsonata(
            self,
            "Run job",
            comment="Waits while the cluster starts and the job runs.",
            cluster_id="{% $cluster_id %}",
            name="{% $run %}",
            jar="command-runner.jar",
            # One expression for the whole list; CDK takes a token for it.
            args=cdk.Token.as_list(cdk.Token.as_any("{% $append($command, $flags) %}")),
            action_on_failure=tasks.ActionOnFailure.TERMINATE_CLUSTER,
            integration_pattern=sfn.IntegrationPattern.RUN_JOB,
            task_timeout=sfn.Timeout.duration(cdk.Duration.hours(hours)),
        )
        run.add_catch(
            finish,
            errors=["States.Timeout"],
            assign={
                "error": "JobTookTooLong",
                "failure": f"The job took longer than {hours} h and was ended; it needs more core_nodes or spot_nodes, "
                "or more longest_run_hours.",
            },
        )
        run.add_catch(finish, errors=["States.ALL"], assign=_failure("JobFailed"))
        return run.next(finish)

    def _finish(self, explain: sfn.IChainable) -> sfn.Chain:
        """Return what follows the job, however it ended: the end of the cluster, and then the manifest decides."""
        decide = (
            sfn.Choice.jsonata(self, "Was a result published?", comment="No manifest, no run.")
            .when(sfn.Condition.jsonata("{% $published %}"), self._succeed())
            .otherwise(explain)
        )
        read = self._read_manifest(decide)
        return self._terminate(read).next(read).next(decide)

    def _terminate(self, read: tasks.CallAwsService) -> tasks.EmrTerminateCluster:
        terminate = tasks.EmrTerminateCluster.jsonata(
            self,
            "Terminate cluster",
            comment="Whatever became of the job.",
            cluster_id="{% $cluster_id %}",
            integration_pattern=sfn.IntegrationPattern.REQUEST_RESPONSE,
            task_timeout=_minutes(1),
        )
        janitor = tasks.StepFunctionsStartExecution.jsonata(
            self,
            "Call the janitor",
            comment="It tries again, and raises the alarm. The result is not lost over it.",
            state_machine=self._janitor.machine,
            input=sfn.TaskInput.from_object({"run": "{% $run %}", "alarm": True}),
            integration_pattern=sfn.IntegrationPattern.REQUEST_RESPONSE,
            task_timeout=_minutes(1),
        )
        for task, attempts in ((terminate, 5), (janitor, 3)):
            _retry(task, attempts)
        terminate.add_catch(
            janitor,
            errors=["States.ALL"],
            assign={
                "leak": "{% 'The cluster ' & $cluster_id & ' could not be terminated; the janitor was called. (' & "
                f"{_CAUSE} & ')' %}}"
            },
        )
        janitor.add_catch(read, errors=["States.ALL"])
        janitor.next(read)
        return terminate

    def _read_manifest(self, decide: sfn.Choice) -> tasks.CallAwsService:
        read = self._read_object(
            "Read manifest",
            "manifest.json",
            comment="The job writes it last.",
            assign={
                "manifest": "{% $parse($states.result.Body) %}",
                # A job that failed may have left none; then an older run's of the same name must not pass for it.
                "published": "{% $error = '' or $substring($parse($states.result.Body).started, 0, 19) >= "
                "$substring($states.context.Execution.StartTime, 0, 19) %}",
            },
        )
        read.add_retry(errors=["S3.NoSuchKeyException", "States.DataLimitExceeded"], max_attempts=0)
        _retry(read)
        read.add_catch(
            decide,
            errors=["S3.NoSuchKeyException"],
            assign={
                "published": "{% false %}",
                "error": "{% $error = '' ? 'NoManifest' : $error %}",
                "failure": "{% $failure = '' ? 'The job ended well but left no manifest.' : $failure %}",
            },
        )
        # It is there but cannot be read, or is too long for Step Functions: a job that ended well did publish it.
        for errors in (["States.DataLimitExceeded"], ["States.ALL"]):
            read.add_catch(decide, errors=errors, assign={"published": "{% $error = '' %}"})
        return read

    def _read_object(self, name: str, key: str, **task: Any) -> tasks.CallAwsService:
        return tasks.CallAwsService.jsonata(
            self,
            name,
            service="s3",
            action="getObject",
            iam_resources=["*"],  # its policy is written in the stack
            parameters={
                "Bucket": self._storage.results.bucket_name,
                "Key": f"{{% '{RUNS}' & $run & '/{key}' %}}",
            },
            task_timeout=_minutes(1),
            **task,
        )

    def _succeed(self) -> sfn.Chain:
        results, region = self._storage.results.bucket_name, self._settings.region
        folder = f"'s3://{results}/{RUNS}' & $run & '/"
        console = f"https://{region}.console.aws.amazon.com/s3/object/{results}?region={region}&prefix={RUNS}"
        summarise = sfn.Pass.jsonata(
            self,
            "Summarise run",
            outputs={
                "run": "{% $run %}",
                "images": "{% $manifest = null ? null : $manifest.counts %}",
                "components": "{% $manifest = null ? null : $manifest.pca.components %}",
                "variance_kept": "{% $manifest = null ? null : $manifest.pca.variance_kept %}",
                "images_per_second": "{% $manifest = null ? null : $manifest.images_per_second %}",
                "report": f"{{% {folder}report.html' %}}",
                "report_in_console": f"{{% '{console}' & $run & '/report.html' %}}",
                "features": f"{{% {folder}features/' %}}",
                "pca": f"{{% {folder}pca/' %}}",
                "manifest": f"{{% {folder}manifest.json' %}}",
                "warnings": "{% ["
                "$manifest = null ? 'The manifest could not be read here; it is where manifest says.',\n"
                "  $manifest != null and $manifest.model.weights = 'random' ? "
                "'The weights are random: the features show that the job works, and nothing about fruit.',\n"
                "  $error != '' ? 'The run published its results, and then: ' & $failure,\n"
                "  $leak != '' ? $leak] %}",
            },
        )
        return summarise.next(sfn.Succeed.jsonata(self, "Run succeeded"))

    def _explain(self) -> sfn.Chain:
        """Return the lane of failure: what does the job say, what EMR, and who is to know."""
        fail = sfn.Fail.jsonata(self, "Run failed", error="{% $error %}", cause="{% $states.input.cause %}")
        tell = self._tell_people(fail)
        say = self._say_why()
        cluster = self._ask_emr(
            "Ask why the cluster ended",
            "describeCluster",
            # What we or the step did ourselves is no reason.
            {
                "cluster_reason": "{% ($reason := $states.result.Cluster.Status.StateChangeReason; "
                "$exists($reason.Message) and $not($reason.Code in ['USER_REQUEST', 'STEP_FAILURE', "
                "'ALL_STEPS_COMPLETED']) ? $reason.Message : '') %}"
            },
            say,
        )
        step = self._ask_emr(
            "Ask why the step ended",
            "listSteps",
            {
                "step_reason": "{% ($details := $states.result.Steps[0].Status.FailureDetails; "
                "$join([$details.Reason, $details.Message, $details.LogFile], ' ')) %}"
            },
            cluster,
        )
        words = self._read_object(
            "Read the job's last words",
            FAILURE,
            comment="One sentence, if it came to that.",
            assign={"job_reason": "{% $parse($states.result.Body).reason %}"},
        )
        words.add_catch(step, errors=["States.ALL"])
        words.next(step).next(cluster).next(say).next(tell).next(fail)
        return sfn.Chain.start(
            sfn.Choice.jsonata(self, "Was there a cluster?")
            .when(sfn.Condition.jsonata("{% $cluster_id != '' %}"), words)
            .otherwise(say)
        )

    def _ask_emr(self, name: str, action: str, assign: dict[str, str], after: sfn.IChainable) -> tasks.CallAwsService:
        ask = tasks.CallAwsService.jsonata(
            self,
            name,
            service="emr",
            action=action,
            iam_resources=["*"],  # its policy is written below
            parameters={"ClusterId": "{% $cluster_id %}"},
            task_timeout=_minutes(1),
            assign=assign,
        )
        _retry(ask)
        ask.add_catch(after, errors=["States.ALL"])
        return ask

    def _say_why(self) -> sfn.Pass:
        logs = self._storage.logs.s3_url_for_object(CLUSTER_LOGS)
        return sfn.Pass.jsonata(
            self,
            "Say why",
            comment="The job's own words first, then EMR's, then those of the state that failed.",
            outputs={
                "cause": "{% $join([\n"
                "  $error = 'JobTookTooLong' ? $failure :\n"
                "    $filter([$job_reason, $cluster_reason, $step_reason, $failure], function($it) { $it != '' })[0],\n"
                f"  $cluster_id = '' ? '' : ' Logs: {logs}' & $cluster_id & "
                "'/ (the driver: containers/*/*_000001/stdout.gz).',\n"
                "  $leak = '' ? '' : ' ' & $leak]) %}"
            },
        )

    def _tell_people(self, fail: sfn.Fail) -> tasks.SnsPublish:
        tell = tasks.SnsPublish.jsonata(
            self,
            "Tell people",
            topic=self._topic,
            subject=f"{{% $substring('{self._settings.name}: ' & $run & ' failed', 0, 100) %}}",
            message=sfn.TaskInput.from_text("{% $error & ': ' & $states.input.cause %}"),
            task_timeout=_minutes(1),
            outputs="{% $states.input %}",
        )
        _retry(tell)
        tell.add_catch(fail, errors=["States.ALL"], outputs="{% $states.input %}")
        return tell

    def _allow_clusters(self) -> None:
        """Allow the role what the story's EMR states do; what it reads and tells is granted in the stack."""
        settings, allow = self._settings, self.role.add_to_policy
        allow(
            iam.PolicyStatement(
                sid="AskForTaggedClusters",
                actions=["elasticmapreduce:RunJobFlow"],
                resources=["*"],
                conditions={
                    "StringEquals": {
                        "elasticmapreduce:RequestTag/stack": settings.name,
                        "aws:RequestedRegion": settings.region,
                    }
                },
            )
        )
        allow(
            iam.PolicyStatement(
                sid="TagThem",
                actions=["elasticmapreduce:AddTags"],
                resources=[clusters_arn(settings)],
                conditions={"StringEquals": {"elasticmapreduce:RequestTag/stack": settings.name}},
            )
        )
        allow(
            iam.PolicyStatement(
                sid="UseThem",
                actions=[
                    f"elasticmapreduce:{action}"
                    for action in ("AddJobFlowSteps", "CancelSteps", "DescribeStep", "ListSteps", "DescribeCluster")
                ],
                resources=[clusters_arn(settings)],
                conditions=of_this_stack(settings),
            )
        )
        allow_ending_clusters(self.role, settings)
        for role, service in (
            (self._cluster.service_role, "elasticmapreduce.amazonaws.com"),
            (self._cluster.instance_role, "ec2.amazonaws.com"),
        ):
            allow(
                iam.PolicyStatement(
                    actions=["iam:PassRole"],
                    resources=[role.role_arn],
                    conditions={"StringEquals": {"iam:PassedToService": service}},
                )
            )
        allow(
            iam.PolicyStatement(
                sid="LetEmrCleanUp",
                actions=["iam:CreateServiceLinkedRole"],
                resources=[
                    f"arn:aws:iam::{cdk.Aws.ACCOUNT_ID}:role/aws-service-role/elasticmapreduce.amazonaws.com/"
                    "AWSServiceRoleForEMRCleanup"
                ],
                conditions={"StringEquals": {"iam:AWSServiceName": "elasticmapreduce.amazonaws.com"}},
            )
        )
        allow(
            iam.PolicyStatement(
                sid="WaitForTheStep",
                actions=["events:PutTargets", "events:PutRule", "events:DescribeRule"],
                resources=[
                    f"arn:aws:events:{settings.region}:{cdk.Aws.ACCOUNT_ID}:rule/"
                    "StepFunctionsGetEventForEMRAddJobFlowStepsRule"
                ],
            )
        )


def _minutes(count: int) -> sfn.Timeout:
    return sfn.Timeout.duration(cdk.Duration.minutes(count))


def _retry(task: sfn.TaskStateBase, attempts: int = 3) -> None:
    """Try again what may be done twice."""
    task.add_retry(
        errors=["States.TaskFailed", "States.Timeout"], max_attempts=attempts, interval=cdk.Duration.seconds(2)
    )


def _failure(error: str) -> dict[str, str]:
    return {"error": error, "failure": f"{{% {_CAUSE} %}}"}
