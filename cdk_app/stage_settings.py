"""The settings of a stage: typed, validated, frozen."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, Self, get_args, get_origin, get_type_hints

from cdk_app.europe import REGIONS
from spark_job import runs
from spark_job.settings import Engine

Stage = Literal["dev", "prod"]
Architecture = Literal["arm64", "x86_64"]
DiskKey = Literal["account", "own"]


class SettingsError(Exception):
    """A setting is invalid. The message is one sentence for the person who set it."""


@dataclass(frozen=True)
class StageSettings:
    """The settings that a person can choose with ``cdk deploy -c name=value``.

    `of` fills in the defaults, which depend on the stage. Therefore the fields themselves have none.

    Parameters
    ----------
    stage
        ``dev``: ``cdk destroy`` deletes everything. ``prod``: the buckets outlive the stack, and the stack is
        protected.
    region
        A region of the European Union.
    architecture
        The processors of the cluster: ``arm64`` (Graviton) or ``x86_64``.
    engine
        What runs the model on the cluster: ``litert``, or ``tensorflow``, which needs 250 MB more per node.
    weights
        ``imagenet`` (downloaded once), ``random``, or the path of a weights file. If there are several, separated by
        commas, the first available one is used.
    input_prefix
        The folder of the data bucket that a run reads by default.
    core_nodes, spot_nodes
        The number of on-demand nodes that compute, and of spot nodes in addition.
    longest_run_hours
        The time after which a job is stopped. It limits the cost of a run.
    idle_minutes
        The time after which EMR ends a cluster that does nothing.
    keep_runs_days, keep_logs_days
        The time after which results and logs expire.
    disk_key
        What encrypts the disks of the nodes: ``account``, what the account's "EBS encryption by default" says, or
        ``own``, a key of the stack, whose endpoint costs money all the time.
    email
        The address to notify about failures. Its owner must confirm once.
    monthly_budget
        In US dollars. 0 means no budget.

    Raises
    ------
    SettingsError
        If a value is out of range.
    """

    stage: Stage
    region: str
    architecture: Architecture
    engine: Engine
    weights: str
    input_prefix: str
    core_nodes: int
    spot_nodes: int
    longest_run_hours: int
    idle_minutes: int
    keep_runs_days: int
    keep_logs_days: int
    disk_key: DiskKey
    email: str
    monthly_budget: int

    def __post_init__(self) -> None:
        for name, kind in get_type_hints(type(self)).items():
            if get_origin(kind) is Literal:
                self._require(name, getattr(self, name) in get_args(kind), f"give {' or '.join(get_args(kind))}")
        for name, (low, high) in _RANGES.items():
            self._require(name, low <= getattr(self, name) <= high, f"give a whole number from {low} to {high}")
        regions = ", ".join(f"{code} ({city})" for code, city in REGIONS.items())
        self._require("region", self.region in REGIONS, f"photos stay in the European Union: give one of {regions}")
        self._require("weights", bool(self.weights), "give imagenet, random or the path of a weights file")
        prefix = self.input_prefix
        self._require(
            "input_prefix",
            not prefix.startswith("/") and "//" not in prefix and ":" not in prefix,
            "give a folder of the data bucket such as photos/, without a leading slash",
        )
        self._require("email", not self.email or "@" in self.email.strip("@"), "give an e-mail address")
        if self.monthly_budget and not self.email:
            raise SettingsError(f"monthly_budget is {self.monthly_budget}, but email is empty; give email as well.")

    def _require(self, name: str, valid: bool, remedy: str) -> None:
        if not valid:
            raise SettingsError(f"{name} is {getattr(self, name)!r}; {remedy}.")

    @property
    def name(self) -> str:
        """The name of the stack and of the state machine. The names of clusters begin with it."""
        return f"fruits-{self.stage}"

    @property
    def keeps_data(self) -> bool:
        """Whether the buckets outlive the stack."""
        return self.stage == "prod"

    @classmethod
    def of(cls, stage: Stage = "dev", **given: Any) -> Self:
        """Return the settings of a stage: what is given, and the defaults of the stage."""
        return cls(**{"stage": stage, **_DEFAULTS, **_DEFAULTS_OF_STAGE.get(stage, {}), **given})

    @classmethod
    def from_context(cls, context: Mapping[str, object]) -> Self:
        """Read the settings from the context of CDK, which has texts.

        Raises
        ------
        SettingsError
            If a value has the wrong type, or no setting has the name.
        """
        kinds = get_type_hints(cls)
        given: dict[str, Any] = {}
        for name, value in context.items():
            if name in kinds:
                given[name] = _parse(name, kinds[name], str(value).strip())
            elif name.isidentifier():  # the keys of CDK itself have a colon, a slash or a dash
                near = difflib.get_close_matches(name, kinds, n=1)
                hint = f"Did you mean {near[0]}?" if near else f"Valid settings: {', '.join(kinds)}."
                raise SettingsError(f'Unknown setting "{name}". {hint}')
        return cls.of(**given)


_DEFAULTS: dict[str, Any] = {
    "region": "eu-west-3",
    "architecture": "arm64",
    "engine": "litert",
    "weights": "imagenet",
    "input_prefix": "photos/",
    "core_nodes": 2,
    "spot_nodes": 0,
    "longest_run_hours": 6,
    "idle_minutes": 15,
    "keep_runs_days": 30,
    "keep_logs_days": 30,
    "disk_key": "account",
    "email": "",
    "monthly_budget": 0,
}
_DEFAULTS_OF_STAGE: dict[str, dict[str, Any]] = {
    "prod": {"core_nodes": 4, "keep_runs_days": 365, "keep_logs_days": 90},
}
_RANGES = {
    "core_nodes": (1, 50),
    "spot_nodes": (0, 200),
    "longest_run_hours": (1, runs.MAX_DURATION // timedelta(hours=1)),
    "idle_minutes": (5, 60),
    "keep_runs_days": (1, 3650),
    "keep_logs_days": (1, 3650),
    "monthly_budget": (0, 1_000_000),
}


def _parse(name: str, kind: type, text: str) -> object:
    if kind is not int:
        return text
    try:
        return int(text)
    except ValueError:
        raise SettingsError(f"{name} is {text!r}; give a whole number.") from None
