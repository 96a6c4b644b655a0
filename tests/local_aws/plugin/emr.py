"""EMR: clusters start, run steps, wait and end. Callers need the permissions that EMR requires."""

import contextvars
import json
import threading
import time
from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError
from ministack.core import iam_actions
from ministack.core.responses import error_response_json, get_account_id, get_region
from ministack.services import emr

from tests.local_aws.plugin import roles
from tests.local_aws.plugin.control import clocks, faults, replace
from tests.local_aws.plugin.node import Node
from tests.local_aws.plugin.steps import Spark, Step, spark_on

Json = dict[str, Any]
Answer = tuple[int, dict[str, str], bytes]

_lifecycles: dict[str, "ClusterLifecycle"] = {}


def install() -> None:
    """Add permissions, faults and a life cycle to the clusters of MiniStack, which only stores them."""
    service = iam_actions.extract_iam_action
    # This module checks EMR's permissions: MiniStack does not support its condition keys and PassRole.
    replace(
        iam_actions,
        "extract_iam_action",
        lambda name, *given: None if name == "elasticmapreduce" else service(name, *given),
    )
    original = dict(emr._HANDLERS)
    for action, handler in original.items():
        emr._HANDLERS[action] = _guarded(action, handler)
    emr._HANDLERS["RunJobFlow"] = _guarded("RunJobFlow", lambda given: _start(given, original["RunJobFlow"]))
    emr._HANDLERS["TerminateJobFlows"] = _guarded("TerminateJobFlows", _terminate)
    emr._HANDLERS["AddJobFlowSteps"] = _guarded("AddJobFlowSteps", _add_steps)
    replace(emr, "_make_step", _pending(emr._make_step))
    clocks.append(_age)


def end_all() -> None:
    """End every cluster before the local AWS stops."""
    for lifecycle in _lifecycles.values():
        lifecycle.end("TERMINATED", "USER_REQUEST", "The local AWS stops.")


def _guarded(action: str, handler: Callable[[Json], Answer]) -> Callable[[Json], Answer]:
    def handle(given: Json) -> Answer:
        try:
            _require(action, given)
        except roles.RefusedError as error:
            return error_response_json("AccessDeniedException", str(error), 400)
        if fault := faults.take(action):
            message = fault.get("message", "Injected.")
            return error_response_json(fault["code"], message, 400)
        return handler(given)

    return handle


def _require(action: str, given: Json) -> None:
    """Check the permissions for an action: on each cluster by its tags, and on all that RunJobFlow uses."""
    name = f"elasticmapreduce:{action}"
    named = [given[key] for key in ("ClusterId", "JobFlowId") if key in given] + given.get("JobFlowIds", [])
    any_cluster = f"arn:aws:elasticmapreduce:{get_region()}:{get_account_id()}:cluster/"
    for cluster in named:
        tags = emr._clusters.get(cluster, {}).get("Tags", [])
        keys = {f"elasticmapreduce:ResourceTag/{tag['Key']}": tag["Value"] for tag in tags}
        roles.require(name, any_cluster + cluster, keys)
    if named:
        return
    tags = {f"elasticmapreduce:RequestTag/{tag['Key']}": tag["Value"] for tag in given.get("Tags", [])}
    roles.require(name, "*", tags)
    if action == "RunJobFlow":
        roles.require("elasticmapreduce:AddTags", f"{any_cluster}*", tags)
        for key, service in (("ServiceRole", "elasticmapreduce"), ("JobFlowRole", "ec2")):
            passed = {"iam:PassedToService": f"{service}.amazonaws.com"}
            roles.require("iam:PassRole", roles.arn(given[key]), passed)


def _pending(make: Callable[[Json], Json]) -> Callable[[Json], Json]:
    def make_step(given: Json) -> Json:
        step = make(given)
        step["Status"] |= {"State": "PENDING", "Timeline": {"CreationDateTime": time.time()}}
        return step

    return make_step


def _start(given: Json, run_job_flow: Callable[[Json], Answer]) -> Answer:
    answer = run_job_flow(given)
    cluster = emr._clusters[json.loads(answer[2])["JobFlowId"]]
    _set_state(cluster, "STARTING")
    cluster["Status"]["Timeline"] = {"CreationDateTime": time.time()}
    cluster["Ec2InstanceAttributes"] |= {
        "Ec2SubnetId": given["Instances"]["Ec2SubnetIds"][0],
        "ServiceAccessSecurityGroup": given["Instances"]["ServiceAccessSecurityGroup"],
    }
    lifecycle = _lifecycles[cluster["Id"]] = ClusterLifecycle(cluster, given)
    threading.Thread(target=contextvars.copy_context().run, args=(lifecycle.run,), daemon=True).start()
    return answer


def _terminate(given: Json) -> Answer:
    for cluster in given["JobFlowIds"]:
        if cluster in _lifecycles:
            _lifecycles[cluster].end("TERMINATED", "USER_REQUEST", "Terminated by user request")
    return emr.json_response({})


def _add_steps(given: Json) -> Answer:
    lifecycle = _lifecycles.get(given["JobFlowId"])
    if lifecycle is None or lifecycle.ended:
        message = "A job flow that is shutting down, terminated, or finished may not be modified."
        return error_response_json("ValidationException", message, 400)
    return emr._add_job_flow_steps(given)


