"""The command behind ``make check-account``: whether a deployment and its first run would work. It changes nothing.

It takes the settings of ``cdk deploy`` and prints one line per check, with the command that is the remedy below it::

    python -m cdk_app.preflight -c region=eu-west-1 -c stage=prod
"""

import io
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import cdk_app  # must be first: it sets the Node that CDK runs on  # noqa: F401 # isort: skip
from cdk_app.account import AWS_ERRORS, clients, sentence
from cdk_app.command_line import Parser, context
from cdk_app.preflight import checks
from cdk_app.preflight.checks import DEFAULT_QUALIFIER, FAILS, UNKNOWN, WARNING, Deployment, Finding
from cdk_app.stage_settings import SettingsError, StageSettings

_QUALIFIER = "@aws-cdk/core:bootstrapQualifier"

CHECKS: dict[str, Callable[[Deployment], Finding]] = {
    "credentials": checks.credentials,
    "region": checks.region_enabled,
    "account plan": checks.account_plan,
    "CDK bootstrap": checks.bootstrap_stack,
    "EMR release": checks.release_offered,
    "instance types": checks.types_offered,
    "on-demand vCPU": checks.on_demand_quota,
    "spot vCPU": checks.spot_quota,
    "VPC": checks.room_for_vpc,
    "S3 endpoint": checks.room_for_endpoint,
    "disk encryption": checks.disk_encryption,
    "GuardDuty": checks.runtime_monitoring,
    "e-mail": checks.address_confirmed,
    "budget": checks.budget,
}
#: If one of these fails, AWS would refuse the questions of all others.
_NEEDED = ("credentials", "region")
_WIDTH = max(map(len, CHECKS))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the checks and print what they find.

    Parameters
    ----------
    arguments
        The command line without the program's name; by default that of this process.

    Returns
    -------
    int
        The exit code: 0 if nothing stands in the way, 1 if something would fail, 2 for wrong use.
    """
    try:
        given = context(_parser().parse_args(arguments).context)
        settings = StageSettings.from_context(given)
    except SettingsError as error:
        print(f"fruits: {error}", file=sys.stderr)
        return 2
    qualifier = str(given.get(_QUALIFIER, DEFAULT_QUALIFIER))
    marks = Counter(_run(Deployment(settings, qualifier, clients(settings.region))))
    print(f"\n{_conclusion(marks)}")
    return int(marks[FAILS] > 0)


def _run(deployment: Deployment) -> Iterator[str]:
    """Run one check after the other, print each finding at once, and yield its mark."""
    for number, (name, check) in enumerate(CHECKS.items(), start=1):
        finding = _finding(check, deployment)
        print(f"{finding.mark} {name:{_WIDTH}}  {finding.sentence}", flush=True)
        if finding.remedy:
            print(f"  {'':{_WIDTH}}  $ {finding.remedy}", flush=True)
        yield finding.mark
        if name in _NEEDED and finding.mark == FAILS:
            print(f"- The other {len(CHECKS) - number} checks are skipped, because AWS would not answer them.")
            return


def _finding(check: Callable[[Deployment], Finding], deployment: Deployment) -> Finding:
    """Return what a check finds. A question without an answer is a finding as well."""
    try:
        return check(deployment)
    except AWS_ERRORS as error:
        return Finding(UNKNOWN, f"Could not check. {sentence(error)}")
    except (KeyError, ValueError) as error:
        return Finding(UNKNOWN, f"Could not check. AWS gave an answer of another form ({error!r}).")


def _conclusion(marks: Counter[str]) -> str:
    parts = [_count(marks[WARNING], "warning")] if marks[WARNING] else []
    parts += [f"{marks[UNKNOWN]} could not be checked"] if marks[UNKNOWN] else []
    also = f" ({', '.join(parts)})" if parts else ""
    if marks[FAILS]:
        return f"A deployment or its first run would fail: {_count(marks[FAILS], 'problem')}{also}."
    return f"Nothing that was checked stands in the way of a deployment{also}."


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'s' * (number != 1)}"


def _parser() -> Parser:
    return Parser(
        prog="python -m cdk_app.preflight",
        description="Ask AWS whether a deployment and its first run would work. Nothing is changed.",
        epilog="Marks: ✓ is fine, ✗ would fail, ! is a warning, ? could not be checked.",
    )


if __name__ == "__main__":
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")  # not every locale has the marks
    sys.exit(main())
