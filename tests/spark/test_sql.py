"""SQL on the tables of runs: the command `sql`, the questions that it and Athena know, and the types for Athena."""

import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import sqlglot
from pyspark.sql import SparkSession
from rich.console import Console

from cdk_app.catalogue import hive_type
from spark_job import queries, runs, sql
from spark_job.errors import UserError
from spark_job.manifest import SUMMARY_SCHEMA
from spark_job.plan import open_input
from spark_job.progress import Stages
from spark_job.run import run
from spark_job.settings import Settings
from spark_job.sql import Answer, ask
from tests.example import WITHOUT_SPARK
from tests.hostile import picture

QUERIES = queries.load()
Rows = list[tuple[Any, ...]]


def _save(seed: int, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    picture(seed=seed).save(file)


@pytest.fixture(scope="module")
def results(
    spark: SparkSession,  # noqa: ARG001 - starts Spark
    model_file: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> str:
    """An output with two runs. Between them, a label and a copy came, and a photo was cut short."""
    folder = tmp_path_factory.mktemp("sql")
    photos, output = folder / "photos", str(folder / "results")
    for number in range(10):
        _save(number, photos / ("Apple" if number % 2 else "Pear") / f"{number}.png")

    def execute(run_id: str) -> None:
        settings = Settings(str(photos), output, weights=model_file, components=3, max_rejected=0.2, run_id=run_id)
        run(settings, open_input(settings.input), Stages(Console(file=io.StringIO())))

    execute("one")
    _save(10, photos / "Kiwi" / "new.png")
    shutil.copy(photos / "Kiwi" / "new.png", photos / "Apple" / "copy.png")
    (photos / "Apple" / "1.png").write_bytes((photos / "Apple" / "1.png").read_bytes()[:900])
    execute("two")
    return output


@pytest.fixture(scope="module")
def in_a_bucket(results: str, s3_url: str) -> str:
    """The same output in a bucket."""
    import boto3

    client = boto3.client("s3", endpoint_url=s3_url)
    client.create_bucket(Bucket="sql", CreateBucketConfiguration={"LocationConstraint": "eu-west-3"})
    for file in Path(results).rglob("*.*"):
        client.upload_file(str(file), "sql", f"results/{file.relative_to(results).as_posix()}")
    return "s3://sql/results"


def _rows(answer: Answer) -> Rows:
    return list(answer.rows)


#: What each question answers about the two runs; a function if the answer depends on random weights.
EXPECTED: dict[str, Rows | Callable[[Rows], bool]] = {
    "copies_between_labels": [
        ("Apple/copy.png", "Apple", "Kiwi/new.png", "Kiwi", "duplicate"),
        ("Kiwi/new.png", "Kiwi", "Apple/copy.png", "Apple", "duplicate"),
    ],
    "cost_per_month": lambda rows: len(rows) == 1 and rows[0][1:] == (0, None, None),
    "mixed_labels": lambda rows: 1 <= sum(photos for _, _, photos in rows) <= 11,
    "nearest_photos": lambda rows: rows[:2] == [("Apple/copy.png", "Apple", 1.0), ("Kiwi/new.png", "Kiwi", 1.0)],
    "new_labels": [("Kiwi",)],
    "photos_per_label": [("Apple", 5), ("Pear", 5), ("Kiwi", 1)],
    "rejected_photos": lambda rows: [row[:3] for row in rows] == [("truncated", "Apple/1.png", 900)],
    "reused_share": [("two", 12, 9, 75.0), ("one", 10, 0, 0.0)],
    "runs_compared": lambda rows: [row[:4] for row in rows] == [("two", 12, 2, 1), ("one", 10, 10, 0)],
    "wrong_labels": lambda rows: all(row[1] != row[2] and 0 <= row[3] <= 1 for row in rows),
}


def _fits(rows: Rows, name: str) -> bool:
    expected = EXPECTED[name]
    return expected(rows) if callable(expected) else rows == expected


@pytest.mark.parametrize("name", QUERIES)
def test_each_question_is_answered_as_it_is_and_in_the_dialect_of_athena(results: str, name: str) -> None:
    query = QUERIES[name]
    values = {"photo": "Kiwi/new.png", "earlier_run": "one"}
    both = ["two", "one"] if "earlier_run" in query.parameters else ["two"]
    rows = _rows(ask(name, results, both, values))
    assert _fits(rows, name), rows
    # Athena gets the text with question marks. sqlglot knows Athena's dialect, and says the same in DuckDB's.
    (translated,) = sqlglot.transpile(
        query.athena, read="athena", write="duckdb", unsupported_level=sqlglot.ErrorLevel.RAISE
    )
    for parameter in query.parameters:
        translated = translated.replace("?", f"${parameter}", 1)
    assert _rows(ask(translated, results, both, values)) == rows


def test_every_question_has_a_test_a_name_and_words() -> None:
    assert QUERIES.keys() == EXPECTED.keys()
    for query in QUERIES.values():
        assert query.question.endswith("?")
        assert "?" not in query.sql  # Athena would take it for a parameter
        assert set(query.parameters) <= {"run_id", "photo", "earlier_run"}
        uses = re.findall(rf"^\s*(?:FROM|JOIN) (?:{'|'.join(sql.TABLES)})\b", query.sql, re.MULTILINE)
        assert query.sql.count("run_id = $") == len(uses)  # Athena refuses a table of photos without the id of a run


def test_a_bucket_gives_the_same_answers(results: str, in_a_bucket: str) -> None:
    for name in ("photos_per_label", "copies_between_labels", "runs_compared"):
        assert _rows(ask(name, in_a_bucket)) == _rows(ask(name, results))


def test_one_run_is_chosen_unless_there_are_several(results: str) -> None:
    count = "SELECT run_id, count(*) FROM features GROUP BY run_id ORDER BY run_id"
    assert _rows(ask(count, results)) == [("two", 11)]
    assert _rows(ask(count, results, ["one"])) == [("one", 10)]
    assert _rows(ask(count, results, ["one", "two"])) == [("one", 10), ("two", 11)]
    assert _rows(ask(count, f"{results}/runs/one")) == [("one", 10)]
    assert _rows(ask("SELECT run_id FROM runs", f"{results}/runs/one")) == [("one",)]


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("SELECT nothing FROM features", r"DuckDB cannot execute the SQL .*nothing"),
        ("SELECT 1; SELECT 2", "The SQL is not one query"),
        ("nearest_photos", r"The SQL has the parameter \$photo. Give its value: --set photo=VALUE."),
        ("SELECT CAST(label AS integer) FROM features", "DuckDB cannot execute the SQL .*Could not convert"),
        ("wrong_label", "DuckDB cannot execute the SQL"),
    ],
)
def test_what_is_wrong_with_a_query_is_one_sentence(results: str, query: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence) as caught:
        _rows(ask(query, results))
    assert "\n" not in str(caught.value)


