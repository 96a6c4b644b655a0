"""The state machine of a run: the sequence of states from the input to the results."""

import re
from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sns as sns
from aws_cdk import aws_stepfunctions as sfn
from aws_cdk import aws_stepfunctions_tasks as tasks
from constructs import Construct

from cdk_app import cost, emr_states, request
from cdk_app.buckets import CLUSTER_LOGS, Buckets, run_key
from cdk_app.bundle import Job
from cdk_app.cleanup import CleanUp
from cdk_app.emr_cluster import CODE, ENVIRONMENT, EmrCluster
from cdk_app.failure import CAUSE, REASONS, caught, failure_states
from cdk_app.prices import Nodes
from cdk_app.state_machine import minutes, retry, service_call, state_machine, state_machine_role
from spark_job import runs
from spark_job.network.images import SUFFIXES
from spark_job.settings import Engine

_IMAGE_PATTERN = f"({'|'.join(map(re.escape, SUFFIXES))})$"
_START_AFTER = "($last_seen != '' ? $last_seen : $prefix != '' ? $prefix : ' ')"
_KEYS_PER_LOOK = 100  # a state passes on 256 KiB at most, and a key may have 1,024 bytes
_SECONDS_PER_END_LOOK, _MAX_END_LOOKS = 15, 40  # ten minutes in all
_MAX_LOOKS = 200  # after 20,000 objects that are not images, let the job decide


