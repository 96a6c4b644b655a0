"""Files from the public: each gets features, or a row in rejected with the right reason, and none fails a run."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pyspark.sql import Row, SparkSession

from spark_job import features
from spark_job.network.model import CompiledNetwork
from spark_job.rejection import Reason, RejectedPhotoError
from spark_job.storage import open_store
from spark_job.storage.base import Store
from tests import outcomes
from tests.hostile import corpus, encoded, picture

PHOTO = encoded(picture(), "JPEG")
KEYS = {
    "root.jpg": None,
    "Red Apple/a b.jpg": "Red Apple",
    'it\'s "quoted"/`;$(x)&|<>.jpg': 'it\'s "quoted"',
    "100%/50%41#1+1=2?.jpg": "100%",
    "Ähre/Übergröße é.jpg": "Ähre",
    "果物/🍐🍎.jpg": "果物",
    "Kiwi\\Gold/back\\slash.jpg": "Kiwi\\Gold",
    "e\u0301/decomposed.jpg": "e\u0301",
    "a/b/c/d/e/f/g/deep.JPG": "g",
    "*/[a-z]?.jpg": "*",
    "x.jpg/inside.jpg": "x.jpg",
    "/".join(["n" * 120] * 7) + "/" + "k" * 49 + ".jpg": "n" * 120,  # 900 bytes
}


def _outcomes(spark: SparkSession, store: Store, model: CompiledNetwork) -> dict[str, Row]:
    rows = outcomes.collected(spark, store, model)
    assert len(rows) == len({row.path for row in rows})
    assert all((row.features is None) == (row.reason is not None) == (row.detail is not None) for row in rows)
    return {row.path: row for row in rows}


def test_a_run_accounts_for_every_file(spark: SparkSession, model: CompiledNetwork, tmp_path: Path) -> None:
    files = {f"{file.kind.replace('/', ' ')}/{number}.jpg": file for number, file in enumerate(corpus())}
    assert len(files) >= 400
    for path, file in files.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(file.data)
    rows = _outcomes(spark, open_store(str(tmp_path)), model)
    assert rows.keys() == files.keys()
    for path, file in files.items():
        assert rows[path].reason in file.outcomes, path
        assert rows[path]["size"] == len(file.data)
        assert rows[path].features is None or np.isfinite(rows[path].features).all()


@pytest.mark.parametrize("place", ["folder", "bucket"])
def test_names_do_not_matter(
    spark: SparkSession, model: CompiledNetwork, tmp_path: Path, request: pytest.FixtureRequest, place: str
) -> None:
    store = open_store(str(tmp_path) if place == "folder" else f"{request.getfixturevalue('s3')}/in put")
    for path in KEYS:
        store.write(path, PHOTO)
    rows = _outcomes(spark, store, model)
    assert {path: row.label for path, row in rows.items()} == KEYS
    assert {row.reason for row in rows.values()} == {None}


def test_keys_that_only_a_bucket_can_have(spark: SparkSession, model: CompiledNetwork, s3: str) -> None:
    import boto3

    put = boto3.client("s3").put_object
    bad = ["in//lead.jpg", "in/a//b.jpg", "in/a/./b.jpg", "in/a/../b.jpg", "in/a/n\nl.jpg", "in/\x01/t\t.jpg"]
    markers = ["in/a/", "in/x.jpg/", "in/a/x.jpg/"]
    for key in [*bad, *markers, "in/a/x.jpg", "in/a/good.jpg", "inside/other.jpg"]:
        put(Bucket=s3.removeprefix("s3://"), Key=key, Body=b"" if key in markers else PHOTO)
    rows = _outcomes(spark, open_store(f"{s3}/in"), model)
    assert {path for path, row in rows.items() if row.reason is None} == {"a/x.jpg", "a/good.jpg"}
    rejected = {path: row.reason for path, row in rows.items() if row.reason}
    assert rejected == {key.removeprefix("in/"): "bad name" for key in bad}
    assert all("rename it" in rows[path].detail for path in rejected)


def test_what_only_a_folder_can_have(spark: SparkSession, model: CompiledNetwork, tmp_path: Path) -> None:
    label = tmp_path / "photos" / "Apple"
    label.mkdir(parents=True)
    (label / "good.jpg").write_bytes(PHOTO)
    (label / "dangling.jpg").symlink_to("nowhere")
    (label / "circle.jpg").symlink_to("circle.jpg")
    (label / "to good.jpg").symlink_to("good.jpg")
    (label / "again").symlink_to(label)
    os.mkfifo(label / "pipe.jpg")
    (label / "zero.jpg").symlink_to("/dev/zero")
    odd = tmp_path / "photos" / os.fsdecode(b"P\xe4r")
    odd.mkdir()
    for name in (b"caf\xe9.jpg", b"\xff\xfe.jpg"):
        (odd / os.fsdecode(name)).write_bytes(PHOTO)
    rows = _outcomes(spark, open_store(str(tmp_path / "photos")), model)
    assert {path: row.reason for path, row in rows.items()} == {
        "Apple/good.jpg": None,
        "Apple/to good.jpg": None,
        "Apple/dangling.jpg": "missing",
        "Apple/circle.jpg": "unreadable",
        "Apple/pipe.jpg": "unreadable",
        "Apple/zero.jpg": "unreadable",
        r"P\xe4r/caf\xe9.jpg": None,
        r"P\xe4r/\xff\xfe.jpg": None,
    }


@pytest.fixture
def nobody() -> Iterator[None]:
    """Act as a user who may not read every file."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_file_without_read_permission_is_rejected_as_denied(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    (tmp_path / "secret.jpg").write_bytes(PHOTO)
    (tmp_path / "secret.jpg").chmod(0)
    request.getfixturevalue("nobody")
    _, content, _ = features._read(open_store(str(tmp_path)), features.Photo("secret.jpg", None, 1, None))
    assert isinstance(content, RejectedPhotoError)
    assert content.reason == Reason.DENIED
