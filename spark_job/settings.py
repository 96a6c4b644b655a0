"""The settings of a run, and their valid values. They are checked before anything starts."""

import re
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal, get_args

from spark_job.errors import UserError

Engine = Literal["litert", "tensorflow"]

RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
MIN_COMPONENTS = 1
VARIANCE_SHARES = (0, 1)
"""The limits of the share of the variance to keep. Both are invalid."""
REJECTED_SHARES = (0, 1)
"""The smallest and the largest valid share of rejected photos."""

COMPONENTS_REMEDY = (
    "give a number of components such as 200, or the share of the variance to keep, above 0 and below 1, such as 0.95"
)
REJECTED_REMEDY = "give the share of the photos that may be rejected, from 0 to 1"


def new_run_id() -> str:
    """Return a new id. Ids sort by time, and a random suffix makes them unique."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"


def check_run_id(run_id: str) -> None:
    """Raise UserError if a run cannot have this id."""
    if not RUN_ID.fullmatch(run_id):
        raise UserError(
            f"run-id is {run_id!r}; give at most 128 letters, digits, dots, dashes and underscores, "
            "the first one a letter or a digit."
        )


def parse_components(text: str) -> int | float:
    """Parse a number of components (``200``) or a share of the variance to keep (``0.95``), as scikit-learn does.

    Raises
    ------
    UserError
        If it is neither a positive integer nor a number strictly between 0 and 1.
    """
    try:
        value = int(text) if re.fullmatch(r"[+-]?\d+", text.strip()) else float(text)
    except ValueError:
        value = 0
    low, high = VARIANCE_SHARES
    if (isinstance(value, int) and value >= MIN_COMPONENTS) or (isinstance(value, float) and low < value < high):
        return value
    raise UserError(f"components is {text}; {COMPONENTS_REMEDY}.")


@dataclass(frozen=True)
class Settings:
    """The settings of one run.

    Parameters
    ----------
    input, output
        Local folders or ``s3://bucket/prefix``.
    weights
        ``imagenet`` (Keras's official file), ``random``, or the path or URI of a weights file or compiled model.
    engine
        What runs the network: ``litert`` or ``tensorflow``.
    components
        The number of principal components to keep. A value below 1 is the share of the variance to keep.
    standardize
        Whether to divide each feature by its standard deviation before PCA.
    max_rejected
        The run fails if more than this share of the photos is rejected; from 0 to 1.
    run_id
        The id of the run; a new one by default.
    recompute
        Whether to compute all photos, even those whose features an earlier run has computed.

    Raises
    ------
    UserError
        If a value is invalid.
    """

    input: str
    output: str
    weights: str = "imagenet"
    engine: Engine = "litert"
    components: int | float = 0.95
    standardize: bool = False
    max_rejected: float = 0.05
    run_id: str = field(default_factory=new_run_id)
    recompute: bool = False

    def __post_init__(self) -> None:
        parse_components(str(self.components))
        if self.engine not in get_args(Engine):
            raise UserError(f"engine is {self.engine}; give one of {', '.join(get_args(Engine))}.")
        low, high = REJECTED_SHARES
        if not low <= self.max_rejected <= high:
            raise UserError(f"max-rejected is {self.max_rejected}; {REJECTED_REMEDY}.")
        check_run_id(self.run_id)
        for name in ("input", "output", "weights"):
            if not getattr(self, name).strip():
                raise UserError(f"{name} is empty; give a path or an S3 URI.")
