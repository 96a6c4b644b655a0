"""A deployed stage, as a trial uses it: it uploads photos, runs once, reads the results, and removes the photos."""

import io
import json
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from cdk_app.account import UNREACHABLE, Account, AwsError
from cdk_app.stage_settings import StageSettings
from cdk_app.trial.judgement import TABLES, Json, Published, Times
from spark_job import runs
from spark_job.progress import StageProgress

_UPLOADS_AT_ONCE = 8
_LOOK_SECONDS = 5
_PATIENCE_SECONDS = 300
_LONGEST = runs.MAX_DURATION + timedelta(hours=1)
_ALIVE = ["STARTING", "BOOTSTRAPPING", "RUNNING", "WAITING"]

#: The signals with which a person or `make` ends the command.
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class TrialError(Exception):
    """The trial failed. The message is what to tell the person."""


class NotDeployedError(Exception):
    """The stage is not deployed. The message is one sentence."""


@dataclass(frozen=True)
class Stage:
    """The account, the name of the stack, its buckets, and the ARN of its state machine."""

    account: Account
    name: str
    data: str
    results: str
    state_machine: str

    @classmethod
    def find(cls, account: Account, settings: StageSettings) -> Self:
        """Return the deployed stage; raise NotDeployedError if there is none."""
        try:
            (stack,) = account.ask("cloudformation", "DescribeStacks", StackName=settings.name)["Stacks"]
            outputs = {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}
            data, results = (outputs[key].split("/")[2] for key in ("Photos", "Results"))
            return cls(account, settings.name, data, results, outputs["StartHere"].rpartition("/")[2])
        except (AwsError, KeyError) as error:
            if isinstance(error, AwsError) and error.code != "ValidationError":
                raise
            raise NotDeployedError(
                f"There is no deployed stack {settings.name} in {settings.region}; deploy it first, or give the "
                "settings with which it was deployed, such as -c stage=prod."
            ) from error

    @contextmanager
    def photos(self, folder: Path, prefix: str) -> Iterator[list[str]]:
        """Upload a folder below a prefix, yield the paths in the folder, and remove every version of the objects."""
        paths = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())

        def upload(path: str) -> None:
            body = (folder / path).read_bytes()
            self.account.ask("s3", "PutObject", Bucket=self.data, Key=prefix + path, Body=body)

        try:
            with ThreadPoolExecutor(_UPLOADS_AT_ONCE) as pool:
                list(pool.map(upload, paths))
            yield paths
        finally:
            with _uninterrupted(), _explained(f"The photos under s3://{self.data}/{prefix} could not be removed."):
                self._remove(prefix)

    def _remove(self, prefix: str) -> None:
        place = {"Bucket": self.data, "Prefix": prefix}
        while True:
            page = self.account.ask("s3", "ListObjectVersions", **place)
            found = [
                {"Key": version["Key"], "VersionId": version["VersionId"]}
                for version in (*page.get("Versions", []), *page.get("DeleteMarkers", []))
            ]
            if not found:
                return
            answer = self.account.ask("s3", "DeleteObjects", Bucket=self.data, Delete={"Objects": found, "Quiet": True})
            for refused in answer.get("Errors", []):
                raise TrialError(f"S3 does not delete {refused['Key']}: {refused.get('Message', refused['Code'])}.")

    @contextmanager
    def latest_kept(self, run: str) -> Iterator[None]:
        """Let `latest.json` point at the same run as before. If there was no run, it may point at that of the trial."""
        before = self._read(runs.LATEST)
        try:
            yield
        finally:
            if before is not None:
                with _uninterrupted(), _explained(f"s3://{self.results}/{runs.LATEST} still points at the run {run}."):
                    self._point_back(before, run)

    def _point_back(self, before: bytes, run: str) -> None:
        place = {"Bucket": self.results, "Key": runs.LATEST}
        answer = self.account.ask("s3", "GetObject", **place)
        if json.loads(answer["Body"].read())["run_id"] != run:
            return
        try:
            self.account.ask("s3", "PutObject", **place, Body=before, IfMatch=answer["ETag"])
        except AwsError as error:
            if error.code != "PreconditionFailed":  # another run has just become the latest
                raise

    @contextmanager
    def execution(self, run: str, given: Json) -> Iterator[str]:
        """Start an execution and yield its ARN. If it still runs at the end, stop it, and terminate its cluster."""
        arn = f"{self.state_machine.replace(':stateMachine:', ':execution:')}:{run}"
        try:
            self.account.ask(
                "stepfunctions",
                "StartExecution",
                stateMachineArn=self.state_machine,
                name=run,
                input=json.dumps(given),
            )
            yield arn
        finally:
            with _uninterrupted(), _explained(f"The execution {run} may still run, and its cluster too."):
                self._stop(arn, run)

    def _stop(self, arn: str, run: str) -> None:
        try:
            execution = self.account.ask("stepfunctions", "DescribeExecution", executionArn=arn)
        except AwsError as error:
            if error.code != "ExecutionDoesNotExist":
                raise
            return
        if execution["status"] != "RUNNING":
            return
        self.account.ask("stepfunctions", "StopExecution", executionArn=arn)
        # The clean-up of the stage ends the cluster as well, a minute or two later.
        clusters = [each["Id"] for each in self._clusters(run, ClusterStates=_ALIVE)]
        if clusters:
            self.account.ask("emr", "TerminateJobFlows", JobFlowIds=clusters)

    def wait(self, arn: str, run: str, say: Callable[[str], None]) -> Json:
        """Say what happens until the execution has ended, and return its output.

        Raises
        ------
        TrialError
            If the execution does not succeed.
        """
        said, last_answer = "", time.monotonic()
        while True:
            try:
                execution = self.account.ask("stepfunctions", "DescribeExecution", executionArn=arn)
                news = self._news(run)
            except AwsError as error:
                if error.code != UNREACHABLE or time.monotonic() - last_answer > _PATIENCE_SECONDS:
                    raise
            else:
                last_answer = time.monotonic()
                if execution["status"] == "SUCCEEDED":
                    output: Json = json.loads(execution["output"])
                    return output
                if execution["status"] != "RUNNING":
                    reason = execution.get("cause") or "It gives no cause."
                    raise TrialError(f"The execution {run} ended as {execution['status']}. {reason}")
                if news != said:
                    say(news)
                    said = news
            time.sleep(_LOOK_SECONDS)

    def _news(self, run: str) -> str:
        """Return the state of the cluster and, while the job runs, how far it is."""
        cluster = next(iter(self._clusters(run)), None)
        state = cluster["Status"]["State"] if cluster else "NOT CREATED YET"
        text = self._read(f"{runs.RUNS}/{run}/{runs.PROGRESS}") if state == "RUNNING" else None
        if text is None:
            return f"cluster    {state.lower()}"
        progress, _ = StageProgress.from_json(text)
        return f"{progress.stage:<10} {progress}"

    def times(self, arn: str, run: str) -> Times:
        """Return when the states were entered, and when the job started and ended."""
        events = self.account.listed("stepfunctions", "GetExecutionHistory", "events", executionArn=arn)
        entered = {
            event["stateEnteredEventDetails"]["name"]: event["timestamp"]
            for event in reversed(events)
            if "stateEnteredEventDetails" in event
        }
        (cluster,) = self._clusters(run)
        (step,) = self.account.listed("emr", "ListSteps", "Steps", ClusterId=cluster["Id"])
        timeline = step["Status"]["Timeline"]
        return Times(entered, timeline["StartDateTime"], timeline["EndDateTime"], cluster["Status"]["State"])

    def _clusters(self, run: str, **which: Any) -> list[Json]:
        since = datetime.now(UTC) - _LONGEST
        clusters = self.account.listed("emr", "ListClusters", "Clusters", CreatedAfter=since, **which)
        return [each for each in clusters if each["Name"] == f"{self.name}-{run}"]

    def published(self, run: str) -> Published:
        """Read what the run has left."""
        folder = f"{runs.RUNS}/{run}/"
        listed = self._listed(folder)
        parts: dict[str, list[pa.Table]] = {name: [] for name in TABLES}
        for path in listed:
            name = path.partition("/")[0]
            if name in parts and path.endswith(".parquet"):
                parts[name].append(pq.read_table(io.BytesIO(self._read(folder + path) or b"")))
        report, manifest, summary = (
            self._read(key) or b"{}"
            for key in (folder + runs.REPORT, folder + runs.MANIFEST, f"{runs.SUMMARIES}/{run}.json")
        )
        tables = {name: pa.concat_tables(found) for name, found in parts.items() if found}
        return Published(listed, report, json.loads(manifest), json.loads(summary), tables)

    def _listed(self, prefix: str) -> dict[str, int]:
        sizes: dict[str, int] = {}
        after = ""
        while True:
            page = self.account.ask("s3", "ListObjectsV2", Bucket=self.results, Prefix=prefix, StartAfter=after)
            found = page.get("Contents", [])
            sizes |= {each["Key"].removeprefix(prefix): each["Size"] for each in found}
            if not page.get("IsTruncated"):
                return sizes
            after = found[-1]["Key"]

    def _read(self, key: str) -> bytes | None:
        try:
            return bytes(self.account.ask("s3", "GetObject", Bucket=self.results, Key=key)["Body"].read())
        except AwsError as error:
            if error.code != "NoSuchKey":
                raise
            return None


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ignore Ctrl-C and SIGTERM, so that what was begun is also cleaned up."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _explained(what_is_left: str) -> Iterator[None]:
    try:
        yield
    except AwsError as error:
        raise TrialError(f"{what_is_left} {error}") from error