def longest_execution(longest_run_hours: int) -> cdk.Duration:
    """Return how long an execution may take: the job, and 45 minutes for all other states.

    The time-out of the job must come first: Step Functions runs no catch after the time-out of a state machine.
    """
    return cdk.Duration.minutes(longest_run_hours * 60 + 45)


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
        self._logs_uri = storage.logs.s3_url_for_object(CLUSTER_LOGS)
        self._longest_run_hours = longest_run_hours
        self.role = state_machine_role(self, "The workflow: create one cluster per run, run the job, end the cluster")
        emr_states.allow_running_jobs(self.role, cluster)
        self.state_machine = state_machine(
            self,
            name=self._name,
            comment="Image features of the photos in the data bucket. Start it with {}.",
            role=self.role,
            definition=self._definition(_command(job, storage, engine), input_prefix, topic),
            timeout=longest_execution(longest_run_hours),
            keep_logs_days=keep_logs_days,
        )

    def _definition(self, command: list[str], input_prefix: str, topic: sns.ITopic) -> sfn.Chain:
        """Return the states. They are created from the last to the first, because each state names the next."""
        results = self._storage.results.bucket_name
        explain = failure_states(
            self,
            stack_name=self._name,
            results=results,
            logs_uri=self._logs_uri,
            topic=topic,
            nodes=self._cluster.nodes,
        )
        create = self._create_cluster(explain).next(self._run_job(self._finish(explain)))
        prepare = self._prepare(command, input_prefix).next(self._look_for_images(explain, create))
        wrong = sfn.Fail.jsonata(
            self,
            "Input is invalid",
            comment="Nothing was started.",
            error="InputIsWrong",
            cause="{% $trim($problems) %}",
        )
        return sfn.Pass.jsonata(
            self,
            "Read input",
            comment="All keys are optional. The given ones must be valid.",
            assign={"problems": request.problems()},
        ).next(
            sfn.Choice.jsonata(self, "Is the input valid?")
            .when(sfn.Condition.jsonata("{% $problems != '' %}"), wrong)
            .otherwise(prepare)
        )

    def _prepare(self, command: list[str], input_prefix: str) -> sfn.Chain:
        fill_in = sfn.Pass.jsonata(self, "Fill in defaults", outputs=request.with_defaults(input_prefix))
        prepare = sfn.Pass.jsonata(
            self,
            "Prepare run",
            comment="The run has the name of the execution.",
            assign={
                "run": "{% $states.context.Execution.Name %}",
                "prefix": "{% $states.input.input_prefix %}",
                "command": command,
                "flags": "{% $states.input.recompute ? ['--recompute'] : [] %}",
                **dict.fromkeys(("cluster_id", "error_name", "failure", "leak", "last_seen", *REASONS), ""),
                "summary": "{% null %}",
                "looks": 0,
                "end_looks": 0,
            },
        )
        return fill_in.next(prepare)

    def _look_for_images(self, explain: sfn.IChainable, create: sfn.IChainable) -> sfn.Chain:
        bucket = self._storage.data.bucket_name
        look = service_call(
            self,
            "Look for images",
            "s3",
            "listObjectsV2",
            {
                "Bucket": bucket,
                "Prefix": "{% $prefix %}",
                "MaxKeys": _KEYS_PER_LOOK,
                # Every key of a folder sorts after the name of the folder, and every key sorts after a space.
                "StartAfter": f"{{% {_START_AFTER} %}}",
            },
            comment="Comes before anything that costs money.",
            assign={
                "images": f"{{% $count($states.result.Contents[$contains(Key, /{_IMAGE_PATTERN}/i)]) %}}",
                # S3 may return a page without objects that is not the last one.
                "last_seen": f"{{% $states.result.IsTruncated ? "
                f"[{_START_AFTER}, $states.result.Contents.Key][-1] : '' %}}",
                "looks": "{% $looks + 1 %}",
            },
        )
        retry(look)
        look.add_catch(explain, errors=["States.ALL"], assign=caught("InputUnreadable"))
        *suffixes, last_suffix = SUFFIXES
        none = sfn.Pass.jsonata(
            self,
            "There is no image",
            assign={
                "error_name": "NoImages",
                "failure": f"{{% 'There is no image under s3://{bucket}/' & $prefix & '; put photos there that end in "
                f"{', '.join(suffixes)} or {last_suffix}, or give another input_prefix.' %}}",
            },
        ).next(explain)
        return look.next(
            sfn.Choice.jsonata(self, "Is there an image?", comment="One image is enough.")
            .when(sfn.Condition.jsonata(f"{{% $images = 0 and $last_seen != '' and $looks < {_MAX_LOOKS} %}}"), look)
            .when(sfn.Condition.jsonata("{% $images = 0 and $last_seen = '' %}"), none)
            .otherwise(create)
        )

    def _create_cluster(self, explain: sfn.IChainable) -> tasks.EmrCreateCluster:
        name = f"{{% '{self._name}-' & $run %}}"
        create = emr_states.create_cluster(self, "Create cluster", self._cluster, name=name, log_uri=self._logs_uri)
        create.add_catch(explain, errors=["States.ALL"], assign=caught("ClusterNotCreated"))
        return create

    def _run_job(self, finish: sfn.IChainable) -> sfn.Chain:
        run = emr_states.run_step(
            self,
            "Run job",
            name="{% $run %}",
            # One expression yields the whole list, so CDK must take it for a token.
            arguments=cdk.Token.as_list(cdk.Token.as_any("{% $append($command, $flags) %}")),
            timeout=cdk.Duration.hours(self._longest_run_hours),
        )
        too_long = (
            f"The job took longer than {self._longest_run_hours} h and was stopped; it needs more core_nodes or "
            "spot_nodes, or more longest_run_hours."
        )
        run.add_catch(finish, errors=["States.Timeout"], assign={"error_name": "JobTookTooLong", "failure": too_long})
        run.add_catch(finish, errors=["States.ALL"], assign=caught("JobFailed"))
        return run.next(finish)

    def _finish(self, explain: sfn.IChainable) -> sfn.Chain:
        """Return the states after the job, whether it succeeded or failed."""
        summarise = sfn.Pass.jsonata(
            self, "Summarise run", outputs=_summary(self._storage.results, self._cluster.nodes)
        )
        summarise.next(sfn.Succeed.jsonata(self, "Run succeeded"))
        decide = (
            sfn.Choice.jsonata(self, "Was a result published?", comment="Without a summary there is no result.")
            .when(sfn.Condition.jsonata("{% $published %}"), summarise)
            .otherwise(explain)
        )
        read = self._read_summary(decide)
        clean_up = self._call_clean_up(read)
        ended = self._wait_for_end(read, clean_up)
        read.next(decide)
        return self._terminate(ended, clean_up)

    def _terminate(self, ended: sfn.Chain, clean_up: sfn.IChainable) -> sfn.Chain:
        terminate = emr_states.terminate_cluster(
            self, "Terminate cluster", "{% $cluster_id %}", comment="Runs whether the job succeeded or failed."
        )
        retry(terminate, 5)
        terminate.add_catch(
            clean_up, errors=["States.ALL"], assign={"leak": _leak("could not be terminated", f"' (' & {CAUSE} & ')'")}
        )
        return terminate.next(ended)

    def _wait_for_end(self, read: sfn.IChainable, clean_up: sfn.IChainable) -> sfn.Chain:
        """Return the states that wait until the cluster is gone, so that the stack can be destroyed after the run."""
        look = emr_states.describe_cluster(
            self,
            "Has the cluster ended?",
            comment="A run is over when nothing of it is left.",
            assign={
                "cluster_state": "{% $states.result.Cluster.Status.State %}",
                "end_looks": "{% $end_looks + 1 %}",
            },
        )
        retry(look)
        look.add_catch(
            clean_up, errors=["States.ALL"], assign={"leak": _leak("may not have ended", f"' (' & {CAUSE} & ')'")}
        )
        wait = sfn.Wait.jsonata(
            self, "Wait for the cluster's end", time=sfn.WaitTime.duration(cdk.Duration.seconds(_SECONDS_PER_END_LOOK))
        ).next(look)
        minutes_waited = _MAX_END_LOOKS * _SECONDS_PER_END_LOOK // 60
        give_up = sfn.Pass.jsonata(
            self,
            "The cluster does not end",
            assign={"leak": _leak(f"was told to terminate, but had not ended {minutes_waited} minutes later")},
        ).next(clean_up)
        return look.next(
            sfn.Choice.jsonata(self, "Is the cluster gone?")
            .when(sfn.Condition.jsonata("{% $cluster_state in ['TERMINATED', 'TERMINATED_WITH_ERRORS'] %}"), read)
            .when(sfn.Condition.jsonata(f"{{% $end_looks < {_MAX_END_LOOKS} %}}"), wait)
            .otherwise(give_up)
        )

    def _call_clean_up(self, read: sfn.IChainable) -> tasks.LambdaInvoke:
        call = tasks.LambdaInvoke.jsonata(
            self,
            "Call the clean-up",
            comment="The clean-up tries again and raises the alarm. The run keeps its result.",
            lambda_function=self._clean_up.function,
            payload=sfn.TaskInput.from_object(self._clean_up.event_after("{% $run %}", alarm=True)),
            invocation_type=tasks.LambdaInvocationType.EVENT,
            retry_on_service_exceptions=False,
            task_timeout=minutes(1),
        )
        retry(call, 3)
        call.add_catch(read, errors=["States.ALL"])
        call.next(read)
        return call

    def _read_summary(self, decide: sfn.Choice) -> tasks.CallAwsService:
        read = service_call(
            self,
            "Read summary",
            "s3",
            "getObject",
            {"Bucket": self._storage.results.bucket_name, "Key": f"{{% {run_key(runs.SUMMARY)} %}}"},
            comment="The job writes the summary after the manifest. Its size does not depend on the number of labels.",
            assign={
                "summary": "{% $parse($states.result.Body) %}",
                # If the job failed, this may be the summary of an older run of the same name, which must not count.
                "published": "{% $error_name = '' or $substring($parse($states.result.Body).started, 0, 19) >= "
                "$substring($states.context.Execution.StartTime, 0, 19) %}",
            },
        )
        read.add_retry(errors=["S3.NoSuchKeyException"], max_attempts=0)
        retry(read)
        read.add_catch(
            decide,
            errors=["S3.NoSuchKeyException"],
            assign={
                "published": "{% false %}",
                "error_name": "{% $error_name = '' ? 'NoSummary' : $error_name %}",
                "failure": "{% $failure = '' ? 'The job succeeded but wrote no summary.' : $failure %}",
            },
        )
        # The summary exists but cannot be read. If the job succeeded, it is new.
        read.add_catch(decide, errors=["States.ALL"], assign={"published": "{% $error_name = '' %}"})
        return read


