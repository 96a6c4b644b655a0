"""Reads the photos of a tar as one stream, with the labels that WebDataset keeps beside them."""

import itertools
import json
import posixpath
import re
import tarfile
from collections.abc import Iterator
from typing import IO, NamedTuple, Self

from spark_job.names import TAR_SUFFIXES, is_photo
from spark_job.network.limits import MAX_BYTES

_LABELS = ("cls", "json")
_LABEL_KEYS = ("label", "cls")
_LARGEST_LABEL = 2**20
_SAMPLE_BYTES = 2 * MAX_BYTES
_SUFFIX = re.compile(rf"(?i)({'|'.join(map(re.escape, TAR_SUFFIXES))})\Z")


class TarPhoto(NamedTuple):
    """A photo of a tar: the path that it gets in a shard, and its bytes; None if it is too large."""

    path: str
    data: bytes | None


class DamagedTarError(Exception):
    """The rest of a tar cannot be read: one sentence."""


class _Strict(tarfile.TarInfo):
    """A header that must be one. For ``tarfile``, anything but a header after a file is the end of the tar."""

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(tar)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # its types lack it
            raise
        except tarfile.HeaderError as error:
            raise DamagedTarError(str(error)) from error


def is_tar(path: str) -> bool:
    """Return whether a file is a tar, by its name."""
    return bool(_SUFFIX.search(path))


def photos(path: str, stream: IO[bytes]) -> Iterator[TarPhoto]:
    """Yield the photos of a tar, in its order.

    Files whose paths are equal up to the first dot of the name belong together, as in WebDataset: ``NAME.cls`` holds
    the label of ``NAME.jpg``, or ``NAME.json`` does, under ``label`` or ``cls``. A photo without either keeps its
    folder. Names are only unique within a tar, so each photo's begins with that of its tar.

    Parameters
    ----------
    path
        The tar's path in the input. Its photos stay in this folder.
    stream
        The tar, which is only read forward.

    Raises
    ------
    DamagedTarError
        After the photos before the damage.
    """
    folder, name = posixpath.split(path)
    try:
        with tarfile.open(fileobj=stream, mode="r|*", tarinfo=_Strict) as tar:
            files = (member for member in tar if member.isreg())
            for _, sample in itertools.groupby(files, key=lambda member: _sample_name(member.name)):
                for label, member, data in _labelled(tar, sample):
                    yield TarPhoto(_path(folder, _SUFFIX.sub("", name), member, label), data)
    except OSError:  # of the storage
        raise
    except Exception as error:  # tarfile raises many types: TarError, EOFError, TypeError, zlib.error, ...
        raise DamagedTarError(str(error) or "it ends too early") from error


def label_in(ending: str, content: bytes) -> str | None:
    """Return the label that a ``.cls`` or ``.json`` file holds; None if it holds none."""
    try:
        text = content.decode().strip()
        fields = {"label": text} if ending == "cls" else json.loads(text)
    except (ValueError, RecursionError):
        return None
    values = [fields.get(key) for key in _LABEL_KEYS] if isinstance(fields, dict) else []
    return next((str(value) for value in values if isinstance(value, str | int) and value != ""), None)


def _labelled(
    tar: tarfile.TarFile, sample: Iterator[tarfile.TarInfo]
) -> Iterator[tuple[str | None, str, bytes | None]]:
    """Yield label, name and bytes of each photo of a sample, at its end, because the label may come last.

    Samples have a few photos. If many come, they are a folder whose names begin alike, and are not kept until its end.
    """
    label: str | None = None
    waiting: list[tuple[str, bytes | None]] = []
    kept = 0
    for member in sample:
        ending = member.name.rpartition(".")[2].lower()
        if is_photo(member.name):
            waiting.append((member.name, _content(tar, member) if member.size <= MAX_BYTES else None))
            kept += min(member.size, MAX_BYTES)
        elif ending in _LABELS and member.size <= _LARGEST_LABEL:
            label = label_in(ending, _content(tar, member)) or label
        if kept > _SAMPLE_BYTES:
            yield from ((label, *photo) for photo in waiting)
            waiting, kept = [], 0
    yield from ((label, *photo) for photo in waiting)


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    data = file.read() if file else b""
    if len(data) != member.size:
        raise EOFError
    return data


def _sample_name(path: str) -> str:
    folder, name = posixpath.split(path)
    return posixpath.join(folder, name.partition(".")[0])


def _path(folder: str, tar: str, member: str, label: str | None) -> str:
    inner, name = posixpath.split(member.removeprefix("./"))
    labels = [] if label is None else [label.replace("/", "_")]  # a label is one folder
    return posixpath.join(folder, inner, *labels, f"{tar}-{name}")
