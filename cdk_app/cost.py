"""How the state machine says what the cluster of a run costs. Everything here is JSONata.

The minutes are those of the execution, whose clock Step Functions documents. It starts seconds before the cluster, and
waits until the cluster has ended. EMR's own times would be a little shorter, but their format is not documented.
"""

from typing import Any

from cdk_app.prices import MINIMUM_MINUTES, Nodes

_MINUTES = "($toMillis($states.context.State.EnteredTime) - $toMillis($states.context.Execution.StartTime)) / 60000"


def output(nodes: Nodes) -> dict[str, Any]:
    """Return what the output of an execution says about the cluster."""
    return {
        "minutes": f"{{% $round({_MINUTES}, 1) %}}",
        "nodes": nodes.count,
        "usd": f"{{% {_usd(nodes)} %}}",
        "note": nodes.note,
    }


def sentence(nodes: Nodes) -> str:
    """Return what the cause of a failed execution says about the cluster."""
    total = f"about ' & $string({_usd(nodes)}) & ' USD.'" if nodes.usd_per_hour is not None else "price unknown.'"
    return f"' The cluster: {nodes.count} nodes for ' & $string($round({_MINUTES}, 1)) & ' min, {total}"


def _usd(nodes: Nodes) -> str:
    if nodes.usd_per_hour is None:
        return "null"
    return f"$round($max([{_MINUTES}, {MINIMUM_MINUTES}]) * {nodes.usd_per_hour / 60:.6f}, 2)"
