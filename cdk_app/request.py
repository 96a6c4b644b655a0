"""The input of a run: its keys and defaults, and the JSONata with which the state machine checks it."""

import json
from dataclasses import dataclass

# The same values are in the settings of the job.
IMAGE_PATTERN = r"\.(jpe?g|png|webp)$"  # in any case
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
FEATURE_COUNT = 1280
DEFAULT_COMPONENTS = 0.95
DEFAULT_MAX_REJECTED = 0.05
COMPONENT_COUNTS = (1, FEATURE_COUNT)
VARIANCE_SHARES = (0, 1)  # without the limits themselves
REJECTED_SHARES = (0, 1)
RUN_ID_PATTERN = "[A-Za-z0-9][A-Za-z0-9._-]*"


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
        f"($value >= {COMPONENT_COUNTS[0]} and $value <= {COMPONENT_COUNTS[1]} and $floor($value) = $value) : false",
        f"give a number of components such as 200, or the share of the variance to keep, such as {DEFAULT_COMPONENTS}",
    ),
    "max_rejected": Key(
        f"$type($value) = 'number' ? $value >= {REJECTED_SHARES[0]} and $value <= {REJECTED_SHARES[1]} : false",
        f"give the share of images that may be unreadable, from {REJECTED_SHARES[0]} to {REJECTED_SHARES[1]}",
    ),
    "recompute": Key("$type($value) = 'boolean'", "give true or false"),
}


def defaults(input_prefix: str) -> dict[str, object]:
    """Return the values of the keys that the input leaves out."""
    return {
        "input_prefix": input_prefix,
        "components": DEFAULT_COMPONENTS,
        "max_rejected": DEFAULT_MAX_REJECTED,
        "recompute": False,
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
    $contains($states.context.Execution.Name, /^{RUN_ID_PATTERN}$/) ? '' :
      'The name of the execution becomes the name of the run; use letters, digits, dots, dashes and underscores. '
  ])
) %}}"""


def with_defaults(input_prefix: str) -> str:
    """Return JSONata that yields the input, completed with the defaults."""
    return f"{{% $merge([{json.dumps(defaults(input_prefix))}, $states.input]) %}}"
