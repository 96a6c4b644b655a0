"""Answers SQL about published runs with DuckDB, in the tables that Athena has too. It needs no Spark."""

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from rich import box
from rich.console import Console
from rich.table import Column
from rich.table import Table as TerminalTable
from rich.text import Text

from spark_job import queries, runs, tables
from spark_job.errors import UserError
from spark_job.manifest import SUMMARY_SCHEMA
from spark_job.runs import RunFolder
from spark_job.storage import open_store
from spark_job.storage.base import Store
from spark_job.tables import Table

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection
    from pyarrow.dataset import Dataset

RUN_ID = "run_id"
TABLES = {
    runs.FEATURES: tables.FEATURES_SCHEMA,
    runs.PCA: tables.PCA_SCHEMA,
    runs.REJECTED: tables.REJECTED_SCHEMA,
    runs.NEIGHBOURS: tables.NEIGHBOURS_SCHEMA,
    runs.FINDINGS: tables.FINDINGS_SCHEMA,
}
"""The columns of the tables of a run. A query sees the id of the run as one more column."""

_ROWS_PER_BATCH = 1_024


@dataclass(frozen=True)
class Answer:
    """The answer to a query: the names of its columns, and its rows, which are read once."""

    columns: list[str]
    rows: Iterator[tuple[Any, ...]]


def ask(sql: str, run: str, run_ids: Sequence[str] = (), parameters: Mapping[str, str] | None = None) -> Answer:
    """Execute a query on the tables of runs, of which it reads only what it needs.

    Parameters
    ----------
    sql
        The query, or the name of a question in :mod:`spark_job.queries`.
    run
        An output, for its latest run, or the folder of one run.
    run_ids
        The runs of the output to use instead of the latest.
    parameters
        The values of parameters such as ``$photo``. ``$run_id`` is the first run, unless it is given.

    Raises
    ------
    UserError
        If DuckDB is not installed, if a run cannot be read, if a parameter has no value, or if DuckDB refuses the
        query.
    """
    duckdb = _duckdb()
    chosen = _choose(run, run_ids)
    known = queries.load()
    sql = known[sql].sql if sql in known else sql
    # Nothing is downloaded, and times are shown in UTC.
    connection = duckdb.connect(config={"autoinstall_known_extensions": False, "TimeZone": "UTC"})
    try:
        (statement,) = duckdb.extract_statements(sql)
        words = set(re.findall(r"\w+", sql.lower()))
        for name in words & TABLES.keys():
            connection.register(name, _dataset(name, chosen))
        if runs.RUNS in words:
            connection.register(runs.RUNS, _summaries(run))
        values = {RUN_ID: next(iter(chosen)), **(parameters or {})}
        if missing := sorted(statement.named_parameters - values.keys()):
            raise UserError(f"The SQL has the parameter ${missing[0]}. Give its value: --set {missing[0]}=VALUE.")
        used = {name: values[name] for name in statement.named_parameters}
        reader = connection.sql(statement, params=used).to_arrow_reader(_ROWS_PER_BATCH)
    except ValueError as error:  # not one statement
        raise UserError("The SQL is not one query. Give one, such as 'SELECT count(*) FROM features'.") from error
    except (duckdb.Error, OSError, pa.ArrowException) as error:
        raise _refused(error) from error
    return Answer(reader.schema.names, _rows(reader, connection))


def _duckdb() -> ModuleType:
    try:
        import duckdb
    except ImportError as error:
        raise UserError("The command sql needs DuckDB. Install it with: pip install duckdb.") from error
    return duckdb


def _choose(run: str, run_ids: Sequence[str]) -> dict[str, Store]:
    """Return the folders of the chosen runs by their ids."""
    if not run_ids:
        folder, manifest = runs.find(run)
        return {manifest.run_id: folder}
    output = open_store(run)
    for run_id in run_ids:
        if not RunFolder(output, run_id).is_published:
            raise UserError(f"There is no published run {run_id} in {output.uri}.")
    return {run_id: open_store(RunFolder(output, run_id).uri) for run_id in run_ids}


def _dataset(name: str, chosen: Mapping[str, Store]) -> "Dataset":
    """Return a table of the chosen runs, with the id of the run as its last column, as in Athena."""
    from pyarrow.dataset import FileSystemDataset, ParquetFileFormat, field

    fragments = [
        fragment
        for run_id, folder in chosen.items()
        for fragment in Table(folder.uri, name).fragments(field(RUN_ID) == run_id)
    ]
    return FileSystemDataset(fragments, TABLES[name].append(pa.field(RUN_ID, pa.string())), ParquetFileFormat())


def _summaries(run: str) -> pa.Table:
    """Return the summaries of all runs of an output, or the one of a run whose folder is given."""
    output = open_store(run)
    listed = [path for page in output.listing(runs.SUMMARIES) for path in page.column("path").to_pylist()]
    texts = [output.read(path).data for path in listed] or [runs.find(run)[1].summary().encode()]
    return pa.Table.from_pylist([json.loads(text) for text in texts], SUMMARY_SCHEMA)


def _rows(reader: pa.RecordBatchReader, connection: "DuckDBPyConnection") -> Iterator[tuple[Any, ...]]:
    with connection:
        try:
            for batch in reader:
                yield from zip(*(column.to_pylist(maps_as_pydicts="strict") for column in batch.columns), strict=True)
        except (OSError, pa.ArrowException) as error:  # an error of DuckDB or of the storage, while rows are computed
            raise _refused(error) from error


def _refused(error: Exception) -> UserError:
    reason = " ".join(str(error).partition("\nLINE ")[0].split())  # the rest shows where, on several lines
    return UserError(f"DuckDB cannot execute the SQL ({reason}).")


def show(answer: Answer, limit: int, console: Console) -> None:
    """Show the first rows of an answer as a table."""
    columns = [Column(name, overflow="fold") for name in answer.columns]
    table = TerminalTable(*columns, box=box.SIMPLE_HEAD, pad_edge=False)
    for row in islice(answer.rows, limit):
        table.add_row(*(Text(_text(value)) for value in row))  # not markup
    console.print(table)
    if next(answer.rows, None) is not None:
        console.print(f"These are the first {limit} rows. --csv and --json print all.", highlight=False)


def to_json(answer: Answer) -> str:
    """Return an answer as an indented JSON array."""
    rows = [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]
    return json.dumps(rows, indent=2, ensure_ascii=False, default=_text)


def to_csv(answer: Answer) -> str:
    """Return an answer as CSV with a header. Lists and records are JSON in it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(answer.columns)
    writer.writerows([_text(value) for value in row] for row in answer.rows)
    return text.getvalue().rstrip("\n")


def _text(value: Any) -> str:
    match value:
        case None:
            return ""
        case bytes():
            return value.hex()
        case list() | dict():
            return json.dumps(value, ensure_ascii=False, default=_text)
    return str(value)
