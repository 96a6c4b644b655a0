"""The state machine of a run: its states, and their sequence from the input to the results."""

import re
from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_sns as sns
from aws_cdk import aws_stepfunctions as sfn
from aws_cdk import aws_stepfunctions_tasks as tasks
from constructs import Construct

from cdk_app import emr_states, request
from cdk_app.buckets import CLUSTER_LOGS, Buckets, run_key
from cdk_app.bundle import Job
from cdk_app.cleanup import CleanUp
from cdk_app.emr_cluster import CODE, ENVIRONMENT, EmrCluster
from cdk_app.jsonata import expression
from cdk_app.prices import MINIMUM_MINUTES
from cdk_app.state_machine import minutes, retry, service_call, state_machine, state_machine_role
from spark_job import runs
from spark_job.network.images import SUFFIXES
from spark_job.settings import Engine

_IMAGE_PATTERN = f"({'|'.join(map(re.escape, SUFFIXES))})$"
_KEYS_PER_LOOK = 100  # a state passes on 256 KiB at most, and a key may have 1,024 bytes
_MAX_LOOKS = 200  # after 20,000 objects that are not images, let the job decide
_MAX_THROTTLED = 5
# The wait between two looks at the job is 1 % of the time so far within these limits, so that the cluster hardly idles
# after the job, and the longest run stays below the 25,000 events that Step Functions allows.
_JOB_SECONDS = {"LEAST_SECONDS": 15, "MOST_SECONDS": 300}
_END_SECONDS, _MAX_END_LOOKS = 15, 40  # ten minutes in all

# JSONata
_NOW = "$toMillis($states.context.State.EnteredTime)"
_CAUSE = "($exists($states.errorOutput.Cause) ? $states.errorOutput.Cause : $states.errorOutput.Error)"
# Nothing documents the name of this error in Step Functions. People report EMR.AmazonElasticMapReduceException, which
# may be any error of EMR. So the text decides: https://repost.aws/knowledge-center/emr-cluster-status-throttling-error
_THROTTLED = "/ThrottlingException|Rate exceeded/"
_NOT_COMPLETED = "['FAILED', 'CANCELLED', 'INTERRUPTED']"
_ENDED = "['TERMINATED', 'TERMINATED_WITH_ERRORS']"
_NOT_ENDED = f"was told to terminate, but had not ended {_MAX_END_LOOKS * _END_SECONDS // 60} minutes later"
_NO_SUCH_KEY = "S3.NoSuchKeyException"
_JOB_FAILED = {"error_name": "JobFailed", "failure": expression("step_failure")}
_NO_SUMMARY = {
    "published": "{% false %}",
    "error_name": "{% $error_name = '' ? 'NoSummary' : $error_name %}",
    "failure": "{% $failure = '' ? 'The job succeeded but wrote no summary.' : $failure %}",
}


def longest_execution(longest_run_hours: int) -> cdk.Duration:
    """Return how long an execution may take: the job, and one hour for all other states.

    The state machine must end the job first: Step Functions runs no catch after the time-out of a state machine.
    """
    return cdk.Duration.hours(longest_run_hours + 1)


