"""The states of a run: what each of them does. `cdk_app.workflow` connects them."""

import re
from collections.abc import Mapping
from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_sns as sns
from aws_cdk import aws_stepfunctions as sfn
from aws_cdk import aws_stepfunctions_tasks as tasks
from constructs import Construct

from cdk_app import catalogue, emr_states, request
from cdk_app.buckets import CLUSTER_LOGS, Buckets, run_key, summary_key
from cdk_app.bundle import Job
from cdk_app.cleanup import CleanUp
from cdk_app.emr_cluster import CODE, ENVIRONMENT, EmrCluster
from cdk_app.emr_states import minutes
from cdk_app.jsonata import expression
from cdk_app.prices import MINIMUM_MINUTES
from spark_job import runs
from spark_job.names import ARCHIVE_SUFFIX, HIDDEN_PATH
from spark_job.network.images import SUFFIXES
from spark_job.settings import Engine

# JSONata: whether the job takes the object for a photo or for an archive of photos, as `spark_job.names` does.
_HIDDEN = HIDDEN_PATH.replace("/", r"\/")
_IS_PHOTO = (
    f"$contains(Key, /({'|'.join(map(re.escape, (*SUFFIXES, ARCHIVE_SUFFIX)))})$/i) and "
    f"$not($contains($substringAfter(Key, $prefix), /{_HIDDEN}/i))"
)
_KEYS_PER_LOOK = 100  # a state passes on 256 KiB at most, and a key may have 1,024 bytes
# The wait between two looks at the job is 1 % of the time so far within these limits, so that the cluster hardly idles
# after the job, and the longest run stays below the 25,000 events that Step Functions allows.
_JOB_SECONDS = {"LEAST_SECONDS": 15, "MOST_SECONDS": 300}
END_SECONDS = 15
#: JSONata: the time at which the execution entered the state, in milliseconds.
NOW = "$toMillis($states.context.State.EnteredTime)"
NO_SUCH_KEY = "S3.NoSuchKeyException"


