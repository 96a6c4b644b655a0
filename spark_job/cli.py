"""The commands, their errors and their exit codes."""

import argparse
import dataclasses
import os
import sys
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console

from spark_job import __version__
from spark_job.errors import RunError, UserError
from spark_job.progress import Stages
from spark_job.settings import Settings, new_run_id, parse_components

_EXAMPLES = {
    "run": (
        "run --input photos --output results",
        "run --input s3://bucket/photos --output s3://bucket/results --components 200",
        "run --input photos --output results --json | jq .counts",
    ),
    "similar": (
        "similar photo.jpg --run results",
        "similar s3://bucket/photo.jpg --run s3://bucket/results --k 12 --html similar.html",
    ),
    "compile": ("compile --weights imagenet --output mobilenet.model",),
    "forget": (
        "forget --output results --keep 3",
        "forget --output s3://bucket/results --run-id 20261122T050353Z-1a2b",
    ),
    "demo": ("demo",),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0 for success, 2 for a mistake of the user's, 1 for a failed run."""
    options = _parser().parse_args(arguments)
    # Its own handle on standard error: C++ libraries are silenced on the usual one while they load.
    console = Console(file=os.fdopen(os.dup(sys.stderr.fileno()), "w", buffering=1))
    try:
        options.command(options, console)
    except UserError as error:
        return _say(error, 2)
    except RunError as error:
        return _say(error, 1)
    except KeyboardInterrupt:
        return _say("Interrupted; nothing was published.", 1)
    except Exception as error:
        traceback.print_exc()
        return _say(f"The run failed: {_root_cause(error)}", 1)
    return 0


def _say(sentence: object, code: int) -> int:
    print(f"fruits: {sentence}", file=sys.stderr)
    return code


def _root_cause(error: Exception) -> str:
    """Return the line that says most: the innermost Java exception, or the last line of a worker's traceback."""
    from py4j.protocol import Py4JJavaError
    from pyspark.errors import PythonException

    said = str(error)
    if isinstance(error, Py4JJavaError):
        cause = error.java_exception
        while cause.getCause() is not None:
            cause = cause.getCause()
        said = cause.toString()
    lines = [line.strip() for line in said.splitlines() if line.strip()] or [type(error).__name__]
    return lines[-1] if isinstance(error, PythonException) else lines[0]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m spark_job",
        description="Image features of fruit photos with Spark: MobileNetV2, PCA, Parquet.",
        epilog=_examples(examples[0] for examples in _EXAMPLES.values()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"fruits {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name, add, does in (
        ("run", _add_run, "compute the features of a folder of photos"),
        ("similar", _add_similar, "find the photos of a run that look most like one photo"),
        ("compile", _add_compile, "make the model file that a cluster runs, from weights"),
        ("forget", _add_forget, "remove older runs now, for an erasure that cannot wait"),
        ("demo", _add_demo, "run on photos that it draws itself"),
    ):
        command = commands.add_parser(
            name,
            help=does,
            description=f"{does.capitalize()}.",
            epilog=_examples(_EXAMPLES[name]),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        add(command)
    return parser


def _examples(commands: Iterable[str]) -> str:
    return "\n".join(["examples:", *(f"  python -m spark_job {command}" for command in commands)])


def _add_run(parser: argparse.ArgumentParser) -> None:
    defaults = {field.name: field.default for field in dataclasses.fields(Settings)}
    add = parser.add_argument
    add("--input", required=True, metavar="URI", help="photos, as LABEL/PHOTO.jpg: a folder or s3://bucket/prefix")
    add("--output", required=True, metavar="URI", help="where runs go: a folder or s3://bucket/prefix")
    _add_model(parser)
    add(
        "--components",
        default=str(defaults["components"]),
        help="how many to keep, or the share of the variance (default: %(default)s)",
    )
    add("--standardize", action="store_true", help="divide features by their standard deviation before PCA")
    add(
        "--max-rejected",
        type=float,
        default=defaults["max_rejected"],
        metavar="SHARE",
        help="the share of unusable images above which the run fails (default: %(default)s)",
    )
    add("--run-id", metavar="ID", help="the run's name (default: the time and some letters)")
    add("--recompute", action="store_true", help="compute also what the last run has computed already")
    add("--json", action="store_true", help="print the manifest in place of the summary")
    parser.set_defaults(command=_run)


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--weights",
        default="imagenet",
        help="imagenet, random, or the path or URI of a MobileNetV2 .h5 file or compiled model (default: %(default)s)",
    )
    parser.add_argument(
        "--engine",
        choices=("litert", "tensorflow"),
        default="litert",
        help="what runs the network (default: %(default)s)",
    )


def _add_similar(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("photo", metavar="PHOTO", help="a path or s3://bucket/key")
    add("--run", required=True, metavar="URI", help="the output of runs, for the latest of them, or one run's folder")
    add("--weights", help="what the run was made with, where that has moved (default: what the run names)")
    add("--k", type=int, default=5, metavar="COUNT", help="how many photos (default: %(default)s)")
    add("--html", type=Path, metavar="FILE", help="write a page with the photos as well")
    add("--json", action="store_true", help="print JSON")
    parser.set_defaults(command=_similar)


def _add_compile(parser: argparse.ArgumentParser) -> None:
    _add_model(parser)
    parser.add_argument("--output", required=True, type=Path, metavar="FILE", help="the file to write")
    parser.set_defaults(command=_compile)


def _add_forget(parser: argparse.ArgumentParser) -> None:
    parser.description = "Remove older runs, and what unpublished ones left a day ago or longer; never the latest run."
    parser.add_argument("--output", required=True, metavar="URI", help="where runs are: a folder or s3://bucket/prefix")
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--keep",
        type=int,
        default=1,
        metavar="N",
        help="how many published runs stay (default: %(default)s, the latest)",
    )
    which.add_argument("--run-id", action="append", default=[], metavar="ID", help="remove this run; can be repeated")
    parser.set_defaults(command=_forget)


def _add_demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--folder", type=Path, default=Path("demo"), help="where to (default: %(default)s)")
    parser.set_defaults(command=_demo)


def _run(options: argparse.Namespace, console: Console) -> None:
    settings = Settings(
        input=options.input,
        output=options.output,
        weights=options.weights,
        engine=options.engine,
        components=parse_components(options.components),
        standardize=options.standardize,
        max_rejected=options.max_rejected,
        run_id=options.run_id or new_run_id(),
        recompute=options.recompute,
    )
    _execute(settings, console, as_json=options.json)


def _execute(settings: Settings, console: Console, *, as_json: bool = False) -> None:
    from spark_job.report.summary import summary
    from spark_job.run import run

    manifest = run(settings, Stages(console))
    print(manifest.to_json().rstrip() if as_json else summary(manifest))


def _similar(options: argparse.Namespace, console: Console) -> None:  # noqa: ARG001 - too quick for stages
    from spark_job import similar

    found = similar.search(options.photo, options.run, options.weights, options.k)
    if options.html:
        _write(options.html, similar.page(found).encode())
    print(found.to_json() if options.json else similar.text(found))


def _compile(options: argparse.Namespace, console: Console) -> None:
    from spark_job import weights

    with Stages(console).stage("model"):
        compiled = weights.load(options.weights, options.engine)
    _write(options.output, compiled.to_bytes())


def _write(file: Path, content: bytes) -> None:
    try:
        file.write_bytes(content)
    except OSError as error:
        raise UserError(f"The file {file} cannot be written: {error.strerror}.") from error


def _forget(options: argparse.Namespace, _: Console) -> None:
    from spark_job.forget import forget
    from spark_job.objects import Removed
    from spark_job.store import open_store

    if options.keep < 1:
        raise UserError(f"keep is {options.keep}; give 1 or more: the latest run always stays.")
    output = open_store(options.output)
    try:
        removed = forget(output, options.run_id, options.keep)
    except OSError as error:
        raise RunError(f"Not all could be removed: {error}.") from error
    for run, what in removed.items():
        kind = "published" if run.published else "unpublished"
        print(f"removed {run.run_id} ({kind}, started {run.started or 'unknown'}): {what}")
    total = Removed(sum(what.objects for what in removed.values()), sum(what.bytes for what in removed.values()))
    print(f"removed {len(removed):,} runs from {output.uri}: {total}")


def _demo(options: argparse.Namespace, console: Console) -> None:
    from spark_job import demo, weights

    photos = options.folder / "photos"
    with Stages(console).stage("photos"):
        demo.draw(photos)
    settings = Settings(input=str(photos), output=str(options.folder / "results"))
    try:
        _execute(settings, console)
    except weights.WeightsUnavailableError as error:
        goes_on = "Going on with random weights: the job works the same, its features mean nothing."
        console.print(f"{error}\n{goes_on}", soft_wrap=True, highlight=False)
        _execute(dataclasses.replace(settings, weights="random"), console)
