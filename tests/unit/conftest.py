"""Fixtures for tests that start no Spark."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from spark_job.storage import open_store
from spark_job.storage.base import Store
from tests.s3_stand_in import StandIn, environment


@pytest.fixture(params=["folder", "bucket"])
def output(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """The output of runs, empty: first a folder, then a bucket."""
    if request.param == "folder":
        return open_store(str(tmp_path / "results"))
    return open_store(f"{request.getfixturevalue('s3')}/results")


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """The S3 of the job, which can fail on demand. The job's pauses and time-outs are shorter than usual."""
    monkeypatch.setattr("spark_job.storage.s3._PAUSES", (0.01, 0.02, 0.04))
    monkeypatch.setattr("spark_job.storage.s3._SILENT_SECONDS", 1)
    s3 = StandIn()
    with s3.serve() as url:
        for name, value in environment(url).items():
            monkeypatch.setenv(name, value)
        open_store.cache_clear()
        yield s3
    open_store.cache_clear()