class States(Construct):
    """All states of a run, not connected. Variables of the state machine hold what the later states need.

    ``no_photos`` and ``too_long`` are the variables that these failures set.
    """

    def __init__(  # noqa: PLR0913 - the states use all the others
        self,
        scope: Construct,
        construct_id: str,
        *,
        cluster: EmrCluster,
        job: Job,
        storage: Buckets,
        topic: sns.ITopic,
        clean_up: CleanUp,
        engine: Engine,
        input_prefix: str,
        longest_run_hours: int,
    ) -> None:
        super().__init__(scope, construct_id)
        self._name = cdk.Stack.of(self).stack_name
        self._cluster, self._storage, self._clean_up = cluster, storage, clean_up
        self._logs_uri = storage.logs.s3_url_for_object(CLUSTER_LOGS)
        self._create_first(input_prefix, _command(job, storage, engine))
        self._create_job(longest_run_hours)
        self._create_end()
        self._create_failure(topic)

    def _create_first(self, input_prefix: str, command: list[str]) -> None:
        """Create the states that come before anything that costs money."""
        comment = "All keys are optional. The given ones must be valid."
        self.read_input = sfn.Pass.jsonata(self, "Read input", comment=comment, assign={"problems": request.problems()})
        self.is_input_valid = sfn.Choice.jsonata(self, "Is the input valid?")
        self.input_is_invalid = sfn.Fail.jsonata(
            self,
            "Input is invalid",
            comment="Nothing was started.",
            error="InputIsWrong",
            cause="{% $trim($problems) %}",
        )
        self.fill_in_defaults = sfn.Pass.jsonata(self, "Fill in defaults", outputs=request.with_defaults(input_prefix))
        unknown = ("cluster_id", "cluster", "error_name", "failure", "leak", "summary", "job_reason", "cluster_reason")
        self.prepare_run = sfn.Pass.jsonata(
            self,
            "Prepare run",
            comment="The run has the name of the execution.",
            assign={
                "run": "{% $states.context.Execution.Name %}",
                "prefix": "{% $states.input.input_prefix %}",
                "command": command,
                "flags": "{% $states.input.recompute ? ['--recompute'] : [] %}",
                # Every key of a folder sorts after the name of the folder, and every key sorts after a space.
                "last_seen": "{% $states.input.input_prefix = '' ? ' ' : $states.input.input_prefix %}",
                **dict.fromkeys(unknown, ""),
                **dict.fromkeys(("looks", "throttled", "end_looks"), 0),
            },
        )
        self.look_for_photos = service_call(
            self,
            "Look for photos",
            "s3",
            "listObjectsV2",
            {
                "Bucket": self._storage.data.bucket_name,
                "Prefix": "{% $prefix %}",
                "MaxKeys": _KEYS_PER_LOOK,
                "StartAfter": "{% $last_seen %}",
            },
            assign={
                "photos": f"{{% $count($states.result.Contents[{_IS_PHOTO}]) %}}",
                # S3 may return a page without objects that is not the last one.
                "has_more": "{% $states.result.IsTruncated %}",
                "last_seen": "{% [$last_seen, $states.result.Contents.Key][-1] %}",
                "looks": "{% $looks + 1 %}",
            },
        )
        retry(self.look_for_photos)
        self.is_there_a_photo = sfn.Choice.jsonata(self, "Is there a photo?", comment="One photo is enough.")
        *suffixes, last = SUFFIXES
        advice = (
            f"put photos there that end in {', '.join(suffixes)} or {last}, or {ARCHIVE_SUFFIX} files with them, "
            "or give another input_prefix."
        )
        place = f"s3://{self._storage.data.bucket_name}/"
        self.no_photos = {
            "error_name": "NoPhotos",
            "failure": f"{{% 'There is no photo under {place}' & $prefix & '; {advice}' %}}",
        }

    def _create_job(self, longest_run_hours: int) -> None:
        """Create the states that start a cluster and watch its job."""
        self.create_cluster = emr_states.create_cluster(
            self,
            "Create cluster",
            self._cluster,
            name=f"{{% '{self._name}-' & $run %}}",
            log_uri=self._logs_uri,
        )
        comment = "RunJobFlow has no idempotency token, so it is repeated only if it certainly started nothing."
        self.was_it_throttled = sfn.Choice.jsonata(self, "Was it throttled?", comment=comment)
        seconds = sfn.WaitTime.seconds("{% 5 * $power(2, $throttled) %}")
        self.wait_to_create = sfn.Wait.jsonata(self, "Wait to create the cluster", time=seconds)
        self.start_job = tasks.EmrAddStep.jsonata(
            self,
            "Start job",
            comment="EMR runs it when the cluster has started.",
            cluster_id="{% $cluster_id %}",
            name="{% $run %}",
            jar="command-runner.jar",
            # One expression yields the whole list, so CDK must take it for a token.
            args=cdk.Token.as_list(cdk.Token.as_any("{% $append($command, $flags) %}")),
            action_on_failure=tasks.ActionOnFailure.TERMINATE_CLUSTER,
            integration_pattern=sfn.IntegrationPattern.REQUEST_RESPONSE,
            task_timeout=minutes(1),
            assign={
                "step_id": "{% $states.result.StepId %}",
                "deadline": f"{{% {NOW} + {longest_run_hours * 3_600_000} %}}",
            },
            outputs={},
        )
        retry(self.start_job)  # EMR's error means that there is no step; if there is, the job refuses a second run
        comment = "Waits for 1 % of the time so far. Its input says how far the job is."
        seconds = sfn.WaitTime.seconds(expression("wait_for_job", **_JOB_SECONDS))
        self.wait_for_job = sfn.Wait.jsonata(self, "Wait for job", comment=comment, time=seconds)
        self.look_at_job = service_call(
            self,
            "Look at job",
            "emr",
            "describeStep",
            {"ClusterId": "{% $cluster_id %}", "StepId": "{% $step_id %}"},
            assign={"step": "{% $states.result.Step.Status %}"},
            outputs={},
        )
        retry(self.look_at_job, 8)  # for more than eight minutes, because a failure ends the run
        self.is_job_over = sfn.Choice.jsonata(self, "Is the job over?")
        self.too_long = {
            "error_name": "JobTookTooLong",
            "failure": f"The job took longer than {longest_run_hours} h and was stopped; it needs more core_nodes or "
            "spot_nodes, or more longest_run_hours.",
        }
        self.read_progress = self._read("Read progress", runs.PROGRESS, outputs=expression("progress"))

    def _create_end(self) -> None:
        """Create the states after the job, whether it succeeded or failed."""
        self.terminate_cluster = tasks.EmrTerminateCluster.jsonata(
            self,
            "Terminate cluster",
            cluster_id="{% $cluster_id %}",
            integration_pattern=sfn.IntegrationPattern.REQUEST_RESPONSE,
            task_timeout=minutes(1),
        )
        retry(self.terminate_cluster, 5)
        self.has_cluster_ended = self._describe_cluster(
            "Has the cluster ended?",
            comment="A run is over when nothing of it is left.",
            assign={
                "cluster_state": "{% $states.result.Cluster.Status.State %}",
                "end_looks": "{% $end_looks + 1 %}",
            },
        )
        retry(self.has_cluster_ended)
        self.is_cluster_gone = sfn.Choice.jsonata(self, "Is the cluster gone?")
        seconds = sfn.WaitTime.duration(cdk.Duration.seconds(END_SECONDS))
        self.wait_for_end = sfn.Wait.jsonata(self, "Wait for the cluster's end", time=seconds)
        self.call_clean_up = tasks.LambdaInvoke.jsonata(
            self,
            "Call the clean-up",
            comment="The clean-up tries again and raises the alarm. The run keeps its result.",
            lambda_function=self._clean_up.function,
            payload=sfn.TaskInput.from_object(self._clean_up.event_after("{% $run %}", alarm=True)),
            invocation_type=tasks.LambdaInvocationType.EVENT,
            retry_on_service_exceptions=False,
            task_timeout=minutes(1),
        )
        retry(self.call_clean_up)
        self.add_up_cost = sfn.Pass.jsonata(self, "Add up the cost", assign={"cluster": self._cost()})
        summary = {"Bucket": self._storage.results.bucket_name, "Key": f"{{% {summary_key()} %}}"}
        self.read_summary = service_call(
            self,
            "Read summary",
            "s3",
            "getObject",
            summary,
            comment="The job writes the summary after the manifest. Its size does not depend on the number of labels.",
            assign={
                "summary": "{% $parse($states.result.Body) %}",
                # If the job failed, this may be the summary of an older run of the same name, which must not count.
                "published": "{% $error_name = '' or $substring($parse($states.result.Body).started, 0, 19) >= "
                "$substring($states.context.Execution.StartTime, 0, 19) %}",
            },
        )
        self.read_summary.add_retry(errors=[NO_SUCH_KEY], max_attempts=0)
        retry(self.read_summary)
        comment = "Without a summary there is no result."
        self.is_result_published = sfn.Choice.jsonata(self, "Was a result published?", comment=comment)
        self.add_cost_to_summary = service_call(
            self,
            "Add the cost to the summary",
            "s3",
            "putObject",
            # Step Functions writes an object as JSON on one line, as the table of the runs expects it.
            {**summary, "Body": "{% $merge([$summary, {'cluster': $cluster}]) %}"},
            comment="The table of the runs then has the cost of each run.",
        )
        retry(self.add_cost_to_summary)
        self.summarise_run = sfn.Pass.jsonata(self, "Summarise run", outputs=self._summary())
        self.run_succeeded = sfn.Succeed.jsonata(self, "Run succeeded")

    def _create_failure(self, topic: sns.ITopic) -> None:
        """Create the states after a failure: find the reason, notify people, fail."""
        self.was_there_a_cluster = sfn.Choice.jsonata(self, "Was there a cluster?")
        self.read_reason = self._read(
            "Read the job's failure reason",
            runs.FAILED,
            comment="The job writes its reason here, unless it was killed.",
            assign={"job_reason": "{% $parse($states.result.Body).reason %}"},
        )
        self.ask_why_cluster_ended = self._describe_cluster(
            "Ask why the cluster ended", assign={"cluster_reason": expression("cluster_reason")}
        )
        retry(self.ask_why_cluster_ended)
        self.choose_reason = sfn.Pass.jsonata(
            self,
            "Choose the reason",
            comment="The job's reason comes first, then EMR's, then the error of the state that failed.",
            outputs={"cause": expression("cause", LOGS=self._logs_uri)},
        )
        self.notify_people = tasks.SnsPublish.jsonata(
            self,
            "Notify people",
            topic=topic,
            subject=f"{{% $substring('{self._name}: ' & $run & ' failed', 0, 100) %}}",
            message=sfn.TaskInput.from_text("{% $error_name & ': ' & $states.input.cause %}"),
            task_timeout=minutes(1),
            outputs="{% $states.input %}",
        )
        retry(self.notify_people)
        self.run_failed = sfn.Fail.jsonata(
            self, "Run failed", error="{% $error_name %}", cause="{% $states.input.cause %}"
        )

    def _read(self, name: str, file: str, **task: Any) -> tasks.CallAwsService:
        """Return the state that reads a file of the run."""
        place = {"Bucket": self._storage.results.bucket_name, "Key": f"{{% {run_key(file)} %}}"}
        return service_call(self, name, "s3", "getObject", place, **task)

    def _describe_cluster(self, name: str, **task: Any) -> tasks.CallAwsService:
        return service_call(self, name, "emr", "describeCluster", {"ClusterId": "{% $cluster_id %}"}, **task)

    def _cost(self) -> str:
        """Return JSONata for what the cluster costs.

        The minutes are those of the execution, which starts seconds before its cluster and waits for the cluster's end.
        """
        nodes, hourly = self._cluster.nodes, self._cluster.nodes.usd_per_hour
        return expression(
            "cost",
            NODES=nodes.count,
            USD_PER_MINUTE=None if hourly is None else round(hourly / 60, 6),
            MINIMUM_MINUTES=MINIMUM_MINUTES,
            NOTE=nodes.note,
        )

    def _summary(self) -> str:
        """Return JSONata for the output of a run that succeeded."""
        results, region = self._storage.results.bucket_name, cdk.Stack.of(self).region
        console = f"https://{region}.console.aws.amazon.com"
        return expression(
            "summary",
            RESULTS=results,
            CONSOLE=f"{console}/s3/object/{results}?region={region}&prefix=",
            QUERY_EDITOR=f"{console}/athena/home?region={region}#/query-editor",
            WORKGROUP=self._name,
            DATABASE=catalogue.database(self._name),
            **{name: getattr(runs, name) for name in ("RUNS", "REPORT", "FEATURES", "PCA", "MANIFEST")},
        )


