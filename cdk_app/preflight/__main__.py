"""The command behind ``make check-account``: whether a deployment and its first run would work. It changes nothing.

It takes the settings of ``cdk deploy`` and prints one line per check, with the command that is the remedy below it::

    python -m cdk_app.preflight -c region=eu-west-1 -c stage=prod
"""

import io
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import cdk_app  # must be first: it sets the Node that CDK runs on  # noqa: F401 # isort: skip
from cdk_app.account import Account, AwsError, Client
from cdk_app.command_line import Parser, context
from cdk_app.preflight import checks
from cdk_app.preflight.checks import DEFAULT_QUALIFIER, Deployment, Finding, Outcome
from cdk_app.stage_settings import SettingsError, StageSettings

_QUALIFIER = "@aws-cdk/core:bootstrapQualifier"


@dataclass(frozen=True)
class Check:
    """A check and its name. If one that is `needed` fails, AWS would refuse the questions of all later ones."""

    name: str
    ask: Callable[[Deployment], Finding]
    needed: bool = False

    def __call__(self, deployment: Deployment) -> Finding:
        """Return what the check finds. A question without an answer is a finding as well."""
        try:
            return self.ask(deployment)
        except AwsError as error:
            return Finding(Outcome.UNKNOWN, f"Could not check. {error}")
        except (KeyError, ValueError) as error:
            return Finding(Outcome.UNKNOWN, f"Could not check. AWS gave an answer of another form ({error!r}).")


CHECKS = (
    Check("credentials", checks.credentials, needed=True),
    Check("region", checks.region_enabled, needed=True),
    Check("account plan", checks.account_plan),
    Check("CDK bootstrap", checks.bootstrap_stack),
    Check("EMR release", checks.release_offered),
    Check("instance types", checks.types_offered),
    Check("on-demand vCPU", checks.on_demand_quota),
    Check("spot vCPU", checks.spot_quota),
    Check("VPC", checks.room_for_vpc),
    Check("S3 endpoint", checks.room_for_endpoint),
    Check("disk encryption", checks.disk_encryption),
    Check("GuardDuty", checks.runtime_monitoring),
    Check("e-mail", checks.address_confirmed),
    Check("budget", checks.budget),
)
_WIDTH = max(len(check.name) for check in CHECKS)


def main(arguments: Sequence[str] | None = None, client: Client | None = None) -> int:
    """Run the checks and print what they find.

    Parameters
    ----------
    arguments
        The command line without the program's name; by default that of this process.
    client
        Returns the client of boto3 for a service and a region; by default with the credentials of the environment.

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
    findings = _run(Deployment(settings, qualifier, Account(settings.region, client)))
    print(f"\n{_conclusion(findings)}")
    return int(any(finding.outcome is Outcome.FAILS for finding in findings))


def _run(deployment: Deployment) -> list[Finding]:
    """Run one check after the other, and print each finding at once."""
    findings = []
    for number, check in enumerate(CHECKS, start=1):
        finding = check(deployment)
        findings.append(finding)
        print(f"{finding.outcome.value} {check.name:{_WIDTH}}  {finding.sentence}", flush=True)
        if finding.remedy:
            print(f"  {'':{_WIDTH}}  $ {finding.remedy}", flush=True)
        if check.needed and finding.outcome is Outcome.FAILS:
            print(f"- The other {len(CHECKS) - number} checks are skipped, because AWS would not answer them.")
            break
    return findings


def _conclusion(findings: Iterable[Finding]) -> str:
    outcomes = [finding.outcome for finding in findings]
    failed, warned, unknown = map(outcomes.count, (Outcome.FAILS, Outcome.WARNING, Outcome.UNKNOWN))
    parts = []
    if warned:
        parts.append(_count(warned, "warning"))
    if unknown:
        parts.append(f"{unknown} could not be checked")
    also = f" ({', '.join(parts)})" if parts else ""
    if failed:
        return f"A deployment or its first run would fail: {_count(failed, 'problem')}{also}."
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
