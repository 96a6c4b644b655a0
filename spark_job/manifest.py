"""What a published run says about itself: the content of ``manifest.json``."""

import dataclasses
import json
from dataclasses import dataclass
from typing import Any, Self

from spark_job.settings import Engine


@dataclass(frozen=True)
class Counts:
    """Images by what became of them; ``found == featurised + reused + rejected``."""

    found: int
    featurised: int
    reused: int
    rejected: int

    @property
    def add_up(self) -> bool:
        """Whether every image found is accounted for exactly once."""
        return self.found == self.featurised + self.reused + self.rejected


@dataclass(frozen=True)
class ModelRecord:
    """The network that made the features.

    ``digest`` covers the broadcast payload and the preprocessing: equal digests mean equal features.
    ``weights`` is ``imagenet``, ``random`` or where the file came from, ``weights_sha256`` its digest.
    """

    engine: Engine
    weights: str
    weights_sha256: str
    digest: str
    preprocessing: str

    @property
    def meaningless(self) -> bool:
        """Whether the weights are random, so that features show that the job works and nothing about fruit."""
        return self.weights == "random"


@dataclass(frozen=True)
class PcaRecord:
    """The reduction: how many components, how much variance they keep, how well labels hold together.

    The agreements are the shares of sampled images whose nearest other image has the same label (leave-one-out
    1-NN, Euclidean); None where fewer than two labels or images make the question empty.
    """

    components: int
    variance_kept: float
    standardized: bool
    agreement_features: float | None
    agreement_components: float | None
    agreement_sample: int


@dataclass(frozen=True)
class Manifest:
    """One published run.

    Times are UTC in ISO 8601; ``seconds`` is by stage, in the order they ran; ``retries`` counts the reads of photos
    that the storage had to be asked for again.
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
    retries: int = 0

    def to_json(self) -> str:
        """Return the manifest as indented JSON."""
        return json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read what :meth:`to_json` wrote; KeyError or TypeError where it is something else."""
        fields = json.loads(text)
        fields["counts"] = Counts(**fields["counts"])
        fields["model"] = ModelRecord(**fields["model"])
        fields["pca"] = PcaRecord(**fields["pca"])
        return cls(**fields)
