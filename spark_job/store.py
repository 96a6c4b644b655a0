"""One way to list, read and write objects, in a local folder or under an S3 prefix."""

import contextlib
import dataclasses
import fcntl
import functools
import os
import random
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pyarrow as pa

from spark_job.errors import UserError

LISTING = pa.schema([("path", pa.string()), ("size", pa.int64()), ("modified", pa.timestamp("us", tz="UTC"))])
"""Columns of a listing: path relative to the store, bytes, time of last modification."""

_LISTING_ROWS = 10_000
_EPOCH = datetime.fromtimestamp(0, UTC)
_REFUSED = re.compile(r"status code: 4(?!08|29)\d\d")  # the request is at fault: another one would fare no better
_ODD_BYTE = re.compile(r"\\x([89a-f][0-9a-f])")

_CONNECT_SECONDS = 5
_SILENT_SECONDS = 10
_ANSWER_SECONDS = 60
_PAUSES = (0.1, 0.3, 1.0, 3.0, 9.0, 20.0)
_PATIENCE_SECONDS = 60

T = TypeVar("T")


class UnavailableError(ConnectionError):
    """A store that does not answer, though it was asked again ``retries`` times."""

    def __init__(self, sentence: str, retries: int = 0) -> None:
        super().__init__(sentence)
        self.retries = retries


class BadNameError(OSError):
    """An object whose name cannot be asked for."""


@dataclass(frozen=True)
class Stored:
    """The bytes of an object and the modification time of exactly these bytes.

    ``version`` tells them from other bytes under the same name; ``retries`` is how many attempts it took more than one.
    """

    data: bytes
    modified: datetime
    version: str | None = None
    retries: int = 0


@dataclass(frozen=True)
class Removed:
    """How much was removed."""

    objects: int
    bytes: int

    def __str__(self) -> str:
        return f"{self.objects:,} objects, {self.bytes:,} bytes"


def _accept(size: int) -> None:
    """Accept any size."""


class Store(Protocol):
    """A folder or an S3 prefix; paths are relative to it, with ``/`` between their parts.

    Reads raise FileNotFoundError, PermissionError, UnavailableError (no answer, however often it was asked),
    BadNameError or another OSError, whatever the store is. ``uri`` is for people and :func:`open_store`, ``hadoop_uri``
    for Spark's own readers and writers.
    """

    uri: str
    hadoop_uri: str

    def folders(self, below: str = "") -> list[str]:
        """Return the names of the folders directly below, or directly below one of them."""

    def listing(self, folder: str | None) -> Iterator[pa.RecordBatch]:
        """Yield what is below a folder at any depth, or, for None, the objects that are in no folder."""

    def read(self, path: str, accept: Callable[[int], None] = _accept) -> Stored:
        """Return an object's bytes; ``accept`` gets their number first and raises where they shall not be fetched."""

    def write(self, path: str, data: bytes) -> None:
        """Write an object whole, replacing it: a reader sees the old bytes or the new ones, never a part."""

    def create(self, path: str, data: bytes) -> None:
        """Write an object that must not exist yet; FileExistsError where it does, however close the race."""

    def replace(self, path: str, data: bytes, seen: Stored) -> None:
        """Write an object in place of what was read; FileExistsError where it is another by now, however close."""

    def delete(self, path: str) -> None:
        """Remove an object; FileNotFoundError or nothing where there is none."""

    def remove(self, folder: str) -> Removed:
        """Remove a folder with all that is in it, and return how much that was."""


@functools.lru_cache(maxsize=8)
def open_store(uri: str) -> Store:
    """Return the store at a local path or at ``s3://bucket/prefix``; nothing is read yet.

    Raises
    ------
    UserError
        If the URI names another kind of place.
    """
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return Folder(uri)
    if scheme != "s3":
        raise UserError(f"{uri} is neither a local folder nor s3://bucket/prefix; give one of these.")
    bucket, _, prefix = rest.partition("/")
    if not bucket:
        raise UserError(f"{uri} names no bucket; give s3://bucket/prefix.")
    return Bucket(bucket, prefix.strip("/"))


