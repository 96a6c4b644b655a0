import io
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from spark_job import parts
from spark_job.features import OUTCOME_SCHEMA
from spark_job.store import open_store

SEEN = datetime(2026, 11, 22, 5, 0, 0, 123456, UTC)


def _outcomes(reasons: list[str | None]) -> pa.RecordBatch:
    rows = [
        {
            "path": f"Apple/{number}.jpg",
            "label": "Apple",
            "size": number,
            "modified": SEEN,
            "features": None if reason else [float(number), 0.5],
            "reason": reason,
            "detail": reason,
        }
        for number, reason in enumerate(reasons)
    ]
    return pa.RecordBatch.from_pylist(rows, OUTCOME_SCHEMA)


def _read(folder: Path, table: str) -> pd.DataFrame:
    return pd.read_parquet(folder / "run" / table)


@given(st.lists(st.lists(st.sampled_from([None, "empty", "truncated"]), max_size=5), min_size=1, max_size=4))
def test_every_outcome_is_in_exactly_one_table(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[str | None]]
) -> None:
    folder = tmp_path_factory.mktemp("parts")
    written = parts.write(map(_outcomes, batches), OUTCOME_SCHEMA, open_store(str(folder)), "run", "part-00000")
    reasons = [reason for batch in batches for reason in batch]
    assert written == len(reasons)
    rejected = _read(folder, "rejected")
    assert list(rejected["reason"]) == [reason for reason in reasons if reason]
    assert (folder / "run" / "features").exists() == (None in reasons)
    if None in reasons:
        assert len(_read(folder, "features")) == reasons.count(None)


def test_a_part_that_is_written_again_is_the_same_part(tmp_path: Path, spark: SparkSession) -> None:
    for _ in range(2):
        parts.write([_outcomes([None, "empty", None])], OUTCOME_SCHEMA, open_store(str(tmp_path)), "run", "part-00007")
    assert [file.name for file in (tmp_path / "run" / "features").iterdir()] == ["part-00007.parquet"]
    table = spark.read.parquet(str(tmp_path / "run" / "features"))
    assert table.columns == parts.FEATURES
    assert dict(table.dtypes) == {
        "path": "string",
        "label": "string",
        "size": "bigint",
        "modified": "timestamp",
        "features": "array<float>",
    }
    assert [row.features for row in table.collect()] == [[0.0, 0.5], [2.0, 0.5]]
    assert _read(tmp_path, "features")["modified"][0].to_pydatetime() == SEEN


def test_row_groups_are_small_enough_to_read_one_at_a_time(tmp_path: Path) -> None:
    parts.write([_outcomes([None] * 3_000)], OUTCOME_SCHEMA, open_store(str(tmp_path)), "run", "part-00000")
    file = pq.ParquetFile(io.BytesIO((tmp_path / "run" / "features" / "part-00000.parquet").read_bytes()))
    assert file.num_row_groups == 3