def test_a_run_that_does_not_exist_is_named(results: str) -> None:
    with pytest.raises(UserError, match="There is no published run three in"):
        ask("SELECT 1", results, ["three"])


def test_without_duckdb_the_command_says_what_to_install(results: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(UserError, match="pip install duckdb"):
        ask("SELECT 1", results)


def test_the_command_prints_every_form(results: str) -> None:
    query = "SELECT path, size, sha256, counts, modified FROM features JOIN runs USING (run_id) ORDER BY path LIMIT 1"
    line = [*WITHOUT_SPARK, "sql", query, "--run", results, "--json"]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    assert not done.stderr
    (row,) = json.loads(done.stdout)
    assert (row["path"], row["counts"]["found"], len(row["sha256"])) == ("Apple/3.png", 12, 64)
    assert row["modified"].endswith("+00:00")
    csv = sql.to_csv(ask(query, results))
    assert csv.startswith("path,size,sha256,counts,modified\nApple/3.png,")
    assert '"{""found"": 12,' in csv
    assert "Apple/3.png" in _shown(ask(query, results))


def test_a_long_answer_is_cut_in_the_terminal_only(results: str) -> None:
    numbers = "SELECT * FROM range(60)"
    assert _shown(ask(numbers, results)).endswith("These are the first 50 rows. --csv and --json print all.\n")
    assert len(sql.to_csv(ask(numbers, results)).splitlines()) == 61


def _shown(answer: Answer) -> str:
    shown = io.StringIO()
    sql.show(answer, 50, Console(file=shown, width=200))
    return shown.getvalue()


def _table_files(results: str, name: str) -> list[Path]:
    return sorted(Path(results).glob(f"runs/two/{name}/*.parquet"))


@pytest.mark.parametrize("name", sql.TABLES)
def test_spark_reads_the_real_files_of_a_table_with_the_types_of_hive(
    spark: SparkSession, results: str, name: str
) -> None:
    """Spark's reader of Parquet is strict about types, and its names of types are those of Hive."""
    files = _table_files(results, name)
    columns = {field.name: hive_type(field.type) for field in sql.TABLES[name]}
    assert pq.read_schema(files[0]).names == list(columns)  # Athena requires that no file has the column of a partition
    ddl = ", ".join(f"`{column}` {kind}" for column, kind in columns.items())
    read = spark.read.schema(ddl).parquet(*map(str, files))
    assert read.count() == sum(pq.read_metadata(file).num_rows for file in files)
    assert len(read.collect()) == read.count()
    assert dict(spark.read.parquet(*map(str, files)).dtypes) == columns


def test_spark_reads_a_summary_with_the_types_of_hive(spark: SparkSession, results: str) -> None:
    (file, text) = next((path, path.read_text()) for path in Path(results).glob("summaries/two.json"))
    assert text.count("\n") == 1  # Athena expects one line per row
    summary = json.loads(text)
    assert [*summary, "cluster"] == SUMMARY_SCHEMA.names
    ddl = ", ".join(f"`{field.name}` {hive_type(field.type)}" for field in SUMMARY_SCHEMA)
    options = {"mode": "FAILFAST"}
    (row,) = spark.read.schema(ddl).options(**options).json(str(file)).collect()
    read = row.asDict(recursive=True)
    assert read == {**summary, "cluster": None}


def test_the_names_of_tables_are_those_of_the_folders_of_a_run(results: str) -> None:
    folders = {folder.name for folder in Path(results).glob("runs/two/[a-z]*/")}
    assert folders - {runs.MODEL} == set(sql.TABLES)
