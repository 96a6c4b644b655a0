"""What a test may change while the local AWS runs: how it fails, how time passes. Spoken to as JSON over HTTP."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any


@dataclass
class Faults:
    """What goes wrong on purpose; everything is off by default.

    Parameters
    ----------
    startup_seconds
        How long a cluster takes to start.
    start_reason
        A code and a message with which clusters end while they start, as EMR does without capacity.
    bootstrap_reason
        The same, while they bootstrap.
    driver
        What becomes of a driver: it ``hangs`` from its first moment (SIGSTOP), or is ``killed`` in the middle of its
        work (SIGKILL).
    api
        EMR's actions that fail: ``{"TerminateJobFlows": {"code": "ThrottlingException", "times": 2}}``; no number
        of times is for good.
    events_lost
        Whether what services tell EventBridge gets lost.
    file_system
        How Spark's own reads and writes reach S3: ``staged`` or ``s3a`` (see `steps`).
    """

    startup_seconds: float = float(os.environ.get("LOCAL_AWS_STARTUP_SECONDS", "1"))
    start_reason: list[str] = field(default_factory=list)
    bootstrap_reason: list[str] = field(default_factory=list)
    driver: str = ""
    api: dict[str, dict[str, Any]] = field(default_factory=dict)
    events_lost: bool = False
    file_system: str = "staged"

    def set(self, values: dict[str, Any]) -> None:
        """Set these, and everything else as it is by default."""
        new = Faults(**values)
        for one in fields(self):
            setattr(self, one.name, getattr(new, one.name))

    def take(self, action: str) -> dict[str, Any] | None:
        """Return the fault of an action of EMR's if it has one (left), and count it."""
        fault = self.api.get(action)
        if fault is None or fault.get("times", 1) == 0:
            return None
        if "times" in fault:
            fault["times"] -= 1
        return fault


faults = Faults()

#: Called with a number of hours when a test lets them pass.
clocks: list[Callable[[float], None]] = []


def answer(path: str, body: bytes) -> int:
    """Do what a test asks for; 404 for what there is not."""
    given = json.loads(body or b"null")
    if path == "/_local/faults":
        faults.set(given)
    elif path == "/_local/hours":
        for clock in clocks:
            clock(given)
    else:
        return 404
    return 204