class Folder:
    """A local folder."""

    def __init__(self, path: str) -> None:
        self._root = Path(path).resolve()
        self.uri = str(self._root)
        self.hadoop_uri = f"file://{self.uri}"

    def folders(self, below: str = "") -> list[str]:
        """Return the names of the folders directly below."""
        with os.scandir(self._root / below) as entries:
            return sorted(_shown(entry.name) for entry in entries if _is_folder(entry))

    def listing(self, folder: str | None) -> Iterator[pa.RecordBatch]:
        r"""Yield listings; links are followed, but never around a loop, and a broken link is listed as an object.

        A byte of a name that is not UTF-8 is listed as ``\xff``, and such a path can be read.
        """
        found = self._walk(self._at(folder or ""), deep=folder is not None, above=())
        while rows := list(islice(found, _LISTING_ROWS)):
            yield _batch(rows)

    def _walk(self, folder: Path, deep: bool, above: tuple[Path, ...]) -> Iterator[tuple[str, int, datetime]]:
        real = folder.resolve()
        if real in above:
            return
        try:
            with os.scandir(folder) as entries:
                ordered = sorted(entries, key=lambda entry: entry.name)
        except FileNotFoundError:  # gone since it was seen
            return
        for entry in ordered:
            if not _is_folder(entry):
                with contextlib.suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=_leads_somewhere(entry))
                    yield _shown(os.path.relpath(entry.path, self._root)), status.st_size, _time(status)
            elif deep:
                yield from self._walk(Path(entry.path), deep, (*above, real))

    def _at(self, path: str) -> Path:
        """Return where the object of a listing lies."""
        literal = self._root / path
        if "\\x" not in path or literal.is_symlink() or literal.exists():
            return literal
        return self._root / _ODD_BYTE.sub(lambda byte: chr(0xDC00 + int(byte[1], 16)), path)

    def read(self, path: str, accept: Callable[[int], None] = _accept) -> Stored:
        """Return a file's bytes."""
        # A pipe with an image's name would hold whoever opens it until somebody writes.
        with os.fdopen(os.open(self._at(path), os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise OSError(f"{path} is no regular file")
            accept(status.st_size)
            return Stored(file.read(), _time(status))

    def write(self, path: str, data: bytes) -> None:
        """Write a file under another name and rename it, so that it appears whole."""
        self._place(path, data, os.replace)

    def create(self, path: str, data: bytes) -> None:
        """Write a file under another name and link it to its own, which fails where it exists."""
        self._place(path, data, os.link)

    def replace(self, path: str, data: bytes, seen: Stored) -> None:
        """Write a file while nobody else does, if it is still the one that was read."""
        with (self._root / f".{path}.lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # the system lets go of it if this process dies
            if self.read(path).data != seen.data:
                raise FileExistsError(f"{path} has changed")
            self.write(path, data)

    def delete(self, path: str) -> None:
        """Remove a file."""
        (self._root / path).unlink()

    def remove(self, folder: str) -> Removed:
        """Remove a folder; what a link leads to is left alone."""
        files = [Path(place) / name for place, _, names in os.walk(self._root / folder) for name in names]
        removed = Removed(len(files), sum(file.lstat().st_size for file in files))
        shutil.rmtree(self._root / folder)
        return removed

    def _place(self, path: str, data: bytes, place: Callable[[str, Path], None]) -> None:
        target = self._root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            Path(draft).chmod(0o644)
            place(draft, target)
        finally:
            Path(draft).unlink(missing_ok=True)


def _time(stat: os.stat_result) -> datetime:
    """Return when a file was modified, to the microsecond, as Parquet keeps it."""
    return _EPOCH + timedelta(microseconds=stat.st_mtime_ns // 1000)


def _shown(path: str) -> str:
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads around in a circle
        return False


def _leads_somewhere(entry: os.DirEntry[str]) -> bool:
    with contextlib.suppress(OSError):
        entry.stat()
        return True
    return False


class Bucket:
    """A prefix in an S3 bucket, with the credentials and the region of the environment."""

    def __init__(self, bucket: str, prefix: str) -> None:
        from obstore.store import S3Store

        self.uri = f"s3://{bucket}/{prefix}".rstrip("/")
        self.hadoop_uri = self.uri
        self._bucket, self._root = bucket, f"{prefix}/" if prefix else ""
        self._store = S3Store(
            bucket,
            prefix=prefix or None,
            client_options={
                "connect_timeout": f"{_CONNECT_SECONDS}s",
                "read_timeout": f"{_SILENT_SECONDS}s",
                "timeout": f"{_ANSWER_SECONDS}s",
                "allow_http": os.environ.get("AWS_ALLOW_HTTP") == "true",  # obstore's own reading of it is off by these
            },
            retry_config={"max_retries": 0},  # _patiently tries again, and counts
            **_session(),
        )

    def folders(self, below: str = "") -> list[str]:
        """Return the common prefixes directly below."""
        root = f"{self._root}{below}/" if below else self._root
        pages = self._pages(Prefix=root, Delimiter="/")
        found = [entry["Prefix"] for page in pages for entry in page.get("CommonPrefixes", ())]
        return sorted(prefix.removeprefix(root).removesuffix("/") for prefix in found)

    def listing(self, folder: str | None) -> Iterator[pa.RecordBatch]:
        """Yield listings; an object whose key ends in a slash is a folder's marker, not an object."""
        below = {"Delimiter": "/"} if folder is None else {}
        prefix = self._root if folder is None else f"{self._root}{folder}/"
        objects = (
            # Whole seconds: a GET's Last-Modified header, which reuse compares with, has no more.
            (entry["Key"].removeprefix(self._root), entry["Size"], entry["LastModified"].replace(microsecond=0))
            for page in self._pages(Prefix=prefix, **below)
            for entry in page.get("Contents", ())
            if not entry["Key"].endswith("/")
        )
        while rows := list(islice(objects, _LISTING_ROWS)):
            yield _batch(rows)

    def _pages(self, **what: str) -> Iterator[dict[str, Any]]:
        """Yield the pages of a listing, by boto3: for obstore one key such as ``a//b.jpg`` spoils a whole listing."""
        with _plain_errors(self.uri):
            yield from self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, **what)

    @functools.cached_property
    def _client(self) -> Any:
        import boto3
        from botocore.config import Config

        retries = {"mode": "standard", "total_max_attempts": len(_PAUSES) + 1}
        times = {"connect_timeout": _CONNECT_SECONDS, "read_timeout": _ANSWER_SECONDS}
        return boto3.client("s3", config=Config(retries=retries, **times))

    def read(self, path: str, accept: Callable[[int], None] = _accept) -> Stored:
        """Return an object's bytes."""
        import obstore

        if path.startswith("/"):  # obstore would take the slash away, and read another object
            raise BadNameError(f"{path!r} has an empty part; rename it")

        def get() -> Stored:
            answer = obstore.get(self._store, path)
            meta = answer.meta
            accept(meta["size"])
            return Stored(answer.bytes().to_bytes(), meta["last_modified"].replace(microsecond=0), meta["e_tag"])

        stored, retries = self._patiently(path, get)
        return dataclasses.replace(stored, retries=retries) if retries else stored

    def write(self, path: str, data: bytes) -> None:
        """Put an object."""
        import obstore

        self._patiently(path, lambda: obstore.put(self._store, path, data))

    def create(self, path: str, data: bytes) -> None:
        """Put an object on the condition that there is none (``If-None-Match: *``)."""
        import obstore

        self._patiently(path, lambda: obstore.put(self._store, path, data, mode="create"))

    def replace(self, path: str, data: bytes, seen: Stored) -> None:
        """Put an object on the condition that it is the one that was read (``If-Match``)."""
        import obstore

        self._patiently(path, lambda: obstore.put(self._store, path, data, mode={"e_tag": seen.version}))

    def delete(self, path: str) -> None:
        """Delete an object."""
        import obstore

        self._patiently(path, lambda: obstore.delete(self._store, path))

    def remove(self, folder: str) -> Removed:
        """Delete all objects below a prefix, markers of folders too."""
        objects = size = 0
        for page in self._pages(Prefix=f"{self._root}{folder}/"):
            found = page.get("Contents", [])
            if not found:
                continue
            keys = [{"Key": entry["Key"]} for entry in found]
            with _plain_errors(self.uri):
                answer = self._client.delete_objects(Bucket=self._bucket, Delete={"Objects": keys, "Quiet": True})
            if problems := answer.get("Errors"):
                raise PermissionError(f"{self.uri}/{folder} cannot be removed: {problems[0]['Message']}")
            objects, size = objects + len(found), size + sum(entry["Size"] for entry in found)
        return Removed(objects, size)

    def _patiently(self, path: str, ask: Callable[[], T]) -> tuple[T, int]:
        """Return what S3 answers, and how often it had to be asked again.

        Throttling, broken connections, short bodies and silence are worth another attempt, after ever longer pauses
        with jitter; nothing is begun after a minute.
        """
        began = time.monotonic()
        for retries, pause in enumerate((*_PAUSES, None)):
            try:
                with _plain_errors(f"{self.uri}/{path}"):
                    return ask(), retries
            except ConnectionError as error:
                if pause is None or time.monotonic() - began + pause > _PATIENCE_SECONDS:
                    raise UnavailableError(str(error), retries) from error
                time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - to spread requests, not to hide anything
        raise AssertionError  # the last attempt returned or raised


def _batch(rows: Sequence[tuple[str, int, datetime]]) -> pa.RecordBatch:
    columns = zip(*rows, strict=True) if rows else ((), (), ())
    arrays = [pa.array(column, field.type) for column, field in zip(columns, LISTING, strict=True)]
    return pa.record_batch(arrays, schema=LISTING)


def _session() -> dict[str, Any]:
    """Return boto3's credentials: it knows profiles and single sign-on, obstore does not."""
    import boto3
    from obstore.auth.boto3 import Boto3CredentialProvider

    session = boto3.Session()
    if session.get_credentials() is None:
        return {}
    return {"credential_provider": Boto3CredentialProvider(session)}


@contextlib.contextmanager
def _plain_errors(uri: str) -> Iterator[None]:
    """Turn obstore's and boto3's errors into Python's own, in a line each."""
    from botocore.exceptions import BotoCoreError, ClientError
    from obstore import exceptions

    try:
        yield
    except (FileNotFoundError, exceptions.NotFoundError) as error:
        raise FileNotFoundError(f"{uri} does not exist") from error
    except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
        raise PermissionError(f"access to {uri} is denied") from error
    except (exceptions.AlreadyExistsError, exceptions.PreconditionError) as error:
        raise FileExistsError(f"{uri} exists already, or has changed") from error
    except exceptions.BaseError as error:
        said = f"{uri}: {str(error).splitlines()[0]}"
        raise (OSError if _REFUSED.search(said) else ConnectionError)(said) from error
    except ValueError as error:
        raise BadNameError(f"{str(error).removeprefix('Could not parse path: ')!r}; rename it") from error
    except ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        kind = {404: FileNotFoundError, 403: PermissionError}.get(status, ConnectionError)
        said = {404: "does not exist", 403: "may not be listed"}.get(status, str(error))
        raise kind(f"{uri} {said}") from error
    except BotoCoreError as error:
        raise ConnectionError(f"{uri}: {error}") from error
