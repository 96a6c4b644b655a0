"""Fixtures for tests that start no Spark."""

from pathlib import Path

import pytest

from spark_job.storage import open_store
from spark_job.storage.base import Store


@pytest.fixture(params=["folder", "bucket"])
def output(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """The output of runs, empty: first a folder, then a bucket."""
    if request.param == "folder":
        return open_store(str(tmp_path / "results"))
    return open_store(f"{request.getfixturevalue('s3')}/results")
