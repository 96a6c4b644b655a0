"""What a person may ask of a run, as the state machine checks it: a table here, a JSONata expression there."""

import json
from dataclasses import dataclass

from cdk_app.settings import Settings


@dataclass(frozen=True)
class Key:
    """One key of the input: what it is when left out, the JSONata test of a `$value`, and what to give instead."""

    default: object
    test: str
    remedy: str


def keys(settings: Settings) -> dict[str, Key]:
    """Return the keys that a run's input may have."""
    return {
        "input_prefix": Key(
            settings.input_prefix,
            # The tests are nested because JSONata's `and` does not say that it stops at the first false.
            "$type($value) = 'string' ? $not($contains($value, /^\\/|\\/\\/|:/)) : false",
            'give a folder of the data bucket such as "photos/", without a leading slash',
        ),
        "components": Key(
            0.95,
            "$type($value) = 'number' ? ($value > 0 and $value < 1) or "
            "($value >= 1 and $value <= 1280 and $floor($value) = $value) : false",
            "give a number of components such as 200, or the share of the variance to keep, such as 0.95",
        ),
        "max_rejected": Key(
            0.05,
            "$type($value) = 'number' ? $value >= 0 and $value <= 1 : false",
            "give the share of images that may be unreadable, from 0 to 1",
        ),
        "recompute": Key(False, "$type($value) = 'boolean'", "give true or false"),
    }


def problems(settings: Settings) -> str:
    """Return the JSONata that yields what is wrong with the input, a sentence each; an empty string if nothing is."""
    table = keys(settings)
    known = ", ".join(table)
    checks = ",\n".join(
        f"    $exists($in.{name}) ? ($value := $in.{name}; ({key.test}) ? '' : "
        f"'{name} is ' & $string($value) & '; {key.remedy}. ') : ''"
        for name, key in table.items()
    )
    return f"""{{% (
  $in := $states.input;
  $known := {json.dumps(list(table))};
  $type($in) != 'object' ? 'The input is not a JSON object; give one such as {{}}. ' :
  $join([
    $map($keys($in)[$not($ in $known)], function($key) {{ $key & ' is no key of the input; there are {known}. ' }}),
{checks},
    $contains($states.context.Execution.Name, /^[A-Za-z0-9][A-Za-z0-9._-]*$/) ? '' :
      'The name of the execution becomes the name of the run; use letters, digits, dots, dashes and underscores. '
  ])
) %}}"""


def complete(settings: Settings) -> str:
    """Return the JSONata that yields the input with the defaults filled in."""
    defaults = {name: key.default for name, key in keys(settings).items()}
    return f"{{% $merge([{json.dumps(defaults)}, $states.input]) %}}"
