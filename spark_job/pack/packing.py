"""Packs the photos that no shard has yet, so that a second call is cheap, and goes on where the first one stopped.

The shards themselves say what is packed. A photo that is newer than its shard, or has another size, replaces the one in
it: the shard is written anew under its name. So a photo is never in two shards, not even for a moment.
"""

import re
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from spark_job.errors import UserError
from spark_job.manifest import describe
from spark_job.names import ARCHIVE_SUFFIX
from spark_job.pack import tars
from spark_job.pack.shards import Shard, directories, names, open_shard
from spark_job.pack.source import READERS, TOO_LARGE, Content, Source, find, listing, read_ahead
from spark_job.progress import Stages
from spark_job.storage.base import LISTING_SCHEMA, Store
from spark_job.storage.file import open_file

_UNSAFE = re.compile(r"(^|/)\.{0,2}(/|$)|[\\\0]")
_BAD_NAME = r"a part of its path is empty, . or .., or contains \; rename it"
_TAKEN = "another photo has its path"
_UNREADABLE = (zipfile.BadZipFile, NotImplementedError, RuntimeError, zlib.error)


@dataclass(frozen=True)
class Work:
    """What is to be done.

    Attributes
    ----------
    new
        The photos that no shard has (LISTING_SCHEMA), sorted by path.
    changed, erased
        By shard, the paths of the members to replace and to leave out.
    """

    new: pa.Table
    changed: Mapping[str, Collection[str]] = field(default_factory=dict)
    erased: Mapping[str, Collection[str]] = field(default_factory=dict)

    @property
    def photos(self) -> int:
        """The number of photos to read."""
        return len(self.new) + sum(map(len, self.changed.values()))


@dataclass
class Packed:
    """What was done.

    Attributes
    ----------
    new, replaced, erased
        The number of photos that shards have got, that have replaced older ones, and that are gone.
    shards, rewritten
        The names of new shards, and of those that were written anew or removed.
    left_out
        Why a photo could not be packed, by path.
    not_found
        Paths that were to be erased, but are in no shard.
    """

    new: int = 0
    replaced: int = 0
    erased: int = 0
    shards: list[str] = field(default_factory=list)
    rewritten: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    not_found: list[str] = field(default_factory=list)

    @property
    def done(self) -> int:
        """The number of photos that were read."""
        return self.new + self.replaced + len(self.left_out)


def compare(photos: pa.Table, members: pa.Table, without: Collection[str]) -> Work:
    """Return what is to be done so that the shards have the newest version of each photo, and none of ``without``.

    Parameters
    ----------
    photos
        The photos of the input (LISTING_SCHEMA).
    members
        The members of the shards (MEMBERS_SCHEMA).
    without
        Paths of photos.
    """
    unwanted = pa.array(without, pa.string())
    wanted = photos.filter(pc.invert(pc.is_in(photos["path"], unwanted)))
    both = wanted.join(members, "path", join_type="left outer", right_suffix="_packed")
    is_new = pc.is_null(both["shard"])
    # A store may list whole seconds.
    is_newer = pc.greater(*(pc.floor_temporal(both[name], unit="second") for name in ("modified", "written")))
    is_changed = pc.or_(pc.not_equal(both["size"], both["size_packed"]), is_newer)  # null for a new one
    return Work(
        both.filter(is_new).select(LISTING_SCHEMA.names).sort_by("path"),
        _by_shard(both.filter(is_changed)),
        _by_shard(members.filter(pc.is_in(members["path"], unwanted))),
    )


def _by_shard(rows: pa.Table) -> dict[str, set[str]]:
    paths: dict[str, set[str]] = {}
    for row in rows.select(["shard", "path"]).to_pylist():
        paths.setdefault(row["shard"], set()).add(row["path"])
    return paths


