"""Tables of features for tests."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from spark_job import tables
from spark_job.tables import Table

SEEN = datetime(2026, 11, 22, 5, 0, 0, 123456, UTC)


def features(folder: Path, rows: NDArray[np.float32], count: int, labels: Sequence[str | None] = (None,)) -> Table:
    """Write rows of features to ``count`` files. Images are called ``0.jpg`` and so on; labels repeat in turn."""
    table = Table(str(folder), "features")
    for number, indices in enumerate(np.array_split(np.arange(len(rows)), count)):
        columns: dict[str, list[object]] = {
            "path": [f"{index}.jpg" for index in indices],
            "label": [labels[index % len(labels)] for index in indices],
            "size": [1] * len(indices),
            "modified": [SEEN] * len(indices),
            "crc": [None] * len(indices),
            "features": list(rows[indices]),
        }
        columns |= {name: [None] * len(indices) for name in tables.QUALITY_SCHEMA.names}
        arrays = [pa.array(columns[field.name], field.type) for field in tables.FEATURES_SCHEMA]
        table.write(
            f"part-{number:05d}.parquet",
            [pa.record_batch(arrays, schema=tables.FEATURES_SCHEMA)],
            tables.FEATURES_SCHEMA,
        )
    return table
