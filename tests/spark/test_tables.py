import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from spark_job import tables
from spark_job.tables import PartWriter, Table
from tests import feature_tables


def _rows(count: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.arange(2 * count, dtype=np.float32).reshape(count, 2)


@given(rows=st.integers(0, 3_000), count=st.integers(1, 5))
def test_rows_survive_a_round_trip(tmp_path_factory: pytest.TempPathFactory, rows: int, count: int) -> None:
    table = feature_tables.features(tmp_path_factory.mktemp("table"), _rows(rows), count)
    assert table.names() == [f"part-{number:05d}.parquet" for number in range(count)]
    batches = [batch for name in table.names() for batch in table.read(name, ["path", "features"])]
    assert [path for batch in batches for path in batch["path"].to_pylist()] == [f"{row}.jpg" for row in range(rows)]
    assert [row for batch in batches for row in batch["features"].to_pylist()] == _rows(rows).tolist()


def test_writing_a_file_again_replaces_it(tmp_path: Path, spark: SparkSession) -> None:
    for _ in range(2):
        feature_tables.features(tmp_path, _rows(2), 1, ["Apple"])
    assert [file.name for file in (tmp_path / "features").iterdir()] == ["part-00000.parquet"]
    table = spark.read.parquet(str(tmp_path / "features"))
    assert dict(table.dtypes) == {
        "path": "string",
        "label": "string",
        "size": "bigint",
        "modified": "timestamp",
        "crc": "bigint",
        "sha256": "binary",
        "pixels_sha256": "binary",
        "width": "int",
        "height": "int",
        "brightness_low": "float",
        "brightness_high": "float",
        "sharpness": "float",
        "entropy": "float",
        "miniature": "binary",
        "features": "array<float>",
    }
    assert [row.features for row in table.collect()] == [[0.0, 1.0], [2.0, 3.0]]
    assert pq.read_table(tmp_path / "features")["modified"][0].as_py() == feature_tables.SEEN


def test_a_changed_byte_is_noticed(tmp_path: Path) -> None:
    table = feature_tables.features(tmp_path, _rows(500), 1)
    file = tmp_path / "features" / "part-00000.parquet"
    data = bytearray(file.read_bytes())
    at = data.index(np.float32(444).tobytes())
    data[at] ^= 1
    file.write_bytes(data)
    with pytest.raises(OSError, match="CRC"):
        list(table.read("part-00000.parquet"))


def test_batches_are_combined_to_tables_of_about_4_000_rows() -> None:
    batches = [pa.record_batch({"row": list(range(start, start + 700))}) for start in range(0, 9_800, 700)]
    combined = list(tables.grouped(batches))
    assert [len(rows) for rows in combined] == [4_200, 4_200, 1_400]
    assert pa.concat_tables(combined)["row"].to_pylist() == list(range(9_800))


def test_an_error_leaves_no_file(tmp_path: Path) -> None:
    table = Table(str(tmp_path), "features")
    with pytest.raises(ZeroDivisionError), PartWriter(table, "part-00000.parquet", tables.FEATURES_SCHEMA):
        _ = 1 / 0
    assert table.names() == []


def test_row_groups_are_small_enough_to_read_one_at_a_time(tmp_path: Path) -> None:
    table = Table(str(tmp_path), "rejected")
    columns = {"path": ["a"] * 100, "label": [None] * 100, "size": [1] * 100, "reason": ["empty"] * 100}
    arrays = [pa.array(columns.get(field.name, ["-"] * 100), field.type) for field in tables.REJECTED_SCHEMA]
    table.write(
        "part-00000.parquet", [pa.record_batch(arrays, schema=tables.REJECTED_SCHEMA)] * 30, tables.REJECTED_SCHEMA
    )
    file = pq.ParquetFile(io.BytesIO((tmp_path / "rejected" / "part-00000.parquet").read_bytes()))
    assert file.num_row_groups == 3
