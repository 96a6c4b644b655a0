"""What a test can change while the local AWS runs: faults and the passing of time. Tests send JSON over HTTP."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any


@dataclass
class Faults:
    """The faults to inject. By default there are none.

    Parameters
    ----------
    startup_seconds
        How long a cluster takes to start.
    ending_seconds
        How long a cluster takes to end.
    start_reason
        The code and the message with which clusters end while they start, as in EMR without capacity.
    bootstrap_reason
        The same for clusters that bootstrap.
    driver
        What happens to a driver: it ``hangs`` from the start (SIGSTOP), or is ``killed`` during its work (SIGKILL).
    api
        The actions of EMR that fail: ``{"TerminateJobFlows": {"code": "ThrottlingException", "times": 2}}``. Without
        ``times``, the action always fails.
    events_lost
        Whether the events that services send to EventBridge are lost.
    spark
        Where the steps of new clusters run: ``local`` or ``yarn`` (see `steps`).
    nodes
        What happens to the nodes of a YARN when a run has written its first features, by the run (see `on_yarn`).
    """

    startup_seconds: float = float(os.environ.get("LOCAL_AWS_STARTUP_SECONDS", "1"))
    ending_seconds: float = 0
    start_reason: list[str] = field(default_factory=list)
    bootstrap_reason: list[str] = field(default_factory=list)
    driver: str = ""
    api: dict[str, dict[str, Any]] = field(default_factory=dict)
    events_lost: bool = False
    spark: str = "local"
    nodes: dict[str, str] = field(default_factory=dict)

    def set(self, values: dict[str, Any]) -> None:
        """Set these faults, and reset all others."""
        new = Faults(**values)
        for one in fields(self):
            setattr(self, one.name, getattr(new, one.name))

    def take(self, action: str) -> dict[str, Any] | None:
        """Return the fault of an action of EMR and count it, or None if there is none or none left."""
        fault = self.api.get(action)
        if fault is None or fault.get("times", 1) == 0:
            return None
        if "times" in fault:
            fault["times"] -= 1
        return fault


faults = Faults()

#: The functions to call with the number of hours that a test lets pass.
clocks: list[Callable[[float], None]] = []


def replace(module: Any, name: str, substitute: Any) -> Any:
    """Replace a function of MiniStack, and return the original. MiniStack is pinned, so it has the function."""
    original = getattr(module, name)
    setattr(module, name, substitute)
    return original


def handle(path: str, body: bytes) -> int:
    """Carry out the request of a test, and return its HTTP status."""
    given = json.loads(body or b"null")
    if path == "/_local/faults":
        faults.set(given)
    elif path == "/_local/hours":
        for clock in clocks:
            clock(given)
    else:
        return 404
    return 204