def _set_state(record: Json, state: str, code: str = "", message: str = "") -> None:
    record["Status"]["State"] = state
    record["Status"]["StateChangeReason"] = {"Code": code, "Message": message} if code else {}


def _age(hours: float) -> None:
    """Make every cluster older by these hours, and idle for as long."""
    for lifecycle in _lifecycles.values():
        lifecycle.cluster["Status"]["Timeline"]["CreationDateTime"] -= hours * 3600
        lifecycle.idle_since -= hours * 3600


class ClusterLifecycle:
    """A cluster from its creation to its end."""

    def __init__(self, cluster: Json, given: Json) -> None:
        self.cluster, self._given = cluster, given
        self._lock = threading.Lock()
        self._running: Step | None = None
        self.idle_since = time.time()

    @property
    def ended(self) -> bool:
        """Whether the cluster has ended or is terminating."""
        return bool(self.cluster["Status"]["State"].startswith("TERMINAT"))

    def run(self) -> None:
        """Start, run one step after the other, and end after the idle time-out."""
        try:
            self._live()
        except Exception as error:
            self.end("TERMINATED_WITH_ERRORS", "INTERNAL_ERROR", f"The local AWS failed: {error!r}")
            raise

    def _live(self) -> None:
        deadline = time.time() + faults.startup_seconds
        while time.time() < deadline and not self.ended:
            time.sleep(0.1)
        spark = self._spark()
        if spark is None:
            return
        self._set_state("WAITING")
        self.idle_since = time.time()
        limit = self._given["AutoTerminationPolicy"]["IdleTimeout"]
        while not self.ended:
            step = next((one for one in self._steps if one["Status"]["State"] == "PENDING"), None)
            if step is not None:
                self._run_step(spark, step)
                self.idle_since = time.time()
            elif time.time() - self.idle_since > limit:
                self.end("TERMINATED", "ALL_STEPS_COMPLETED", "The cluster was idle for longer than its policy allows.")
            time.sleep(0.1)
        spark.close()

    @property
    def _steps(self) -> list[Json]:
        return list(emr._steps.get(self.cluster["Id"], []))

    def _set_state(self, state: str) -> None:
        with self._lock:
            if not self.ended:
                _set_state(self.cluster, state)

    def _spark(self) -> Spark | None:
        """Return where the steps run when it is ready, or None if the cluster does not start."""
        if faults.start_reason:
            self.end("TERMINATED_WITH_ERRORS", *faults.start_reason)
        if self.ended:
            return None
        try:
            roles.assume(self._given["ServiceRole"], "elasticmapreduce", self.cluster["ClusterArn"])
            spark = spark_on(Node(self.cluster, self._given, _role_of_profile(self._given["JobFlowRole"])))
        except roles.RefusedError as error:
            self.end("TERMINATED_WITH_ERRORS", "VALIDATION_ERROR", str(error))
            return None
        self._set_state("BOOTSTRAPPING")
        if faults.bootstrap_reason:
            self.end("TERMINATED_WITH_ERRORS", *faults.bootstrap_reason)
            spark.close()
            return None
        return spark

    def _run_step(self, spark: Spark, record: Json) -> None:
        with self._lock:
            if self.ended:
                return
            _set_state(self.cluster, "RUNNING")
            _set_state(record, "RUNNING")
            record["Status"]["Timeline"]["StartDateTime"] = time.time()
            self._running = Step(spark, record)
        code = self._running.run()
        record["Status"]["Timeline"]["EndDateTime"] = time.time()
        if record["Status"]["State"] != "RUNNING":
            return
        if code == 0:
            _set_state(record, "COMPLETED")
            self._set_state("WAITING")
            return
        _set_state(record, "FAILED")
        record["Status"]["FailureDetails"] = {"Reason": "Unknown Error.", "LogFile": f"{self._running.logs}stderr.gz"}
        if record["ActionOnFailure"] == "TERMINATE_CLUSTER":
            self.end("TERMINATED_WITH_ERRORS", "STEP_FAILURE", "Shut down as step failed")

    def end(self, state: str, code: str, message: str) -> None:
        """End the cluster and the step that it runs."""
        with self._lock:
            if self.ended:
                return
            last = (self.cluster, state, code, message)
            if faults.ending_seconds:
                _set_state(self.cluster, "TERMINATING", code, message)
                timer = threading.Timer(faults.ending_seconds, _set_state, last)
                timer.daemon = True
                timer.start()
            else:
                _set_state(*last)
            for step in self._steps:
                if step["Status"]["State"] in ("PENDING", "RUNNING"):
                    _set_state(step, "CANCELLED", "NONE", "The cluster was terminated.")
            if self._running is not None:
                self._running.kill()


def _role_of_profile(name: str) -> str:
    """Return the name of the role of an instance profile."""
    try:
        profile = roles.client("iam", roles.ROOT).get_instance_profile(InstanceProfileName=name)["InstanceProfile"]
        role: str = profile["Roles"][0]["RoleName"]
    except (ClientError, IndexError) as error:
        raise roles.RefusedError(f"Invalid InstanceProfile: {name}.") from error
    return role
