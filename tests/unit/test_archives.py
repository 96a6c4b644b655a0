"""Archives from anybody: each photo is read or has the right reason, and no archive fails a run or harms another."""

import io
import tracemalloc
import zipfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_job import archives, plan
from spark_job.features import Photo, Read, read_ahead, together
from spark_job.network.images import decode
from spark_job.rejection import Reason, RejectedPhotoError
from spark_job.similar import decode_photo
from spark_job.storage import open_store
from spark_job.storage.base import Store
from tests.hostile_archives import PHOTO, corpus, written


def _listed(store: Store) -> list[plan.ListedFile]:
    return [row for page in store.listing(None) for row in page.to_pylist()]


def _planned(store: Store) -> tuple[list[Photo], "Counter[str]"]:
    """Return the photos in the archives of a store, and what is left out."""
    found = list(plan.in_archives(store, iter(_listed(store))))
    photos = [Photo.of_row(row) for page in found for row in page.photos.to_pylist()]
    return photos, sum((page.left_out for page in found), Counter[str]())


def _read(store: Store, photos: list[Photo]) -> list[Read]:
    with ThreadPoolExecutor(4) as pool:
        return list(read_ahead(pool, store, iter(photos)))


def _reason(read: Read) -> Reason | None:
    if isinstance(read.content, RejectedPhotoError):
        assert read.content.detail
        return read.content.reason
    try:
        decode(read.content, 32)
    except RejectedPhotoError as error:
        return error.reason
    return None


def _outcomes(store: Store) -> tuple[dict[str, Reason | None], "Counter[str]"]:
    photos, left_out = _planned(store)
    reads = [(read.photo.path, _reason(read)) for read in _read(store, photos)]
    assert [path for path, _ in reads] == [photo.path for photo in photos]
    # Of several files with one name, all but the last are rejected.
    return dict(sorted(reads, key=lambda read: read[1] is None)), left_out


def test_every_photo_of_an_archive_is_read_or_has_the_right_reason(tmp_path: Path) -> None:
    store, wrong = open_store(str(tmp_path)), []
    for hostile in corpus():
        (tmp_path / "x.zip").write_bytes(hostile.data)
        tracemalloc.start()
        outcomes, left_out = _outcomes(store)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        expected = {f"x.zip/{name}" if name else "x.zip": reason for name, reason in hostile.outcomes.items()}
        if (outcomes, left_out) != (expected, Counter(hostile.left_out)) or peak > 2 * len(hostile.data) + 100 * 2**20:
            wrong.append((hostile.kind, outcomes, left_out, peak))
    assert not wrong


_MEMBERS = st.lists(
    st.tuples(
        st.sampled_from((1, 100, 70_000)),
        st.sampled_from((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)),
        st.sampled_from((None, 0, 10, 2**20 + 1)),
    ),
    max_size=12,
)


@given(_MEMBERS, st.integers(0, 999))
def test_every_member_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, members: list[tuple[int, int, int | None]], seed: int
) -> None:
    """Whatever lies between the members, and in whatever order the directory lists them."""
    random, files = Random(seed), {}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for number, (size, method, gap) in enumerate(members):
            files[f"x.zip/a/{number}.jpg"] = data = random.randbytes(size)
            archive.writestr(f"a/{number}.jpg", data, method)
            if gap is not None:
                archive.writestr(f"a/{number}.txt", bytes(gap))
        random.shuffle(archive.filelist)
    folder = tmp_path_factory.mktemp("archive")
    (folder / "x.zip").write_bytes(out.getvalue())
    store = open_store(str(folder))
    photos, _ = _planned(store)
    assert {read.photo.path: read.content for read in _read(store, photos)} == files
    groups = list(together(photos))
    assert len(groups) <= 1 + sum(gap == 2**20 + 1 for *_, gap in members)
    assert [photo for group in groups for photo in group] == photos


def test_photos_are_found_by_their_paths(tmp_path: Path) -> None:
    """In archives, in folders with the name of an archive, and as files."""
    files = {"Apple/1.jpg": PHOTO, "secret.jpg": b"x"}
    (tmp_path / "in" / "folder.zip" / "Pear").mkdir(parents=True)
    (tmp_path / "in" / "folder.zip" / "Pear" / "2.jpg").write_bytes(b"2")
    (tmp_path / "in" / "folder.zip" / "x.ZIP").write_bytes(written(files))
    (tmp_path / "in" / "3.jpg").write_bytes(b"3")
    photos = archives.Photos(open_store(str(tmp_path / "in")))
    expected = {"folder.zip/x.ZIP/Apple/1.jpg": PHOTO, "folder.zip/Pear/2.jpg": b"2", "3.jpg": b"3"}
    assert {path: photos.read(path).data for path in expected} == expected
    assert decode_photo(f"{tmp_path}/in/folder.zip/x.ZIP/Apple/1.jpg", 32).shape == (32, 32, 3)
    for missing in ("folder.zip/x.ZIP/Apple/2.jpg", "folder.zip/Pear/3.jpg", "no.zip/1.jpg"):
        with pytest.raises(FileNotFoundError):
            photos.read(missing)


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("1.jpg", "1.jpg"),
        ("a/1.jpg", "1.jpg"),
        ("/a/x.zip/b/1.jpg", "x.zip/b/1.jpg"),
        ("X.ZIP/1.jpg", "X.ZIP/1.jpg"),
        ("s3://bucket/a/x.zip/1.jpg", "x.zip/1.jpg"),
        ("s3://bucket.zip/a/1.jpg", "1.jpg"),
    ],
)
def test_the_address_of_a_photo_has_the_path_of_its_archive(uri: str, path: str) -> None:
    assert uri[archives.start_of_path(uri) :] == path