class Packer:
    """Writes the shards of an output.

    Parameters
    ----------
    output
        Where the shards are.
    size
        The size of a shard in bytes.
    """

    def __init__(self, output: Store, size: int) -> None:
        self._output, self._size = output, size
        self._shards = _shards(output)
        self._names = names(self._shards["path"].to_pylist())
        self.members = directories(output, self._shards)
        self.packed = Packed()

    def write(self, photos: Iterator[tuple[str, Content]]) -> None:
        """Write photos to new shards, as many to each as have room."""
        packable = self._packable(photos)
        photo = next(packable, None)
        while photo:
            with Shard(self._size) as shard:
                while photo and shard.has_room(*photo):
                    shard.add(*photo)
                    self.packed.new += 1
                    photo = next(packable, None)
                name = next(self._names)
                shard.store(self._output, name)
            self.packed.shards.append(name)

    def _packable(self, photos: Iterator[tuple[str, Content]]) -> Iterator[tuple[str, bytes]]:
        """Yield the photos that can be packed, and note why the others cannot."""
        for path, content in photos:
            if _UNSAFE.search(path):
                self.packed.left_out[path] = _BAD_NAME
            elif isinstance(content, str):
                self.packed.left_out[path] = content
            else:
                yield path, content

    def rewrite(self, work: Work, source: Store | None) -> None:
        """Write shards anew, with other versions of some photos and without others. A shard without photos is removed.

        Raises
        ------
        UserError
            If a shard is damaged.
        """
        for shard in self._shards.to_pylist():
            name = shard["path"]
            changed, erased = work.changed.get(name, ()), work.erased.get(name, ())
            if changed or erased:
                try:
                    self._rewrite(name, shard["size"], source, changed, erased)
                except _UNREADABLE as error:
                    raise UserError(
                        f"{self._output.uri}/{name} is damaged: {error}. Nothing of it was changed."
                    ) from None
                self.packed.rewritten.append(name)

    def _rewrite(
        self, name: str, size: int, source: Store | None, changed: Collection[str], erased: Collection[str]
    ) -> None:
        archive = open_shard(self._output, name, size)
        kept = [member for member in archive.infolist() if member.filename not in erased and not member.is_dir()]
        newer = [(member.filename, member.file_size) for member in kept if member.filename in changed]
        with Shard(self._size) as shard, ThreadPoolExecutor(READERS) as pool:
            reads = read_ahead(pool, source, newer) if source else iter(())
            for member in kept:
                content = next(reads)[1] if member.filename in changed else None
                if isinstance(content, str):
                    self.packed.left_out[member.filename] = content
                shard.add(member.filename, content if isinstance(content, bytes) else archive.read(member))
                self.packed.replaced += isinstance(content, bytes)
            if shard.photos:
                shard.store(self._output, name, replace=True)
            else:
                self._output.delete(name)
        self.packed.erased += sum(member.filename in erased for member in archive.infolist())


def _shards(output: Store) -> pa.Table:
    """Return the zips of an output (LISTING_SCHEMA)."""
    found = LISTING_SCHEMA.empty_table()
    with suppress(FileNotFoundError):  # the first shard makes the folder
        found = pa.Table.from_batches(listing(output), LISTING_SCHEMA).sort_by("path")
    return found.filter(pc.ends_with(found["path"], ARCHIVE_SUFFIX))


def pack(source: Store | None, output: Store, size: int, without: Collection[str], stages: Stages) -> Packed:
    """Pack the photos of an input, and erase photos from the shards.

    Parameters
    ----------
    source
        The input: photos and tars in any folder; None to erase only.
    output
        Where the shards are.
    size
        The size of a shard in bytes.
    without
        Paths of photos that no shard may have.
    stages
        Shows the progress.

    Raises
    ------
    UserError
        If there is nothing to pack, or if a shard is damaged or appears while this function works.
    RunError
        If a shard is not what was written.
    """
    with stages.stage("list"):
        found = find(source) if source else Source()
        packer = Packer(output, size)
        work = compare(found.photos, packer.members, without)
        erased = set[str]().union(*work.erased.values())
        packer.packed.not_found = sorted(set(without) - erased)
    if found.left_out:
        stages.say(f"Not packed: {describe(found.left_out)}.")
    with stages.stage("pack", work.photos, lambda: packer.packed.done), ThreadPoolExecutor(READERS) as pool:
        packer.rewrite(work, source)
        if source:
            packer.write(read_ahead(pool, source, _rows(work.new)))
    if source and found.tars:
        with stages.stage("tars"):
            known = dict(_rows(packer.members, "path", "crc")) | dict.fromkeys(found.photos["path"].to_pylist())
            packer.write(_of_tars(source, found.tars, known, without, packer.packed))
    return packer.packed


def _rows(table: pa.Table, *columns: str) -> Iterator[tuple[Any, Any]]:
    for batch in table.select(columns or ("path", "size")).to_batches(10_000):
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def _of_tars(
    source: Store, found: Mapping[str, int], known: dict[str, int | None], without: Collection[str], packed: Packed
) -> Iterator[tuple[str, Content]]:
    """Yield the photos of tars whose paths are not known. Note those that are not equal to the photo with their path.

    Parameters
    ----------
    source
        The input.
    found
        The sizes of its tars, by path.
    known
        The CRC-32 of packed photos, by path; None if it is unknown.
    without
        Paths of photos that are not packed.
    packed
        Gets the reasons.
    """
    for tar, size in found.items():
        try:
            for path, data in tars.photos(tar, open_file(source, tar, size)):
                crc = None if data is None else zlib.crc32(data)
                if path in without:
                    continue
                if path not in known:
                    known[path] = crc
                    yield path, TOO_LARGE if data is None else data
                elif known[path] != crc:
                    packed.left_out[path] = _TAKEN
        except tars.DamagedTarError as error:
            packed.left_out[tar] = f"its end cannot be read: {error}"