def _leak(what: str, detail: str = "''") -> str:
    """Return JSONata for the warning that the cluster may still run; `detail` is JSONata."""
    return f"{{% 'The cluster ' & $cluster_id & ' {what}; the clean-up was called.' & {detail} %}}"


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


def _summary(results: s3.IBucket, nodes: Nodes) -> dict[str, Any]:
    """Return the output of a run that succeeded."""
    bucket, region = results.bucket_name, cdk.Stack.of(results).region
    console = f"https://{region}.console.aws.amazon.com/s3/object/{bucket}?region={region}&prefix="

    def uri(key: str) -> str:
        return f"{{% 's3://{bucket}/' & {key} %}}"

    return {
        "run": "{% $run %}",
        "images": "{% $summary = null ? null : $summary.counts %}",
        "components": "{% $summary = null ? null : $summary.pca.components %}",
        "variance_kept": "{% $summary = null ? null : $summary.pca.variance_kept %}",
        "images_per_second": "{% $summary = null ? null : $summary.images_per_second %}",
        "cluster": cost.output(nodes),
        "report": uri(run_key(runs.REPORT)),
        "report_in_console": f"{{% '{console}' & {run_key(runs.REPORT)} %}}",
        "features": uri(run_key(f"{runs.FEATURES}/")),
        "pca": uri(run_key(f"{runs.PCA}/")),
        "manifest": uri(run_key(runs.MANIFEST)),
        "warnings": "{% ["
        "$summary = null ? 'The state machine could not read the summary; the counts are in the manifest.',\n"
        "  $summary != null and $summary.model.weights = 'random' ? "
        "'The weights are random: the features show that the job works, but they say nothing about fruit.',\n"
        "  $error_name != '' ? 'The run published its results. After that, an error occurred: ' & $failure,\n"
        "  $leak != '' ? $leak] %}",
    }
