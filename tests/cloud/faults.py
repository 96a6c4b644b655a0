"""The fault matrix: what goes wrong, how the execution ends, which reason a person reads, and what ends the cluster."""

import contextlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.cloud.deployed import Deployed, Execution, wait_until

FEW = {"input_prefix": "few/", "max_rejected": 0.5}
THROTTLED = {"code": "ThrottlingException", "message": "Rate exceeded"}
BROKEN = {"code": "InternalServerException", "message": "It broke."}
_POLICY_NAME = "FaultOfTheTest"

Arrange = Callable[[Deployed], contextlib.AbstractContextManager[None]]


@dataclass(frozen=True)
class Fault:
    """One row of the matrix.

    Parameters
    ----------
    what
        What goes wrong.
    ends
        The status of the execution, and its error if it fails.
    reason
        The cause of the execution. An ellipsis stands for any text.
    cleared_by
        What ends the cluster.
    arrange
        Causes the fault until its context ends.
    given
        The execution's input.
    stop_when
        The state of the cluster in which a person stops the execution.
    hours
        How many hours pass before something ends the cluster.
    """

    what: str
    ends: str
    reason: str
    cleared_by: str
    arrange: Arrange
    given: Any = field(default_factory=lambda: FEW)
    stop_when: str = ""
    hours: float = 0


@contextlib.contextmanager
def _emulator(dev: Deployed, **faults: Any) -> Iterator[None]:
    dev.aws.control("faults", faults)
    try:
        yield
    finally:
        dev.aws.control("faults", {})


def emulated(**faults: Any) -> Arrange:
    """Inject faults into EMR or EventBridge (see `tests.local_aws.plugin.control.Faults`). The default is none."""
    return lambda dev: _emulator(dev, **faults)


def denied(role: str, action: str, resource: str = "*") -> Arrange:
    """Deny a role an action, as a policy of the organisation may do."""

    @contextlib.contextmanager
    def arrange(dev: Deployed) -> Iterator[None]:
        iam, name = dev.aws.client("iam"), dev.role(role)
        target = resource.format(data=dev.data, results=dev.results)
        statement = {"Effect": "Deny", "Action": action, "Resource": target}
        document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        iam.put_role_policy(RoleName=name, PolicyName=_POLICY_NAME, PolicyDocument=document)
        try:
            yield
        finally:
            iam.delete_role_policy(RoleName=name, PolicyName=_POLICY_NAME)

    return arrange


def without_profile() -> Arrange:
    """Delete the instance profile that has the name of the instance role."""

    @contextlib.contextmanager
    def arrange(dev: Deployed) -> Iterator[None]:
        iam, name = dev.aws.client("iam"), dev.role("ClusterInstanceRole")
        names = {"InstanceProfileName": name, "RoleName": name}
        iam.remove_role_from_instance_profile(**names)
        iam.delete_instance_profile(InstanceProfileName=name)
        try:
            yield
        finally:
            iam.create_instance_profile(InstanceProfileName=name)
            iam.add_role_to_instance_profile(**names)

    return arrange


def in_seconds(limit: int, *, job: bool = False, **faults: Any) -> Arrange:
    """Give the executions of the deployed state machine, or its jobs, a limit of seconds instead of hours."""

    @contextlib.contextmanager
    def arrange(dev: Deployed) -> Iterator[None]:
        client = dev.aws.client("stepfunctions")
        before = client.describe_state_machine(stateMachineArn=dev.machine)["definition"]
        definition = json.loads(before)
        if job:
            definition["States"]["Start job"]["Assign"]["deadline"] = f"{{% $millis() + {limit * 1000} %}}"
        else:
            definition["TimeoutSeconds"] = limit
        client.update_state_machine(stateMachineArn=dev.machine, definition=json.dumps(definition))
        try:
            with _emulator(dev, **faults):
                yield
        finally:
            client.update_state_machine(stateMachineArn=dev.machine, definition=before)

    return arrange


def run(dev: Deployed, fault: Fault, name: str) -> Execution:
    """Start an execution, stop it if the fault says so, and return how it ended."""
    arn = dev.start(fault.given, name)
    if fault.stop_when:
        seen = f"a cluster that is {fault.stop_when}"
        wait_until(lambda: any(one["Status"]["State"] == fault.stop_when for one in dev.clusters()), seen)
        dev.stop(arn)
    return dev.wait(arn)


def has_reason(execution: Execution, reason: str) -> bool:
    """Return whether the cause of an execution matches a reason."""
    return re.fullmatch(".*".join(map(re.escape, reason.split("…"))), execution.cause, re.DOTALL) is not None


def as_markdown() -> str:
    """Return the matrix as a table of Markdown."""
    rows = [
        "| what goes wrong | the execution ends | what a person reads | who ends the cluster |",
        "|---|---|---|---|",
        *(
            f"| {fault.what} | {fault.ends} | {fault.reason} | {fault.cleared_by} |"
            for fault in (*FAULTS, *NODE_FAULTS.values())
        ),
        "| two executions at once | SUCCEEDED, both | one summary per execution | the state machine |",
    ]
    return "\n".join(rows) + "\n"


