"""What a run is told about the cluster that it runs on, and what the cluster has cost so far."""

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Self

from spark_job import prices
from spark_job.errors import UserError
from spark_job.manifest import ClusterRecord
from spark_job.prices import Nodes


@dataclass(frozen=True)
class Cluster:
    """The nodes of the cluster of a run, and the time at which the execution of the run started."""

    nodes: Nodes
    started: datetime

    def __post_init__(self) -> None:
        if self.started.tzinfo is None:
            raise ValueError(f"The time {self.started} has no time zone.")

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what :func:`to_json` wrote.

        Raises
        ------
        UserError
            If the text is anything else.
        """
        try:
            fields = json.loads(text)
            started = datetime.fromisoformat(fields.pop("started"))
            nodes = Nodes(**fields | {"instance_types": tuple(fields["instance_types"])})
            return cls(nodes, started)
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            example = to_json(Nodes("eu-west-3", ("m7g.xlarge",), 3), "2026-01-31T12:00:00Z")
            raise UserError(
                f"cluster is {text}; leave it out, or give what the state machine gives, such as {example}."
            ) from error

    def record(self, now: datetime) -> ClusterRecord:
        """Return the cluster's minutes until `now` and what they cost."""
        minutes = (now - self.started).total_seconds() / 60
        return ClusterRecord(
            region=self.nodes.region,
            instance_types=list(self.nodes.instance_types),
            nodes=self.nodes.count,
            spot_nodes=self.nodes.spot,
            minutes=round(minutes, 1),
            usd=prices.usd(self.nodes.usd_per_hour, minutes),
            note=self.nodes.note,
        )


def to_json(nodes: Nodes, started: str) -> str:
    """Return a cluster as the value of ``--cluster``. `started` is ISO 8601."""
    return json.dumps({**asdict(nodes), "started": started})
