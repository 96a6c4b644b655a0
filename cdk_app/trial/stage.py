"""A deployed stage, as a trial uses it: it uploads photos, runs once, reads the results, and removes the photos."""

import json
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

from botocore.exceptions import ClientError

from cdk_app import catalogue
from cdk_app.account import AWS_ERRORS, Client, clients, code, pages, sentence
from cdk_app.stage_settings import SettingsError, StageSettings
from cdk_app.trial.judgement import Json, Times
from spark_job import runs
from spark_job.progress import StageProgress

_ATTEMPTS = 20  # a request may fail for some minutes without ending the trial
_LOOK_SECONDS = 5
_LONGEST = runs.MAX_DURATION + timedelta(hours=1)

#: The signals with which a person or `make` ends the command.
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class TrialError(Exception):
    """The trial failed. The message is what to tell the person."""


@dataclass(frozen=True)
class Stage:
    """The clients of the account, the name of the stack, its buckets, and the ARN of its state machine."""

    client: Client
    name: str
    data: str
    results: str
    state_machine: str

    @classmethod
    def find(cls, settings: StageSettings) -> Self:
        """Return the deployed stage; raise SettingsError if there is none."""
        client = clients(settings.region, _ATTEMPTS)
        try:
            (stack,) = client("cloudformation").describe_stacks(StackName=settings.name)["Stacks"]
            outputs = {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}
            data, results = (outputs[key].split("/")[2] for key in ("Photos", "Results"))
            return cls(client, settings.name, data, results, outputs["StartHere"].rpartition("/")[2])
        except (ClientError, KeyError) as error:
            if isinstance(error, ClientError) and code(error) != "ValidationError":
                raise
            raise SettingsError(
                f"There is no deployed stack {settings.name} in {settings.region}; deploy it first, or give the "
                "settings with which it was deployed, such as -c stage=prod."
            ) from error

    def latest(self) -> bytes | None:
        """Return what `latest.json` says, or None if there is no run."""
        return self._read(runs.LATEST)

    def upload(self, folder: Path, prefix: str) -> list[str]:
        """Upload a folder below a prefix, and return the paths in the folder."""
        paths = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
        s3 = self.client("s3")
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda path: s3.upload_file(str(folder / path), self.data, prefix + path), paths))
        return paths

    def start(self, run: str, given: Json) -> None:
        """Start the execution of a run."""
        states = self.client("stepfunctions")
        states.start_execution(stateMachineArn=self.state_machine, name=run, input=json.dumps(given))

    def clean_up(self, run: str, prefix: str, latest: bytes | None) -> None:
        """Stop the execution if it still runs, let `latest.json` be as before, and remove the photos.

        No signal interrupts this, and no step prevents the others.

        Raises
        ------
        TrialError
            If a step fails.
        """
        handlers = {number: signal.signal(number, signal.SIG_IGN) for number in SIGNALS}
        try:
            with ExitStack() as steps:  # it takes the last one first
                steps.callback(self._remove, prefix)
                steps.callback(self._point_back, latest, run)
                steps.callback(self._stop, run)
        except AWS_ERRORS as error:
            raise TrialError(
                f"Something of the trial is left. Look at the execution {run} and its cluster, at "
                f"s3://{self.data}/{prefix}, and at s3://{self.results}/{runs.LATEST}. {sentence(error)}"
            ) from error
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def _stop(self, run: str) -> None:
        states, arn = self.client("stepfunctions"), self._execution(run)
        try:
            if states.describe_execution(executionArn=arn)["status"] != "RUNNING":
                return
        except states.exceptions.ExecutionDoesNotExist:
            return
        states.stop_execution(executionArn=arn)
        # The clean-up of the stage ends the cluster as well, a minute or two later.
        if clusters := [cluster["Id"] for cluster in self._clusters(run)]:
            self.client("emr").terminate_job_flows(JobFlowIds=clusters)

    def _point_back(self, latest: bytes | None, run: str) -> None:
        s3, place = self.client("s3"), {"Bucket": self.results, "Key": runs.LATEST}
        if latest is None:
            return
        answer = s3.get_object(**place)
        if json.load(answer["Body"])["run_id"] == run:
            s3.put_object(**place, Body=latest, IfMatch=answer["ETag"])

    def _remove(self, prefix: str) -> None:
        s3 = self.client("s3")
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=self.data, Prefix=prefix):
            versions = [
                {"Key": version["Key"], "VersionId": version["VersionId"]}
                for version in (*page.get("Versions", []), *page.get("DeleteMarkers", []))
            ]
            if versions:
                answer = s3.delete_objects(Bucket=self.data, Delete={"Objects": versions, "Quiet": True})
                for refused in answer.get("Errors", []):
                    raise TrialError(f"S3 does not delete s3://{self.data}/{refused['Key']}: {refused.get('Message')}.")

    def wait(self, run: str, say: Callable[[str], None]) -> Json:
        """Say what happens until the execution has ended, and return its output.

        Raises
        ------
        TrialError
            If the execution does not succeed.
        """
        states, said = self.client("stepfunctions"), ""
        while True:
            execution = states.describe_execution(executionArn=self._execution(run))
            if execution["status"] == "SUCCEEDED":
                output: Json = json.loads(execution["output"])
                return output
            if execution["status"] != "RUNNING":
                reason = execution.get("cause") or "It gives no cause."
                raise TrialError(f"The execution {run} ended as {execution['status']}. {reason}")
            if (news := self._news(run)) != said:
                say(news)
                said = news
            time.sleep(_LOOK_SECONDS)

    def _news(self, run: str) -> str:
        """Return the state of the cluster and, while the job runs, how far it is."""
        clusters = self._clusters(run)
        state = clusters[0]["Status"]["State"] if clusters else "NOT CREATED YET"
        text = self._read(f"{runs.RUNS}/{run}/{runs.PROGRESS}") if state == "RUNNING" else None
        if text is None:
            return f"cluster    {state.lower()}"
        progress, _ = StageProgress.from_json(text)
        return f"{progress.stage:<10} {progress}"

    def times(self, run: str) -> Times:
        """Return when the states were entered, and when the job started and ended."""
        states = self.client("stepfunctions")
        events = pages(states, "get_execution_history", "events", executionArn=self._execution(run))
        entered = {
            event["stateEnteredEventDetails"]["name"]: event["timestamp"]
            for event in reversed(events)
            if "stateEnteredEventDetails" in event
        }
        (cluster,) = self._clusters(run)
        (step,) = pages(self.client("emr"), "list_steps", "Steps", ClusterId=cluster["Id"])
        timeline = step["Status"]["Timeline"]
        return Times(entered, timeline["StartDateTime"], timeline["EndDateTime"], cluster["Status"]["State"])

    def download(self, run: str, folder: Path) -> Json:
        """Download the folder of the run, and return its summary."""
        s3, prefix = self.client("s3"), f"{runs.RUNS}/{run}/"
        for found in pages(s3, "list_objects_v2", "Contents", Bucket=self.results, Prefix=prefix):
            file = folder / found["Key"].removeprefix(prefix)
            file.parent.mkdir(parents=True, exist_ok=True)
            s3.download_file(self.results, found["Key"], str(file))
        summary: Json = json.loads(self._read(f"{runs.SUMMARIES}/{run}.json") or b"{}")
        return summary

    def ask(self, sql: str) -> list[list[str | None]]:
        """Return the rows of the answer of Athena to a question."""
        athena, context = self.client("athena"), {"Database": catalogue.database(self.name)}
        query = athena.start_query_execution(QueryString=sql, WorkGroup=self.name, QueryExecutionContext=context)
        which = {"QueryExecutionId": query["QueryExecutionId"]}
        while (status := athena.get_query_execution(**which)["QueryExecution"]["Status"])["State"] != "SUCCEEDED":
            if status["State"] in ("FAILED", "CANCELLED"):
                raise TrialError(f"Athena does not answer: {status.get('StateChangeReason')}.")
            time.sleep(1)
        _, *rows = athena.get_query_results(**which)["ResultSet"]["Rows"]  # the first one has the names
        return [[cell.get("VarCharValue") for cell in row["Data"]] for row in rows]

    def _execution(self, run: str) -> str:
        """Return the ARN of the execution of a run."""
        return f"{self.state_machine.replace(':stateMachine:', ':execution:')}:{run}"

    def _clusters(self, run: str) -> list[Any]:
        since = datetime.now(UTC) - _LONGEST
        clusters = pages(self.client("emr"), "list_clusters", "Clusters", CreatedAfter=since)
        return [cluster for cluster in clusters if cluster["Name"] == f"{self.name}-{run}"]

    def _read(self, key: str) -> bytes | None:
        s3 = self.client("s3")
        try:
            return bytes(s3.get_object(Bucket=self.results, Key=key)["Body"].read())
        except s3.exceptions.NoSuchKey:
            return None
