"""The input of a run: its keys and defaults, and the JSONata with which the state machine checks it."""

import json
from dataclasses import dataclass

from spark_job.network import MOBILENET_V2
from spark_job.settings import (
    COMPONENTS_REMEDY,
    MIN_COMPONENTS,
    REJECTED_REMEDY,
    REJECTED_SHARES,
    RUN_ID,
    VARIANCE_SHARES,
    Settings,
)


@dataclass(frozen=True)
class Key:
    """A key of the input: JSONata that tests a `$value`, and what to give instead of an invalid value."""

    test: str
    remedy: str


# The tests use `? :` because JSONata does not promise that `and` stops at the first false operand.
KEYS = {
    "input_prefix": Key(
        "$type($value) = 'string' ? $not($contains($value, /^\\/|\\/\\/|:/)) : false",
        'give a folder of the data bucket such as "photos/", without a leading slash',
    ),
    "components": Key(
        f"$type($value) = 'number' ? ($value > {VARIANCE_SHARES[0]} and $value < {VARIANCE_SHARES[1]}) or "
        f"($value >= {MIN_COMPONENTS} and $value <= {MOBILENET_V2.feature_count} and $floor($value) = $value) : false",
        COMPONENTS_REMEDY,
    ),
    "max_rejected": Key(
        f"$type($value) = 'number' ? $value >= {REJECTED_SHARES[0]} and $value <= {REJECTED_SHARES[1]} : false",
        REJECTED_REMEDY,
    ),
    "recompute": Key("$type($value) = 'boolean'", "give true or false"),
}


def defaults(input_prefix: str) -> dict[str, object]:
    """Return the values of the keys that the input leaves out."""
    return {
        "input_prefix": input_prefix,
        "components": Settings.components,
        "max_rejected": Settings.max_rejected,
        "recompute": Settings.recompute,
    }


def problems() -> str:
    """Return JSONata that yields one sentence per mistake in the input, or an empty string."""
    known = ", ".join(KEYS)
    checks = ",\n".join(
        f"    $exists($in.{name}) ? ($value := $in.{name}; ({key.test}) ? '' : "
        f"'{name} is ' & $string($value) & '; {key.remedy}. ') : ''"
        for name, key in KEYS.items()
    )
    return f"""{{% (
  $in := $states.input;
  $known := {json.dumps(list(KEYS))};
  $type($in) != 'object' ? 'The input is not a JSON object; give one such as {{}}. ' :
  $join([
    $map($keys($in)[$not($ in $known)], function($key) {{ 'Unknown key "' & $key & '". Valid keys: {known}. ' }}),
{checks},
    $contains($states.context.Execution.Name, /^{RUN_ID.pattern}$/) ? '' :
      'The name of the execution becomes the name of the run; use letters, digits, dots, dashes and underscores. '
  ])
) %}}"""


def with_defaults(input_prefix: str) -> str:
    """Return JSONata that yields the input, completed with the defaults."""
    return f"{{% $merge([{json.dumps(defaults(input_prefix))}, $states.input]) %}}"
