"""The command behind ``make try-aws``: one run on a deployed stage, checked and measured.

It takes the settings of ``cdk deploy``. It uploads the demo's photos, runs, checks every count and file, asks Athena,
downloads the results, removes the photos, and prints what it measured beside what the documents assume::

    python -m cdk_app.trial -c region=eu-west-1 -c stage=prod
"""

import json
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

import cdk_app  # must be first: it sets the Node that CDK runs on  # noqa: F401 # isort: skip
from cdk_app.account import AWS_ERRORS, sentence
from cdk_app.command_line import Parser, context
from cdk_app.stage_settings import SettingsError, StageSettings
from cdk_app.trial import judgement
from cdk_app.trial.judgement import Row
from cdk_app.trial.stage import SIGNALS, Stage, TrialError
from spark_job import demo
from spark_job.duration import duration
from spark_job.runs import REPORT

_MAX_REJECTED = 0.5  # the demo has two broken photos; the trial itself checks that no other is rejected
_RESULTS = Path("demo")


@dataclass(frozen=True)
class Result:
    """What a trial found."""

    run: str
    stage: str
    region: str
    photos: int
    rows: list[Row]
    problems: list[str]
    report: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Try a deployed stage, and print what was measured.

    Parameters
    ----------
    arguments
        The command line without the program's name; by default that of this process.

    Returns
    -------
    int
        The exit code: 0 if everything is right, 1 if the trial failed or was interrupted, 2 for wrong use.
    """
    options = _parser().parse_args(arguments)
    for number in SIGNALS:
        signal.signal(number, _interrupt)
    try:
        settings = StageSettings.from_context(context(options.context))
        result = _try(Stage.find(settings), settings, options.per_label)
    except SettingsError as error:
        print(f"fruits: {error}", file=sys.stderr)
        return 2
    except TrialError as error:
        print(f"fruits: {error}", file=sys.stderr)
        return 1
    except AWS_ERRORS as error:
        print(f"fruits: {sentence(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("fruits: Interrupted. The execution is stopped, and the photos are removed.", file=sys.stderr)
        return 1
    print(json.dumps(asdict(result), indent=2) if options.json else _page(result))
    return int(bool(result.problems))


def _try(stage: Stage, settings: StageSettings, per_label: int) -> Result:
    """Run once on the demo's photos, and check and measure the run."""
    run = f"trial-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    prefix = f"trials/{run}/"
    say = _clock()
    latest = stage.latest()
    with tempfile.TemporaryDirectory() as folder:
        say(f"draw       {per_label} photos of each kind of fruit")
        demo.draw(Path(folder), per_label)
        try:
            say(f"upload     the demo's photos to s3://{stage.data}/{prefix}")
            photos = stage.upload(Path(folder), prefix)
            say(f"execution  {run}")
            stage.start(run, {"input_prefix": prefix, "max_rejected": _MAX_REJECTED})
            output = stage.wait(run, say)
        finally:
            stage.clean_up(run, prefix, latest)
    say("check      counts, tables and files")
    left = _RESULTS / run
    summary, times = stage.download(run, left), stage.times(run)
    problems = judgement.problems(photos, output, left, summary, stage.ask(judgement.COUNTS.format(run)))
    if not times.cluster_state.startswith("TERMINATED"):
        problems.append(f"The cluster is still {times.cluster_state}.")
    rows = judgement.rows(output, summary, times, settings)
    return Result(run, settings.name, settings.region, len(photos), rows, problems, str((left / REPORT).resolve()))


def _page(result: Result) -> str:
    return "\n".join(
        [
            f"The run {result.run} on {result.stage} in {result.region}, {result.photos} photos:",
            "",
            judgement.table(result.rows),
            "",
            *(result.problems or ["Every count and file is right."]),
            f"report     {result.report}",
        ]
    )


def _clock() -> Callable[[str], None]:
    """Return a function that prints what happens, and after what time."""
    began = time.monotonic()

    def say(what: str) -> None:
        print(f"{duration(time.monotonic() - began):>12}  {what}", file=sys.stderr, flush=True)

    return say


def _interrupt(*_: object) -> NoReturn:
    """Begin to clean up. Further signals must not interrupt that."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _parser() -> Parser:
    parser = Parser(
        prog="python -m cdk_app.trial",
        description="Run once on the demo's photos in a deployed stage, check the results, and measure the run. It "
        "costs about 0.13 USD, and removes the photos.",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument(
        "--per-label",
        type=int,
        default=20,
        metavar="COUNT",
        help="photos of each of the 16 kinds of fruit; more of them measure the speed better (default: %(default)s)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
