"""The commands, their options, their error messages and their exit codes."""

import argparse
import contextlib
import dataclasses
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import get_args

from rich.console import Console

from spark_job import __version__, interruption
from spark_job.errors import RunError, UnexpectedError, UserError, explain
from spark_job.findings import Kind
from spark_job.log import Log
from spark_job.progress import Stages
from spark_job.settings import Engine, Settings, new_run_id, parse_components

_LISTED = 50
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
    "findings": (
        "findings --run results",
        "findings --run results --kind 'wrong label' --html findings.html",
        "findings --run s3://bucket/results --min-score 0.9 --csv",
    ),
    "sql": (
        "sql 'SELECT label, count(*) FROM features GROUP BY label' --run results",
        "sql wrong_labels --run s3://bucket/results --csv",
        "sql nearest_photos --set photo=Kiwi/00.jpg --run results",
    ),
    "watch": (
        "watch --output results",
        "watch --output s3://bucket/results --run-id 20261122T050353Z-1a2b",
    ),
    "compile": ("compile --weights imagenet --output mobilenet.model",),
    "forget": (
        "forget --output results --keep 3",
        "forget --output s3://bucket/results --run-id 20261122T050353Z-1a2b",
    ),
    "pack": (
        "pack --input photos --output s3://bucket/shards",
        "pack --input s3://bucket/tars --output s3://bucket/shards --size 256MB",
        "pack --output s3://bucket/shards --without erased.txt",
    ),
    "demo": ("demo",),
}

OnFailure = Callable[[argparse.Namespace, str], None]


def main(
    arguments: Sequence[str] | None = None, on_failure: OnFailure = lambda *_: None, log: Log | None = None
) -> int:
    """Run a command.

    Parameters
    ----------
    arguments
        The command line without the program's name; by default that of this process.
    on_failure
        Called with the parsed options and the error message if the command fails.
    log
        Where to write what libraries write to standard error; without it, they write to standard error.

    Returns
    -------
    int
        The exit code: 0 for success, 2 if the user can correct the error, 1 for a failed run.
    """
    # The console has its own handle on standard error, which is the log while the command works.
    handle = os.fdopen(os.dup(2), "w", buffering=1, encoding=sys.stderr.encoding, errors="backslashreplace")
    console = Console(file=handle)
    try:
        options = _parser().parse_args(arguments)
    except SystemExit:
        with contextlib.suppress(RunError):
            _print("", end="")
        raise
    with log.written() if log else contextlib.nullcontext():
        try:
            options.command(options, console)
        except Exception as error:
            told = explain(error)
            if isinstance(told, UnexpectedError):
                with contextlib.suppress(OSError):  # the disk of the log may be full
                    traceback.print_exc()
        else:
            return 0
    message = f"fruits: {told}"
    with interruption.ending:
        details = ""
        if log and isinstance(told, UnexpectedError):
            with contextlib.suppress(OSError):
                details = f" Details are in {log.keep()}."
        print(message + details, file=handle)
        handle.close()
        on_failure(options, message)
    return 2 if isinstance(told, UserError) else 1


