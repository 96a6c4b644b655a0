"""What a person does with the stack: copy photos, run, read the results, run again, deploy again."""

import gzip
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from cdk_app.trial.stage import Stage
from tests import hostile_archives
from tests.cloud.conftest import SETTINGS
from tests.cloud.deployed import Deployed, Execution
from tests.conftest import DATA
from tests.local_aws import cdk, emulator

_ADDED, _DELETED = "photos/Quince/1.jpg", "photos/Banana/00.jpg"


@pytest.fixture(scope="module")
def photos(dev: Deployed, drawn: Path) -> list[str]:
    """The keys of drawn photos in the data bucket, one of them in an archive, and of real ones if there are any."""
    return dev.put_photos(drawn) + _put_archive(dev) + _put_real_photos(dev)


@pytest.fixture(scope="module")
def first(dev: Deployed, photos: list[str]) -> Execution:
    """A run on all photos."""
    assert photos
    return dev.run({"max_rejected": 0.2}, "first")


def _put_archive(dev: Deployed) -> list[str]:
    archive = hostile_archives.written({"Training/Kiwi/1.jpg": hostile_archives.PHOTO})
    dev.aws.client("s3").put_object(Bucket=dev.data, Key="photos/more.zip", Body=archive)
    return ["photos/more.zip/Training/Kiwi/1.jpg"]


def _put_real_photos(dev: Deployed) -> list[str]:
    labels = sorted((DATA / "fruits-360-sample" / "Training").glob("*"))[:4]
    s3 = dev.aws.client("s3")
    keys = {f"photos/{label.name}/{file.name}": file for label in labels for file in sorted(label.glob("*"))[:3]}
    for key, file in keys.items():
        s3.upload_file(str(file), dev.data, key)
    return list(keys)


def table(dev: Deployed, run: str, name: str) -> list[dict[str, object]]:
    """Return a table of a run, read as any reader of Parquet does."""
    parts = [key for key in dev.keys(dev.results, f"runs/{run}/{name}/") if key.endswith(".parquet")]
    return [row for key in parts for row in pq.read_table(io.BytesIO(dev.read(dev.results, key) or b"")).to_pylist()]


def test_a_run_succeeds_and_its_output_is_the_summary(dev: Deployed, first: Execution, photos: list[str]) -> None:
    assert (first.status, first.cause) == ("SUCCEEDED", "")
    assert first.output["images"] == {
        "found": len(photos),
        "computed": len(photos) - 2,
        "reused": 0,
        "rejected": 2,
    }
    assert {kind: first.output["findings"][kind] for kind in ("duplicate", "dark")} == {"duplicate": 2, "dark": 1}
    assert first.output["report"] == f"s3://{dev.results}/runs/first/report.html"
    cluster = first.output["cluster"]
    assert cluster["nodes"] == 3
    assert cluster["minutes"] > 0
    assert cluster["usd"] > 0
    assert first.output["warnings"] == [
        "The weights are random: the features show that the job works, but they say nothing about fruit."
    ]


def test_any_reader_can_read_the_results(dev: Deployed, first: Execution, photos: list[str]) -> None:
    features, pca, rejected = (table(dev, "first", name) for name in ("features", "pca", "rejected"))
    assert len(features) == len(pca) == first.output["images"]["computed"]
    assert all(len(row["features"]) == 1280 for row in features)  # type: ignore[arg-type]  # a column may be anything
    assert all(len(row["pca"]) == first.output["components"] for row in pca)  # type: ignore[arg-type]  # likewise
    assert sorted(str(row["path"]) for row in features + rejected) == sorted(
        key.removeprefix("photos/") for key in photos
    )
    assert b"<html" in (dev.read(dev.results, "runs/first/report.html") or b"")
    assert json.loads(dev.read(dev.results, "latest.json") or b"")["run_id"] == "first"
    assert dev.clusters() == []