class Workflow(Construct):
    """The state machine that a person starts with ``{}`` in the console.

    Every run takes the same path, whether the job succeeds or fails: first the cluster is terminated, then the summary
    decides. The job writes the summary after everything else, so a run with a summary has a result. Variables of the
    state machine hold what the later states need.
    """

    def __init__(  # noqa: PLR0913 - it connects all the others
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
        keep_logs_days: int,
    ) -> None:
        super().__init__(scope, construct_id)
        self._name = cdk.Stack.of(self).stack_name
        self._cluster, self._storage, self._clean_up = cluster, storage, clean_up
        self._longest_run_hours = longest_run_hours
        self._logs_uri = storage.logs.s3_url_for_object(CLUSTER_LOGS)
        self.role = state_machine_role(self, "The workflow: create one cluster per run, run the job, end the cluster")
        emr_states.allow_running_jobs(self.role, cluster)
        self._create_first_states(input_prefix, _command(job, storage, engine))
        self._create_states_of_job()
        self._create_states_of_end()
        self._create_states_of_failure(topic)
        self.state_machine = state_machine(
            self,
            name=self._name,
            comment="Image features of the photos in the data bucket. Start it with {}.",
            role=self.role,
            definition=self._sequence(),
            timeout=longest_execution(longest_run_hours),
            keep_logs_days=keep_logs_days,
        )

    def _sequence(self) -> sfn.IChainable:
        """Connect the states, from the first to the last, and return the first."""
        # The input and the photos, before anything that costs money
        self._read_input.next(self._is_input_valid)
        self._is_input_valid.when(_if("$problems != ''"), self._input_is_invalid).otherwise(self._fill_in_defaults)
        self._fill_in_defaults.next(self._prepare_run).next(self._look_for_images).next(self._is_there_an_image)
        self._look_for_images.add_catch(self._was_there_a_cluster, assign=_caught("InputUnreadable"))
        (
            self._is_there_an_image.when(_if("$images > 0"), self._create_cluster)
            .when(_if("$not($has_more)"), self._was_there_a_cluster, assign=_no_images(self._storage.data.bucket_name))
            .when(_if(f"$looks < {_MAX_LOOKS}"), self._look_for_images)
            .otherwise(self._create_cluster)
        )
        # The cluster and the job
        self._create_cluster.next(self._start_job)
        self._create_cluster.add_catch(self._was_it_throttled, assign=_caught("ClusterNotCreated"))
        (
            self._was_it_throttled.when(
                _if(f"$throttled < {_MAX_THROTTLED} and $contains($failure, {_THROTTLED})"),
                self._wait_to_create,
                assign={"error_name": "", "failure": "", "throttled": "{% $throttled + 1 %}"},
            ).otherwise(self._was_there_a_cluster)
        )
        self._wait_to_create.next(self._create_cluster)
        self._start_job.next(self._wait_for_job).next(self._look_at_job).next(self._is_job_over)
        self._start_job.add_catch(self._terminate_cluster, assign=_caught("JobFailed"))
        self._look_at_job.add_catch(self._terminate_cluster, assign=_caught("JobFailed"))
        (
            self._is_job_over.when(_if("$step.State = 'COMPLETED'"), self._terminate_cluster)
            .when(_if(f"$step.State in {_NOT_COMPLETED}"), self._terminate_cluster, assign=_JOB_FAILED)
            .when(_if(f"{_NOW} > $deadline"), self._terminate_cluster, assign=_too_long(self._longest_run_hours))
            .when(_if("$step.State = 'RUNNING'"), self._read_progress)
            .otherwise(self._wait_for_job)
        )
        self._read_progress.next(self._wait_for_job)
        self._read_progress.add_catch(self._wait_for_job, outputs={})
        # The end of the cluster, whether the job succeeded or failed
        self._terminate_cluster.next(self._has_cluster_ended).next(self._is_cluster_gone)
        self._terminate_cluster.add_catch(self._call_clean_up, assign=_leak("could not be terminated"))
        self._has_cluster_ended.add_catch(self._call_clean_up, assign=_leak("may not have ended"))
        (
            self._is_cluster_gone.when(_if(f"$cluster_state in {_ENDED}"), self._add_up_cost)
            .when(_if(f"$end_looks = {_MAX_END_LOOKS}"), self._call_clean_up, assign=_leak(_NOT_ENDED, ""))
            .otherwise(self._wait_for_end)
        )
        self._wait_for_end.next(self._has_cluster_ended)
        self._call_clean_up.next(self._add_up_cost)
        self._call_clean_up.add_catch(self._add_up_cost)
        # The result
        self._add_up_cost.next(self._read_summary).next(self._is_result_published)
        self._read_summary.add_catch(self._is_result_published, errors=[_NO_SUCH_KEY], assign=_NO_SUMMARY)
        self._read_summary.add_catch(self._is_result_published, assign={"published": "{% $error_name = '' %}"})
        self._is_result_published.when(_if("$published"), self._summarise_run).otherwise(self._was_there_a_cluster)
        self._summarise_run.next(self._run_succeeded)
        # The reason for a failure
        self._was_there_a_cluster.when(_if("$cluster_id != ''"), self._read_reason).otherwise(self._choose_reason)
        self._read_reason.next(self._ask_why_cluster_ended).next(self._choose_reason)
        self._read_reason.add_catch(self._ask_why_cluster_ended)
        self._ask_why_cluster_ended.add_catch(self._choose_reason)
        self._choose_reason.next(self._notify_people).next(self._run_failed)
        self._notify_people.add_catch(self._run_failed, outputs="{% $states.input %}")
        return self._read_input

    def _create_first_states(self, input_prefix: str, command: list[str]) -> None:
        """Create the states that come before anything that costs money."""
        comment = "All keys are optional. The given ones must be valid."
        self._read_input = sfn.Pass.jsonata(
            self, "Read input", comment=comment, assign={"problems": request.problems()}
        )
        self._is_input_valid = sfn.Choice.jsonata(self, "Is the input valid?")
        self._input_is_invalid = sfn.Fail.jsonata(
            self,
            "Input is invalid",
            comment="Nothing was started.",
            error="InputIsWrong",
            cause="{% $trim($problems) %}",
        )
        self._fill_in_defaults = sfn.Pass.jsonata(self, "Fill in defaults", outputs=request.with_defaults(input_prefix))
        unknown = ("cluster_id", "cluster", "error_name", "failure", "leak", "summary", "job_reason", "cluster_reason")
        self._prepare_run = sfn.Pass.jsonata(
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
        self._look_for_images = service_call(
            self,
            "Look for images",
            "s3",
            "listObjectsV2",
            {
                "Bucket": self._storage.data.bucket_name,
                "Prefix": "{% $prefix %}",
                "MaxKeys": _KEYS_PER_LOOK,
                "StartAfter": "{% $last_seen %}",
            },
            assign={
                "images": f"{{% $count($states.result.Contents[$contains(Key, /{_IMAGE_PATTERN}/i)]) %}}",
                # S3 may return a page without objects that is not the last one.
                "has_more": "{% $states.result.IsTruncated %}",
                "last_seen": "{% [$last_seen, $states.result.Contents.Key][-1] %}",
                "looks": "{% $looks + 1 %}",
            },
        )
        retry(self._look_for_images)
        self._is_there_an_image = sfn.Choice.jsonata(self, "Is there an image?", comment="One image is enough.")

    def _create_states_of_job(self) -> None:
        """Create the states that start a cluster and watch its job."""
        self._create_cluster = emr_states.create_cluster(
            self,
            "Create cluster",
            self._cluster,
            name=f"{{% '{self._name}-' & $run %}}",
            log_uri=self._logs_uri,
        )
        comment = "RunJobFlow has no idempotency token, so it is repeated only if it certainly started nothing."
        self._was_it_throttled = sfn.Choice.jsonata(self, "Was it throttled?", comment=comment)
        seconds = sfn.WaitTime.seconds("{% 5 * $power(2, $throttled) %}")
        self._wait_to_create = sfn.Wait.jsonata(self, "Wait to create the cluster", time=seconds)
        self._start_job = emr_states.add_step(
            self,
            "Start job",
            comment="EMR runs it when the cluster has started.",
            name="{% $run %}",
            # One expression yields the whole list, so CDK must take it for a token.
            arguments=cdk.Token.as_list(cdk.Token.as_any("{% $append($command, $flags) %}")),
            assign={
                "step_id": "{% $states.result.StepId %}",
                "deadline": f"{{% {_NOW} + {self._longest_run_hours * 3_600_000} %}}",
            },
            outputs={},
        )
        retry(self._start_job)  # EMR's error means that there is no step; if there is, the job refuses a second run
        comment = "Waits for 1 % of the time so far. Its input says how far the job is."
        seconds = sfn.WaitTime.seconds(expression("wait_for_job", **_JOB_SECONDS))
        self._wait_for_job = sfn.Wait.jsonata(self, "Wait for job", comment=comment, time=seconds)
        self._look_at_job = service_call(
            self,
            "Look at job",
            "emr",
            "describeStep",
            {"ClusterId": "{% $cluster_id %}", "StepId": "{% $step_id %}"},
            assign={"step": "{% $states.result.Step.Status %}"},
            outputs={},
        )
        retry(self._look_at_job, 8)  # for more than eight minutes, because a failure ends the run
        self._is_job_over = sfn.Choice.jsonata(self, "Is the job over?")
        self._read_progress = self._read("Read progress", runs.PROGRESS, outputs=expression("progress"))

    def _create_states_of_end(self) -> None:
        """Create the states after the job, whether it succeeded or failed."""
        self._terminate_cluster = emr_states.terminate_cluster(self, "Terminate cluster", "{% $cluster_id %}")
        retry(self._terminate_cluster, 5)
        self._has_cluster_ended = self._describe_cluster(
            "Has the cluster ended?",
            comment="A run is over when nothing of it is left.",
            assign={
                "cluster_state": "{% $states.result.Cluster.Status.State %}",
                "end_looks": "{% $end_looks + 1 %}",
            },
        )
        retry(self._has_cluster_ended)
        self._is_cluster_gone = sfn.Choice.jsonata(self, "Is the cluster gone?")
        seconds = sfn.WaitTime.duration(cdk.Duration.seconds(_END_SECONDS))
        self._wait_for_end = sfn.Wait.jsonata(self, "Wait for the cluster's end", time=seconds)
        self._call_clean_up = tasks.LambdaInvoke.jsonata(
            self,
            "Call the clean-up",
            comment="The clean-up tries again and raises the alarm. The run keeps its result.",
            lambda_function=self._clean_up.function,
            payload=sfn.TaskInput.from_object(self._clean_up.event_after("{% $run %}", alarm=True)),
            invocation_type=tasks.LambdaInvocationType.EVENT,
            retry_on_service_exceptions=False,
            task_timeout=minutes(1),
        )
        retry(self._call_clean_up)
        self._add_up_cost = sfn.Pass.jsonata(self, "Add up the cost", assign={"cluster": self._cost()})
        self._read_summary = self._read(
            "Read summary",
            runs.SUMMARY,
            comment="The job writes the summary after the manifest. Its size does not depend on the number of labels.",
            assign={
                "summary": "{% $parse($states.result.Body) %}",
                # If the job failed, this may be the summary of an older run of the same name, which must not count.
                "published": "{% $error_name = '' or $substring($parse($states.result.Body).started, 0, 19) >= "
                "$substring($states.context.Execution.StartTime, 0, 19) %}",
            },
        )
        self._read_summary.add_retry(errors=[_NO_SUCH_KEY], max_attempts=0)
        retry(self._read_summary)
        comment = "Without a summary there is no result."
        self._is_result_published = sfn.Choice.jsonata(self, "Was a result published?", comment=comment)
        self._summarise_run = sfn.Pass.jsonata(self, "Summarise run", outputs=self._summary())
        self._run_succeeded = sfn.Succeed.jsonata(self, "Run succeeded")

    def _create_states_of_failure(self, topic: sns.ITopic) -> None:
        """Create the states after a failure: find the reason, notify people, fail."""
        self._was_there_a_cluster = sfn.Choice.jsonata(self, "Was there a cluster?")
        self._read_reason = self._read(
            "Read the job's failure reason",
            runs.FAILED,
            comment="The job writes its reason here, unless it was killed.",
            assign={"job_reason": "{% $parse($states.result.Body).reason %}"},
        )
        self._ask_why_cluster_ended = self._describe_cluster(
            "Ask why the cluster ended", assign={"cluster_reason": expression("cluster_reason")}
        )
        retry(self._ask_why_cluster_ended)
        self._choose_reason = sfn.Pass.jsonata(
            self,
            "Choose the reason",
            comment="The job's reason comes first, then EMR's, then the error of the state that failed.",
            outputs={"cause": expression("cause", LOGS=self._logs_uri)},
        )
        self._notify_people = tasks.SnsPublish.jsonata(
            self,
            "Notify people",
            topic=topic,
            subject=f"{{% $substring('{self._name}: ' & $run & ' failed', 0, 100) %}}",
            message=sfn.TaskInput.from_text("{% $error_name & ': ' & $states.input.cause %}"),
            task_timeout=minutes(1),
            outputs="{% $states.input %}",
        )
        retry(self._notify_people)
        self._run_failed = sfn.Fail.jsonata(
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
        return expression(
            "summary",
            RESULTS=results,
            CONSOLE=f"https://{region}.console.aws.amazon.com/s3/object/{results}?region={region}&prefix=",
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


def _no_images(bucket: str) -> dict[str, str]:
    *suffixes, last = SUFFIXES
    advice = f"put photos there that end in {', '.join(suffixes)} or {last}, or give another input_prefix."
    return {
        "error_name": "NoImages",
        "failure": f"{{% 'There is no image under s3://{bucket}/' & $prefix & '; {advice}' %}}",
    }


def _too_long(hours: int) -> dict[str, str]:
    advice = "it needs more core_nodes or spot_nodes, or more longest_run_hours."
    return {
        "error_name": "JobTookTooLong",
        "failure": f"The job took longer than {hours} h and was stopped; {advice}",
    }


def _if(condition: str) -> sfn.Condition:
    return sfn.Condition.jsonata(f"{{% {condition} %}}")


def _caught(error: str) -> dict[str, str]:
    """Return the assignments of a catch that fails the run: the name of the error, and its message."""
    return {"error_name": error, "failure": f"{{% {_CAUSE} %}}"}


def _leak(what: str, detail: str = f" & ' (' & {_CAUSE} & ')'") -> dict[str, str]:
    """Return the warning that the cluster may still run; `detail` is JSONata."""
    return {"leak": f"{{% 'The cluster ' & $cluster_id & ' {what}; the clean-up was called.'{detail} %}}"}
