"""The input of a run: its keys and defaults, and the JSONata with which the state machine checks it."""

import json

from cdk_app import jsonata
from spark_job.network import MOBILENET_V2
from spark_job.settings import COMPONENTS_REMEDY, REJECTED_REMEDY, Settings

#: The keys of the input, all of them optional.
KEYS = ("input_prefix", "components", "max_rejected", "recompute")


def defaults(input_prefix: str) -> dict[str, object]:
    """Return the values of the keys that the input leaves out."""
    return {"input_prefix": input_prefix} | {key: getattr(Settings, key) for key in KEYS[1:]}


def problems() -> str:
    """Return JSONata that yields one sentence per mistake in the input, or an empty string."""
    return jsonata.expression(
        "problems",
        KEYS=KEYS,
        FEATURE_COUNT=MOBILENET_V2.feature_count,
        COMPONENTS_REMEDY=COMPONENTS_REMEDY,
        REJECTED_REMEDY=REJECTED_REMEDY,
    )


def with_defaults(input_prefix: str) -> str:
    """Return JSONata that yields the input, completed with the defaults."""
    return f"{{% $merge([{json.dumps(defaults(input_prefix))}, $states.input]) %}}"
