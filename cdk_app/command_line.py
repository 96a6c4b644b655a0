"""The command line of the commands that ask AWS: they take settings as ``cdk deploy`` does."""

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

from cdk_app.stage_settings import SettingsError

_CDK_JSON = Path(__file__).parents[1] / "cdk.json"


class Parser(argparse.ArgumentParser):
    """A parser with the option ``-c name=value``, which reports wrong use in one sentence."""

    def __init__(self, prog: str, description: str, epilog: str | None = None) -> None:
        super().__init__(prog=prog, description=description, epilog=epilog)
        self.add_argument(
            "-c",
            "--context",
            action="append",
            default=[],
            metavar="name=value",
            help="a setting, as for cdk deploy; repeat it for more",
        )

    def error(self, message: str) -> NoReturn:
        """Print the sentence and exit."""
        self.exit(2, f"fruits: {message}; give settings as -c name=value.\n")


def context(given: Iterable[str]) -> dict[str, object]:
    """Return the context of the app as CDK reads it: `cdk.json`, and then the command line.

    Raises
    ------
    SettingsError
        If an argument has no value, or `cdk.json` is not JSON.
    """
    try:
        found: dict[str, object] = json.loads(_CDK_JSON.read_text())["context"]
    except json.JSONDecodeError as error:
        raise SettingsError(f"{_CDK_JSON} is not valid JSON: {error}.") from None
    for argument in given:
        name, equals, value = argument.partition("=")
        if not equals:
            raise SettingsError(f'The setting "{argument}" has no value; write it as -c name=value.')
        found[name] = value
    return found
