"""The content of ``manifest.json``: the settings, counts and versions of a published run."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Any, Self, get_args, get_origin, get_type_hints

import pyarrow as pa

from spark_job.settings import Engine


@dataclass(frozen=True)
class Counts:
    """The number of photos, in total and by outcome: ``found == computed + reused + rejected``."""

    found: int
    computed: int
    reused: int
    rejected: int

    @property
    def add_up(self) -> bool:
        """Whether the outcomes account for every photo."""
        return self.found == self.computed + self.reused + self.rejected


def describe(counts: Mapping[str, int]) -> str:
    """Return counts in words, such as ``9 .heic, 1 hidden``."""
    return ", ".join(f"{count:,} {kind}" for kind, count in counts.items())


def describe_left_out(counts: Mapping[str, int]) -> str:
    """Return the counts of files that were left out, and what to do about tar files."""
    has_tar = any(kind.startswith((".tar", ".tgz")) for kind in counts)
    remedy = " (fruits pack copies the photos of tar files to zip files, which a run reads)"
    return describe(counts) + (remedy if has_tar else "")


@dataclass(frozen=True)
class ModelRecord:
    """The compiled network that made the features.

    Attributes
    ----------
    engine
        What ran it.
    weights, weights_sha256
        ``imagenet``, ``random`` or the path or URI of the weights file, and the file's SHA-256 digest.
    digest
        Covers the broadcast payload and the preprocessing: equal digests mean equal features.
    preprocessing
        How photos were prepared.
    """

    engine: Engine
    weights: str
    weights_sha256: str
    digest: str
    preprocessing: str

    @property
    def meaningless(self) -> bool:
        """Whether the weights are random. The features then show that the job works, but nothing about fruit."""
        return self.weights == "random"


@dataclass(frozen=True)
class PcaRecord:
    """The number of components, the share of the variance that they keep, and the 1-NN accuracy.

    The accuracy is the share of the sampled photos whose nearest other photo has the same label (leave-one-out 1-NN,
    Euclidean), before and after PCA. It is None if there are fewer than two labels or photos.
    """

    components: int
    variance_kept: float
    standardized: bool
    one_nn_accuracy_features: float | None
    one_nn_accuracy_components: float | None
    one_nn_sample: int


@dataclass(frozen=True)
class Manifest:
    """One published run.

    Times are UTC, in ISO 8601. ``seconds`` is by stage, in the order of the stages. ``retries`` counts the reads of
    photos that had to be repeated. ``reused`` is the number of reused photos by the run that they came from, and
    ``reused_from`` is the run that gave most of them. ``left_out`` is the number of files that look like photos but are
    none of the run: by ending, and ``hidden``. ``findings`` is the number of findings by kind, and ``mixed_labels`` are
    the pairs of labels that the network confuses most, see :func:`spark_job.findings.kinds.mixed_labels`.
    """

    run_id: str
    started: str
    finished: str
    input: str
    output: str
    settings: dict[str, Any]
    counts: Counts
    rejected: dict[str, int]
    labels: dict[str, int]
    model: ModelRecord
    pca: PcaRecord
    seconds: dict[str, float]
    images_per_second: float
    versions: dict[str, str]
    reused_from: str | None
    retries: int
    reused: dict[str, int]
    left_out: dict[str, int]
    findings: dict[str, int]
    mixed_labels: dict[str, float]

    def to_json(self) -> str:
        """Return the manifest as indented JSON."""
        return json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False) + "\n"

    def summary(self) -> str:
        """Return the manifest as one line of JSON of a few KB: with the number of labels instead of the labels."""
        fields = dataclasses.asdict(self) | {"labels": len(self.labels)}
        del fields["settings"]
        return json.dumps(fields, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read what :meth:`to_json` wrote; raise ValueError, KeyError or TypeError if the text is anything else."""
        fields = json.loads(text)
        fields["counts"] = Counts(**fields["counts"])
        fields["model"] = ModelRecord(**fields["model"])
        fields["pca"] = PcaRecord(**fields["pca"])
        return cls(**fields)


@dataclass(frozen=True)
class ClusterRecord:
    """What the cluster of a run cost. Only the state machine knows this, and adds it to the summary.

    ``usd`` is an estimate from list prices, or None if the price is unknown, and ``note`` says what it contains.
    """

    minutes: float
    nodes: int
    usd: float | None
    note: str


_SCALARS = {int: pa.int64(), float: pa.float64(), bool: pa.bool_()}


def _arrow_type(hint: Any) -> pa.DataType:
    """Return the Arrow type of a field: a struct for a record, a map for a dictionary, otherwise text."""
    if dataclasses.is_dataclass(hint):
        return pa.struct([(name, _arrow_type(inner)) for name, inner in get_type_hints(hint).items()])
    if get_origin(hint) is dict:
        return pa.map_(pa.string(), _arrow_type(get_args(hint)[1]))
    if get_origin(hint) is UnionType:  # such as float | None
        return _arrow_type(get_args(hint)[0])
    return _SCALARS.get(hint, pa.string())


_SUMMARY = {name: hint for name, hint in (get_type_hints(Manifest) | {"labels": int}).items() if name != "settings"} | {
    "cluster": ClusterRecord
}
SUMMARY_SCHEMA = pa.schema([(name, _arrow_type(hint)) for name, hint in _SUMMARY.items()])
"""The columns of a summary, as :meth:`Manifest.summary` writes it. ``cluster`` is null for a run on a laptop."""