def _command(job: Job, storage: Buckets, engine: Engine) -> list[str]:
    """Return the arguments of the step. Those with ``{% %}`` are JSONata on the completed input."""
    return [
        "spark-submit",
        *("--deploy-mode", "cluster"),
        *("--archives", f"{job.environment}#{ENVIRONMENT},{job.code}#{CODE}"),
        *(job.main, "run"),
        *("--input", f"{{% 's3://{storage.data.bucket_name}/' & $states.input.input_prefix %}}"),
        *("--output", f"s3://{storage.results.bucket_name}"),
        *("--weights", job.model),
        *("--engine", engine),
        *("--components", "{% $string($states.input.components) %}"),
        *("--max-rejected", "{% $string($states.input.max_rejected) %}"),
        *("--run-id", "{% $states.context.Execution.Name %}"),
    ]


def service_call(
    scope: Construct, construct_id: str, service: str, action: str, parameters: Mapping[str, Any], **task: Any
) -> tasks.CallAwsService:
    """Return the state that calls an action of an AWS service, for one minute at most."""
    return tasks.CallAwsService.jsonata(
        scope,
        construct_id,
        service=service,
        action=action,
        parameters=parameters,
        iam_resources=["*"],  # CDK requires a value, but the role takes no policies from CDK
        task_timeout=minutes(1),
        **task,
    )


def retry(task: sfn.TaskStateBase, attempts: int = 3) -> None:
    """Retry `task` after any error. Use this only for tasks that may run twice."""
    task.add_retry(
        errors=["States.TaskFailed", "States.Timeout"], max_attempts=attempts, interval=cdk.Duration.seconds(2)
    )