def test_a_saved_query_returns_the_counts_and_the_cost_of_the_run(dev: Deployed, first: Execution) -> None:
    """The local Athena does not know partition projection, so it can read the table of the runs, but not the others."""
    athena = dev.aws.client("athena")
    saved = [
        athena.get_named_query(NamedQueryId=query)["NamedQuery"]
        for query in athena.list_named_queries(WorkGroup=dev.name)["NamedQueryIds"]
    ]
    (query,) = [query["QueryString"] for query in saved if query["Name"] == "runs_compared"]
    stage = Stage(dev.aws.client, dev.name, dev.data, dev.results, dev.machine)
    rows = {run: (found, computed, rejected, cost[-1]) for run, found, computed, rejected, *cost in stage.ask(query)}
    counts, cost = first.output["images"], first.output["cluster"]["usd"]
    assert rows["first"] == tuple(map(str, (counts["found"], counts["computed"], counts["rejected"], cost)))


@pytest.mark.usefixtures("first")
def test_the_logs_are_in_the_log_bucket(dev: Deployed) -> None:
    (step,) = [key for key in dev.keys(dev.logs, "emr/") if "/steps/" in key]
    assert b"Exit code 0" in gzip.decompress(dev.read(dev.logs, step) or b"")
    (driver,) = [key for key in dev.keys(dev.logs, "emr/") if key.endswith("_000001/stdout.gz")]
    assert b"speed " in gzip.decompress(dev.read(dev.logs, driver) or b"")


@pytest.mark.usefixtures("first")
def test_the_run_can_be_watched(dev: Deployed) -> None:
    """The nodes may write the progress, and the command that people use finds the run."""
    progress = json.loads(dev.read(dev.results, "runs/first/_progress.json") or b"")
    assert list(progress["finished"])[:2] == ["model", "spark"]
    # obstore refuses a certificate that is its own authority, so the command uses the endpoint of the nodes.
    without_tls = {"AWS_ENDPOINT_URL": dev.aws.nodes_url}
    done = subprocess.run(
        [sys.executable, "-m", "spark_job", "watch", "--output", f"s3://{dev.results}/", "--run-id", "first"],
        cwd=emulator.ROOT,
        env={**os.environ, **dev.aws.variables, **without_tls},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("run       first\nphotos    ")


@pytest.mark.usefixtures("first")
def test_the_job_used_only_its_own_environment(dev: Deployed) -> None:
    versions = dev.manifest("first")["versions"]
    assert versions["ai-edge-litert"]
    assert not {"tensorflow", "tensorflow-cpu"} & set(versions), "the job found the packages of the tests"
    python = dev.aws.folder / "python" / "bin" / "python3.11"
    done = subprocess.run([python, "-c", "import numpy"], capture_output=True, check=False)
    assert b"No module named 'numpy'" in done.stderr


@pytest.mark.slow
@pytest.mark.usefixtures("first")
def test_a_redeploy_with_other_settings_keeps_the_data(dev: Deployed) -> None:
    before = {bucket: dev.keys(bucket) for bucket in (dev.data, dev.results)}
    cdk.deploy(dev.aws, **SETTINGS, core_nodes=1, spot_nodes=1)
    assert Deployed.find(dev.aws, "fruits-dev") == dev
    assert {bucket: dev.keys(bucket) for bucket in before} == before
    description = dev.aws.client("stepfunctions").describe_state_machine(stateMachineArn=dev.machine)
    assert '"InstanceFleetType":"TASK"' in description["definition"]


def test_a_second_run_computes_new_photos_and_drops_deleted_ones(
    dev: Deployed, first: Execution, drawn: Path, tmp_path: Path
) -> None:
    shutil.copy(drawn / "Banana" / "00.jpg", tmp_path / "1.jpg")
    s3 = dev.aws.client("s3")
    s3.upload_file(str(tmp_path / "1.jpg"), dev.data, _ADDED)
    s3.delete_object(Bucket=dev.data, Key=_DELETED)
    second = dev.run({"max_rejected": 0.2}, "second")
    found = first.output["images"]
    assert second.status == "SUCCEEDED", second.cause
    assert second.output["images"] == {**found, "computed": 1, "reused": found["computed"] - 1}
    paths = {f"photos/{row['path']}" for name in ("features", "pca") for row in table(dev, "second", name)}
    assert _ADDED in paths
    assert _DELETED not in paths