_NOBODY = "(none was started)"
_EMR = "EMR itself"
_STATE_MACHINE = "the state machine"
_AFTER_BAD_END = "the clean-up, called by EventBridge"
_HOURLY = "the hourly clean-up"
_IDLE = "EMR, because the cluster was idle; alarm"

FAULTS = [
    Fault("input of a wrong type", "FAILED InputIsWrong", "components is many; give a number of components…", _NOBODY,
          emulated(), given={"components": "many"}),
    Fault("unknown key in the input", "FAILED InputIsWrong", 'Unknown key "component". Valid keys: …', _NOBODY,
          emulated(), given={"component": 3}),
    Fault("no photo under the prefix", "FAILED NoPhotos", "There is no photo under s3://…; put photos there…", _NOBODY,
          emulated(), given={"input_prefix": "nothing/"}),
    Fault("state machine may not pass the roles", "FAILED ClusterNotCreated",
          "User:…is not authorized to perform: iam:PassRole…", _NOBODY, denied("WorkflowRole", "iam:PassRole")),
    Fault("no instance profile with the name of the role", "FAILED JobFailed", "Invalid InstanceProfile: … Logs:…",
          _EMR, without_profile()),
    Fault("no capacity", "FAILED JobFailed", "No capacity for m5.xlarge. Logs:…", _EMR,
          emulated(start_reason=["INSTANCE_FLEET_TIMEOUT", "No capacity for m5.xlarge."])),
    Fault("cluster fails while bootstrapping", "FAILED JobFailed", "Provisioning failed. Logs:…", _EMR,
          emulated(bootstrap_reason=["BOOTSTRAP_FAILURE", "Provisioning failed."])),
    Fault("job exits with an error", "FAILED JobFailed", "fruits: 1280 components are more than…", _EMR,
          emulated(), given=FEW | {"components": 1280}),
    Fault("creating the cluster, adding the job and looking at it are throttled", "FAILED JobFailed",
          "fruits: 1280 components are more than…", _EMR,
          emulated(api={name: THROTTLED | {"times": 2} for name in ("RunJobFlow", "AddJobFlowSteps", "DescribeStep")}),
          given=FEW | {"components": 1280}),
    Fault("job ends while nobody can look at it", "FAILED JobFailed", "fruits: 1280 components are more than…", _EMR,
          emulated(api={"DescribeStep": BROKEN | {"times": 6}}), given=FEW | {"components": 1280}),
    Fault("more photos rejected than allowed", "FAILED JobFailed", "fruits: … photos were rejected…", _EMR,
          emulated(), given=FEW | {"max_rejected": 0}),
    Fault("driver killed during its work", "FAILED JobFailed", "The job ended without giving a reason. …Logs:…", _EMR,
          emulated(driver="killed")),
    Fault("job hangs", "FAILED JobTookTooLong", "The job took longer than 1 h and was stopped…", _STATE_MACHINE,
          in_seconds(5, job=True, driver="hangs")),
    Fault("nodes may not read photos", "FAILED JobFailed", "fruits: … denied…", _EMR,
          # Otherwise the run would reuse what the killed run computed, and read no photo.
          denied("ClusterInstanceRole", "s3:GetObject", "arn:aws:s3:::{data}/*"), given=FEW | {"recompute": True}),
    Fault("nodes may not write results", "FAILED JobFailed", "The job ended without giving a reason. …Logs:…", _EMR,
          denied("ClusterInstanceRole", "s3:PutObject", "arn:aws:s3:::{results}/*")),
    Fault("stopped while the cluster starts", "ABORTED", "", _AFTER_BAD_END,
          emulated(startup_seconds=60), stop_when="STARTING"),
    Fault("stopped while the job runs", "ABORTED", "", _AFTER_BAD_END, emulated(), stop_when="RUNNING"),
    Fault("execution exceeds its time-out", "TIMED_OUT", "", _AFTER_BAD_END, in_seconds(4, startup_seconds=60)),
    Fault("stopped, and the event is lost", "ABORTED", "", _HOURLY,
          emulated(startup_seconds=60, events_lost=True), stop_when="STARTING", hours=2),
    Fault("terminating is throttled", "FAILED JobTookTooLong", "The job took longer than 1 h and was stopped…",
          _STATE_MACHINE,
          in_seconds(5, job=True, driver="hangs", api={"TerminateJobFlows": THROTTLED | {"times": 3}})),
    Fault("terminating fails permanently", "FAILED JobFailed",
          "It broke. …Logs:…could not be terminated; the clean-up was called…", _IDLE,
          emulated(api={"TerminateJobFlows": BROKEN, "AddJobFlowSteps": BROKEN}), hours=0.5),
]  # fmt: skip

#: Faults of the nodes, on a real YARN, by what `tests.local_aws.plugin.on_yarn` calls them.
NODE_FAULTS = {
    "executor killed": Fault("an executor is killed", "SUCCEEDED", "", _STATE_MACHINE, emulated()),
    "node replaced": Fault("a spot node is lost, and a new one comes", "SUCCEEDED", "", _STATE_MACHINE, emulated()),
    "node frozen": Fault("a node freezes, and closes no connection", "SUCCEEDED", "", _STATE_MACHINE, emulated()),
    "driver's node lost": Fault("the node of the driver is taken away", "FAILED JobFailed",
                                "The job ended without giving a reason. …Logs:…", _EMR, emulated()),
}  # fmt: skip