def _print(text: str, end: str = "\n") -> None:
    """Print a result. A reader such as ``head`` may close the output before the end, which is no error."""
    try:
        print(text, end=end, flush=True)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python still has to write
        if not isinstance(error, BrokenPipeError):
            raise RunError(f"The result cannot be printed: {error.strerror}.") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fruits",
        description="Compute image features of fruit photos with Spark: MobileNetV2, then PCA, to Parquet.",
        epilog=_examples(examples[0] for examples in _EXAMPLES.values()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"fruits {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name, add, purpose in (
        ("run", _add_run, "compute the features of a folder of photos"),
        ("watch", _add_watch, "show the progress of a run from outside, until it is published or has failed"),
        ("findings", _add_findings, "list duplicates, wrong labels and unusable photos of a run"),
        ("similar", _add_similar, "find the photos of a run that look most like one photo"),
        ("sql", _add_sql, "answer a question about the tables of a run in SQL"),
        ("compile", _add_compile, "compile weights to the model file that a cluster uses"),
        ("pack", _add_pack, "pack photos into a few large zips, which a run reads in a few requests"),
        ("forget", _add_forget, "prune older runs before they expire, for example to erase a photo"),
        ("demo", _add_demo, "run on photos that the program draws itself"),
    ):
        command = commands.add_parser(
            name,
            help=purpose,
            description=f"{purpose.capitalize()}.",
            epilog=_examples(_EXAMPLES[name]),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        add(command)
    return parser


def _examples(commands: Iterable[str]) -> str:
    return "\n".join(["examples:", *(f"  fruits {command}" for command in commands)])


def _add_run(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--input", required=True, metavar="URI", help="photos, as LABEL/PHOTO.jpg: a folder or s3://bucket/prefix")
    add("--output", required=True, metavar="URI", help="where to write runs: a folder or s3://bucket/prefix")
    _add_model(parser)
    add(
        "--components",
        default=str(Settings.components),
        help="the number of components to keep, or the share of the variance (default: %(default)s)",
    )
    add("--standardize", action="store_true", help="divide features by their standard deviation before PCA")
    add(
        "--max-rejected",
        type=float,
        default=Settings.max_rejected,
        metavar="SHARE",
        help="fail if more than this share of the photos cannot be used (default: %(default)s)",
    )
    add("--run-id", metavar="ID", help="the id of the run (default: the time and a random suffix)")
    add("--recompute", action="store_true", help="compute all photos, even those that the last run has computed")
    add("--json", action="store_true", help="print the manifest instead of the summary")
    parser.set_defaults(command=_run)


def _add_watch(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Show the progress of a run from outside, such as on a cluster, until it is published (exit code 0) or has "
        "failed (exit code 1). If nothing moves for minutes, say so."
    )
    parser.add_argument("--output", required=True, metavar="URI", help="an output: a folder or s3://bucket/prefix")
    parser.add_argument(
        "--run-id", metavar="ID", help="the run, even if it has not started yet (default: the newest run in progress)"
    )
    parser.set_defaults(command=_watch)


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--weights",
        default=Settings.weights,
        metavar="SOURCE",
        help="imagenet, random, or the path or URI of a Keras .h5 file or a compiled model (default: %(default)s)",
    )
    parser.add_argument(
        "--engine",
        choices=get_args(Engine),
        default=Settings.engine,
        help="what runs the network (default: %(default)s)",
    )


def _add_similar(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("photo", metavar="PHOTO", help="a path or s3://bucket/key")
    add("--run", required=True, metavar="URI", help="an output, for its latest run, or the folder of one run")
    add("--weights", help="the weights of the run, if they have moved (default: those that the run names)")
    add("--k", type=int, default=5, metavar="COUNT", help="the number of photos to find (default: %(default)s)")
    add("--html", type=Path, metavar="FILE", help="also write a page with the photos")
    add("--json", action="store_true", help="print JSON")
    parser.set_defaults(command=_similar)


def _add_findings(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--run", required=True, metavar="URI", help="an output, for its latest run, or the folder of one run")
    add("--kind", type=Kind, choices=list(Kind), metavar="KIND", help=f"only one kind: {', '.join(Kind)}")
    add("--min-score", type=float, default=0.0, metavar="SCORE", help="only findings from this score on, up to 1")
    add(
        "--limit",
        type=int,
        metavar="COUNT",
        help="at most this many findings (default: 50 in the table, otherwise all)",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument("--csv", action="store_true", help="print CSV")
    form.add_argument("--html", type=Path, metavar="FILE", help="write a page with the photos")
    parser.set_defaults(command=_findings)


def _add_sql(parser: argparse.ArgumentParser) -> None:
    from spark_job import queries

    add = parser.add_argument
    names = ", ".join(queries.load())
    add("query", metavar="QUERY", help=f"SQL on features, pca, rejected, neighbours, findings and runs; or: {names}")
    add("--run", required=True, metavar="URI", help="an output, for its latest run, or the folder of one run")
    add(
        "--run-id",
        action="append",
        default=[],
        metavar="ID",
        help="use this run of the output, not the latest; can be repeated, and $run_id is the first",
    )
    add(
        "--set",
        action="append",
        default=[],
        type=_assignment,
        metavar="NAME=VALUE",
        help="the value of a parameter such as $photo; can be repeated",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument("--csv", action="store_true", help="print CSV")
    parser.set_defaults(command=_sql)


def _assignment(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def _add_compile(parser: argparse.ArgumentParser) -> None:
    _add_model(parser)
    parser.add_argument("--output", required=True, type=Path, metavar="FILE", help="the file to write")
    parser.set_defaults(command=_compile)


def _add_forget(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Prune the runs: remove older ones, and unpublished ones that started more than three days ago. The latest "
        "run stays."
    )
    parser.add_argument("--output", required=True, metavar="URI", help="an output: a folder or s3://bucket/prefix")
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


def _add_pack(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Pack photos into zips of some 100 MB, called shards, which a run reads in a few requests. Only what no shard "
        "has yet is packed, so repeat the command after an interruption, or every day."
    )
    add = parser.add_argument
    add("--input", metavar="URI", help="photos and tars (also of WebDataset): a folder or s3://bucket/prefix")
    add("--output", required=True, metavar="URI", help="the shards: a folder or s3://bucket/prefix")
    add("--size", default="128MB", help="the size of a shard in MB or GB (default: %(default)s)")
    add(
        "--without",
        type=Path,
        metavar="FILE",
        help="erase photos: write the shards anew that have them. The file has one path per line",
    )
    parser.set_defaults(command=_pack)


def _add_demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--folder", type=Path, default=Path("demo"), help="where to write photos and results (default: %(default)s)"
    )
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
    from spark_job import plan, session

    source = plan.open_input(settings.input)  # a mistake in it must not wait for Java
    with ThreadPoolExecutor(1) as pool:
        spark = pool.submit(session.start)  # Java starts while Python imports the rest and loads the model
        from spark_job.report.summary import summary
        from spark_job.run import run

        manifest = run(settings, source, Stages(console), start=spark.result)
    _print(manifest.to_json().rstrip() if as_json else summary(manifest))


def _watch(options: argparse.Namespace, console: Console) -> None:
    from spark_job import watch
    from spark_job.report.summary import summary
    from spark_job.storage import open_store

    output = open_store(options.output)
    folder = watch.choose(output, options.run_id)
    if folder is None:
        _print(watch.idle(output))
        return
    with interruption.scope(lambda: f"Interrupted; the run {folder.run_id} is not affected."):
        _print(summary(watch.watch(folder, console)))


def _similar(options: argparse.Namespace, console: Console) -> None:  # noqa: ARG001 - too quick for stages
    from spark_job import similar

    found = similar.search(options.photo, options.run, options.weights, options.k)
    if options.html:
        _write(options.html, similar.page(found).encode())
    _print(found.to_json() if options.json else similar.text(found))


def _findings(options: argparse.Namespace, console: Console) -> None:  # noqa: ARG001 - too quick for stages
    from spark_job import list_findings

    if options.limit is not None and options.limit < 1:
        raise UserError(f"limit is {options.limit}. Give the number of findings to list, at least 1.")
    is_table = not (options.json or options.csv or options.html)
    limit = options.limit or (_LISTED if is_table else None)
    listed = list_findings.find(options.run, options.kind, options.min_score, limit)
    if options.html:
        _write(options.html, list_findings.page(listed).encode())
    elif options.json or options.csv:
        print(list_findings.to_json(listed) if options.json else list_findings.to_csv(listed))
    else:
        Console().print(list_findings.terminal_table(listed))
        print(list_findings.summary(listed))


def _sql(options: argparse.Namespace, console: Console) -> None:  # noqa: ARG001 - too quick for stages
    from spark_job import sql

    answer = sql.ask(options.query, options.run, options.run_id, dict(options.set))
    if options.json or options.csv:
        _print(sql.to_json(answer) if options.json else sql.to_csv(answer))
    else:
        sql.show(answer, _LISTED, Console())


def _compile(options: argparse.Namespace, console: Console) -> None:
    from spark_job.network import weights

    with Stages(console).stage("model"):
        compiled = weights.load(options.weights, options.engine)
    _write(options.output, compiled.to_bytes())


def _write(file: Path, content: bytes) -> None:
    """Write a file whole or not at all, unless it is a device such as /dev/stdout."""
    from spark_job.storage import open_store

    try:
        if file.exists() and not file.is_file():
            file.write_bytes(content)
        else:
            place = file.resolve()
            place.parent.stat()  # a mistake in the path must not make folders
            open_store(str(place.parent)).write(place.name, content)
    except OSError as error:
        raise UserError(f"The file {file} cannot be written: {error.strerror}.") from error


def _forget(options: argparse.Namespace, _: Console) -> None:
    from spark_job.forget import forget
    from spark_job.storage import open_store
    from spark_job.storage.base import Removed

    if options.keep < 1:
        raise UserError(f"keep is {options.keep}. Give 1 or more: the latest run always stays.")
    output = open_store(options.output)
    try:
        removed = forget(output, options.run_id, options.keep)
    except OSError as error:
        raise RunError(f"Some objects could not be removed: {error}.") from error
    for run, what in removed.items():
        kind = "published" if run.published else "unpublished"
        _print(f"removed {run.run_id} ({kind}, started {run.started or 'unknown'}): {what}")
    total = Removed(sum(what.objects for what in removed.values()), sum(what.bytes for what in removed.values()))
    _print(f"removed {len(removed):,} runs from {output.uri}: {total}")


def _pack(options: argparse.Namespace, console: Console) -> None:
    from spark_job.pack.options import parse_size, read_paths, summary
    from spark_job.pack.packing import pack
    from spark_job.storage import open_store
    from spark_job.storage.base import UnavailableError

    if not options.input and not options.without:
        raise UserError("There is nothing to do. Give --input to pack photos, or --without to erase photos.")
    source = open_store(options.input) if options.input else None
    output, size = open_store(options.output), parse_size(options.size)
    without = read_paths(options.without) if options.without else set()
    again = "the same command goes on from here"
    with interruption.scope(lambda: f"Interrupted; {again}."):
        try:
            packed = pack(source, output, size, without, Stages(console))
        except UnavailableError as error:
            raise RunError(f"{error}; {again}.") from error
        except OSError as error:
            raise UserError(f"Packing has stopped: {error}. Correct this; {again}.") from error
    _print(summary(packed, output))


def _demo(options: argparse.Namespace, console: Console) -> None:
    from spark_job import demo
    from spark_job.network import weights

    photos = options.folder / "photos"
    with Stages(console).stage("photos"):
        demo.draw(photos)
    settings = Settings(input=str(photos), output=str(options.folder / "results"))
    try:
        _execute(settings, console)
    except weights.WeightsUnavailableError as error:
        notice = "Continuing with random weights: the job works the same, but its features mean nothing."
        console.print(f"{error}\n{notice}", soft_wrap=True, highlight=False)
        _execute(dataclasses.replace(settings, weights="random"), console)
