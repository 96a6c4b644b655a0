"""Photos become shards: each one is in exactly one shard, whatever happens in between."""

import contextlib
import io
import json
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from spark_job import archives, cli
from spark_job.errors import RunError, UserError
from spark_job.names import labelled
from spark_job.pack import tars
from spark_job.pack.options import read_paths
from spark_job.pack.packing import Packed, pack
from spark_job.progress import Stages
from spark_job.storage import open_store
from spark_job.storage.base import Store
from spark_job.storage.local import LocalStore
from tests.s3_stand_in import Fault, Object, StandIn

SIZE = 10_000
names = st.text(st.sampled_from("abé. -🍐"), min_size=1, max_size=6).filter(lambda name: name.strip(".") == name)
paths = st.builds("/".join, st.lists(names, max_size=2).map(lambda folders: [*folders, "1"])).map("{}.jpg".format)
photo_sets = st.dictionaries(paths, st.binary(max_size=SIZE // 3), min_size=1, max_size=12)


def _fill(store: Store, photos: Mapping[str, bytes]) -> None:
    for path, data in photos.items():
        store.write(path, data)


def _pack(source: Store | None, output: Store, *without: str, size: int = SIZE) -> Packed:
    return pack(source, output, size, without, Stages(Console(file=io.StringIO())))


def _shards(output: Store) -> dict[str, bytes]:
    found = [path for page in output.listing(None) for path in page.column("path").to_pylist()]
    return {path: output.read(path).data for path in found}


def _members(output: Store) -> dict[str, bytes]:
    """Return the content of all shards, and check that no path is there twice."""
    members: dict[str, bytes] = {}
    for data in _shards(output).values():
        with zipfile.ZipFile(io.BytesIO(data)) as shard:
            assert shard.testzip() is None
            for name in shard.namelist():
                assert name not in members
                members[name] = shard.read(name)
    return members


class _InterruptedError(Exception):
    pass


class _Interrupting(LocalStore):
    """A store that fails instead of writing one more shard."""

    def __init__(self, path: str, shards: int) -> None:
        super().__init__(path)
        self._left = shards

    def upload(self, path: str, file: IO[bytes], *, replace: bool = False) -> None:
        if not self._left:
            raise _InterruptedError
        self._left -= 1
        super().upload(path, file, replace=replace)


@given(photo_sets, st.integers(0, 4))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_each_photo_is_in_one_shard_and_an_interruption_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, photos: dict[str, bytes], shards: int
) -> None:
    folder = tmp_path_factory.mktemp("pack")
    source, whole, resumed = (open_store(str(folder / name)) for name in ("in", "whole", "resumed"))
    _fill(source, photos)
    assert _pack(source, whole).new == len(photos)
    try:
        _pack(source, _Interrupting(str(folder / "resumed"), shards))
    except _InterruptedError:
        assert len(_shards(resumed)) == shards if shards else not (folder / "resumed").exists()
    _pack(source, resumed)
    assert _members(whole) == photos
    assert _shards(whole) == _shards(resumed)
    for shard in _shards(whole).values():
        assert len(shard) <= SIZE or len(zipfile.ZipFile(io.BytesIO(shard)).namelist()) == 1
    assert _pack(source, whole).shards == []


@pytest.fixture
def packed(tmp_path: Path) -> tuple[Store, Store]:
    """An input of 30 photos, and two shards with them."""
    source, output = open_store(str(tmp_path / "in")), open_store(str(tmp_path / "shards"))
    _fill(source, {f"Apple/{number:02d}.jpg": bytes([number]) * 500 for number in range(30)})
    assert _pack(source, output).shards == ["photos-00000.zip", "photos-00001.zip"]
    return source, output


def test_a_run_finds_every_photo_with_its_label_and_refuses_none(packed: tuple[Store, Store]) -> None:
    _, output = packed
    listed = [row for page in output.listing(None) for row in page.to_pylist()]
    rows = [row for page in archives.found(output, iter(listed)) for row in labelled(page).to_pylist()]
    assert [row["path"].partition(".zip/")[2] for row in rows] == [f"Apple/{number:02d}.jpg" for number in range(30)]
    assert {(row["label"], row["size"], row["refused"]) for row in rows} == {("Apple", 500, None)}


def test_more_photos_write_one_more_shard_and_touch_no_other(packed: tuple[Store, Store]) -> None:
    source, output = packed
    before = _shards(output)
    _fill(source, {f"Pear/{number}.jpg": b"new" for number in range(10)} | {"Pear/notes.txt": b"", "Pear/.x.jpg": b""})
    done = _pack(source, output)
    assert (done.new, done.replaced, done.shards) == (10, 0, ["photos-00002.zip"])
    assert before.items() <= _shards(output).items()
    assert len(_members(output)) == 40


def test_a_changed_photo_replaces_the_old_one_in_its_shard(packed: tuple[Store, Store]) -> None:
    source, output = packed
    before = _shards(output)
    source.write("Apple/03.jpg", b"another size")
    done = _pack(source, output)
    assert (done.new, done.replaced, done.rewritten) == (0, 1, ["photos-00000.zip"])
    assert _members(output)["Apple/03.jpg"] == b"another size"
    assert _shards(output)["photos-00001.zip"] == before["photos-00001.zip"]
    assert _pack(source, output).done == 0


def test_an_erased_photo_is_in_no_shard_and_is_not_packed_again(packed: tuple[Store, Store], tmp_path: Path) -> None:
    source, output = packed
    members = _members(output)
    listed = tmp_path / "erased.txt"
    listed.write_text("Apple/03.jpg\nphotos-00000.zip/Apple/04.jpg\n\nApple/99.jpg\n")
    command = [sys.executable, "-m", "spark_job", "pack", "--output", output.uri, "--without", str(listed)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "erased    2\nrewritten photos-00000.zip\nnot found Apple/99.jpg\n" in said
    assert _members(output).keys() == members.keys() - {"Apple/03.jpg", "Apple/04.jpg"}
    assert _pack(source, output, *read_paths(listed)).new == 0

    done = _pack(None, output, "Apple/99.jpg", *members)
    assert (done.erased, done.not_found) == (28, ["Apple/03.jpg", "Apple/04.jpg", "Apple/99.jpg"])
    assert _shards(output) == {}


def _tar(files: Mapping[str, bytes], form: str = "") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz" if form == "gz" else "w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


labels = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"]), min_size=1, max_size=5)
samples = st.lists(st.tuples(st.binary(max_size=2000), labels, st.booleans()), min_size=1, max_size=5)


@given(samples, st.sampled_from(["", "gz"]), st.floats(0, 1))
def test_a_tar_gives_the_photos_that_are_in_it(contents: list[tuple[bytes, str, bool]], form: str, cut: float) -> None:
    files, expected = {}, {}
    for number, (photo, label, as_json) in enumerate(contents):
        files[f"a/{number}.seg.jpg"] = photo
        files[f"a/{number}.json" if as_json else f"a/{number}.cls"] = (
            json.dumps({"label": label}).encode() if as_json else label.encode()
        )
        expected[f"in/a/{label.replace('/', '_')}/t.0-{number}.seg.jpg"] = photo
    data = _tar(files, form)
    assert dict(tars.photos("in/t.0.tar", io.BytesIO(data))) == expected
    found: list[tars.TarPhoto] = []
    with contextlib.suppress(tars.DamagedTarError):
        found.extend(tars.photos("in/t.0.tar", io.BytesIO(data[: int(len(data) * cut)])))
    assert set(found) <= set(expected.items())


def test_a_tar_of_photos_that_begin_alike_is_not_kept_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tars, "_SAMPLE_BYTES", 1_000)
    files = {f"Apple/img.{number}.jpg": b"%03d" % number * 100 for number in range(30)}
    stream = io.BytesIO(_tar(files))
    read: list[tuple[str, bytes | None]] = []
    for path, data in tars.photos("a.tar", stream):
        assert stream.tell() - len(read) * 1_024 < 16 * 1_024  # tarfile reads blocks of 10 KB
        read.append((path, data))
    assert [data for _, data in read] == list(files.values())


@pytest.mark.parametrize(
    ("ending", "content", "label"),
    [
        ("cls", b"3\n", "3"),
        ("cls", "\u00c4pfel".encode(), "\u00c4pfel"),
        ("cls", b"\xff", None),
        ("cls", b" ", None),
        ("json", b'{"cls": 0}', "0"),
        ("json", b'{"label": "Apple", "cls": 1}', "Apple"),
        ("json", b'{"caption": "an apple"}', None),
        ("json", b'["Apple"]', None),
        ("json", b"[" * 10_000, None),
    ],
)
def test_labels_of_webdataset(ending: str, content: bytes, label: str | None) -> None:
    assert tars.label_in(ending, content) == label


def test_photos_of_tars_and_files_are_packed_together_and_what_is_left_out_is_said(tmp_path: Path) -> None:
    source, output = open_store(str(tmp_path / "in")), open_store(str(tmp_path / "shards"))
    first = _tar(
        {"Apple/1.jpg": b"1", "../../etc/2.jpg": b"2", "./Apple/3.jpg": b"3", "Apple/notes.txt": b"", "4.jpg": b""}
    )
    _fill(
        source, {"train/a.tar": first, "b.tar": _tar({"Apple/1.jpg": b"5"})[:700], "Pear/6.jpg": b"", "x.zip": b"left"}
    )
    _fill(source, {r"Pear/\7.jpg": b"7", "Apple/b-1.jpg": b"another"})
    done = _pack(source, output)
    assert _members(output) == {
        "Pear/6.jpg": b"", "Apple/b-1.jpg": b"another",
        "train/Apple/a-1.jpg": b"1", "train/Apple/a-3.jpg": b"3", "train/a-4.jpg": b"",
    }  # fmt: skip
    assert done.left_out.keys() == {r"Pear/\7.jpg", "train/../../etc/a-2.jpg", "b.tar"}
    assert _pack(source, output).new == 0
    source.write("b.tar", _tar({"Apple/1.jpg": b"5"}))
    done = _pack(source, output)
    assert done.left_out["Apple/b-1.jpg"] == "another photo has its path"
    assert _members(output)["Apple/b-1.jpg"] == b"another"


def test_a_bucket_is_packed_read_back_and_packed_again(stand_in: StandIn) -> None:
    photos = {f"Apple/{number:03d}.jpg": b"%03d" % number * 100 for number in range(100)}
    for path, data in photos.items():
        stand_in.put(f"fruits/photos/{path}", data)
    stand_in.faults = {"fruits/photos/Apple/007.jpg": [Fault.SLOW_DOWN], "fruits/photos/Apple/008.jpg": [Fault.DENIED]}
    source, output = open_store("s3://fruits/photos"), open_store("s3://fruits/shards")
    done = _pack(source, output)
    assert (done.new, list(done.left_out)) == (99, ["Apple/008.jpg"])
    assert "s3:GetObject" in done.left_out["Apple/008.jpg"]
    assert len(done.shards) == 5
    assert _pack(source, output).new == 1
    assert _members(output) == photos

    stand_in.requests.clear()
    stand_in.put("fruits/photos/Pear/1.jpg", b"more")
    assert _pack(source, output).shards == ["photos-00006.zip"]
    read = [key for key in stand_in.requests if key.endswith(".jpg")]
    assert read == ["fruits/photos/Pear/1.jpg"]
    assert stand_in.requests["PUT"] == 1


def test_a_shard_that_comes_back_with_other_bytes_stops_the_command(stand_in: StandIn) -> None:
    stand_in.put("fruits/photos/Apple/1.jpg", b"1" * 500)
    stand_in.changes["fruits/shards/photos-00000.zip"] = Object(b"1" * 5000)
    with pytest.raises(RunError, match=r"fruits/shards/photos-00000\.zip is not what was written"):
        _pack(open_store("s3://fruits/photos"), open_store("s3://fruits/shards"))


def test_two_commands_at_once_do_not_overwrite_each_other(
    packed: tuple[Store, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, output = packed
    source.write("Pear/1.jpg", b"1")
    monkeypatch.setattr("spark_job.pack.packing.names", lambda _: iter(["photos-00001.zip"]))
    before = _shards(output)
    with pytest.raises(UserError, match="another fruits pack"):
        _pack(source, output)
    assert _shards(output) == before


def test_a_damaged_shard_is_named(packed: tuple[Store, Store]) -> None:
    source, output = packed
    output.write("photos-00001.zip", _shards(output)["photos-00001.zip"][:-30])
    with pytest.raises(UserError, match=r"photos-00001\.zip is damaged: .* Remove it"):
        _pack(source, output)
    whole = bytearray(_shards(output)["photos-00000.zip"])
    whole[100] ^= 1
    output.write("photos-00000.zip", bytes(whole))
    output.delete("photos-00001.zip")
    with pytest.raises(UserError, match=r"photos-00000\.zip is damaged: .*CRC"):
        _pack(None, output, "Apple/03.jpg")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({}, "There is nothing to do"),
        ({"--input": "none"}, "/none does not exist"),
        ({"--input": "a.txt"}, "/a.txt is a file"),
        ({"--input": "empty"}, "no photo and no tar in .*/empty"),
        ({"--input": "empty", "--size": "0MB"}, "size is 0MB"),
        ({"--input": "empty", "--size": "6GB"}, "size is 6GB"),
        ({"--without": "none.txt"}, "none.txt cannot be read"),
        ({"--without": "a.txt"}, "a.txt has no path"),
    ],
)
def test_a_mistake_is_one_sentence(
    arguments: dict[str, str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").touch()
    (tmp_path / "empty").mkdir()
    options = [word for pair in arguments.items() for word in pair]
    assert cli.main(["pack", "--output", "shards", *options]) == 2
    assert re.search(sentence, capfd.readouterr().err.splitlines()[-1])
