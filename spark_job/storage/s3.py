"""A prefix of an S3 bucket as a store."""

import dataclasses
import functools
import itertools
import math
import random
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

import pyarrow as pa

from spark_job.storage.base import (
    AccountError,
    BadNameError,
    Removed,
    Stored,
    UnavailableError,
    accept_any,
    listings,
)
from spark_job.storage.ranges import KeyRange, divide
from spark_job.storage.refusals import plain_errors, refuse_other_regions

if TYPE_CHECKING:
    from obstore import GetOptions, PutMode
    from obstore.store import ClientConfig
    from pyarrow.fs import FileSystem

_CONNECT_SECONDS = 5
_SILENT_SECONDS = 10
_ANSWER_SECONDS = 60
_PAUSES = (0.1, 0.3, 1.0, 3.0, 9.0, 20.0)
_PATIENCE_SECONDS = 60
_PROBES_AT_ONCE = 32

T = TypeVar("T")


class S3Store:
    """A prefix of an S3 bucket. Credentials and region come from the environment, as boto3 reads them."""

    def __init__(self, bucket: str, prefix: str) -> None:
        from obstore.store import S3Store as Client

        self.uri = f"s3://{bucket}/{prefix}".rstrip("/")
        self._bucket, self._root = bucket, f"{prefix}/" if prefix else ""
        with plain_errors(self.uri, "s3:GetObject"):
            self._store = Client(
                bucket,
                prefix=prefix or None,
                client_options=_client_options(),
                retry_config={"max_retries": 0},  # _with_retries retries and counts
                **_session(),
            )

    def folders(self, below: str = "") -> list[str]:
        """Return the common prefixes directly below."""
        root = f"{self._root}{below}/" if below else self._root
        pages = self._pages(Prefix=root, Delimiter="/")
        found = [entry["Prefix"] for page in pages for entry in page.get("CommonPrefixes", ())]
        return sorted(prefix.removeprefix(root).removesuffix("/") for prefix in found)

    def listing(self, folder: str | None) -> Iterator[pa.RecordBatch]:
        """Yield listings."""
        if folder is None:
            return self._listed(self._objects(Prefix=self._root, Delimiter="/"))
        return self._listed(self._objects(Prefix=f"{self._root}{folder}/"))

    def parts(self, count: int) -> list[KeyRange]:
        """Divide all keys into ranges, whatever their folders. One request shows that few keys need no division."""
        with ThreadPoolExecutor(_PROBES_AT_ONCE) as pool:
            return divide(self._keys_after, count, pool.map)

    def list_part(self, part: KeyRange) -> Iterator[pa.RecordBatch]:
        """Yield the listings of one range of keys."""
        found = self._objects(Prefix=self._root, **_start(part.after))
        return self._listed(itertools.takewhile(lambda one: one["Key"] in part, found))

    def _listed(self, found: Iterable[dict[str, Any]]) -> Iterator[pa.RecordBatch]:
        """Turn objects into listings, without the markers of folders, whose keys end in a slash."""
        start = len(self._root)
        return listings(
            # Reuse compares this time with the Last-Modified header of a GET, which has whole seconds.
            (one["Key"][start:], one["Size"], one["LastModified"].replace(microsecond=0))
            for one in found
            if not one["Key"].endswith("/")
        )

    def _keys_after(self, start: str, count: int) -> list[str]:
        """Return the first keys after a string."""
        with plain_errors(self.uri, "s3:ListBucket"):
            page = self._client.list_objects_v2(Bucket=self._bucket, Prefix=self._root, MaxKeys=count, **_start(start))
        return [one["Key"] for one in page.get("Contents", ())]

    def _objects(self, **what: str) -> Iterator[dict[str, Any]]:
        """Yield the objects of a listing."""
        return itertools.chain.from_iterable(page.get("Contents", ()) for page in self._pages(**what))

    def _pages(self, **what: str) -> Iterator[dict[str, Any]]:
        """Yield the pages of a listing. boto3 reads them, because obstore fails on keys such as ``a//b.jpg``."""
        with plain_errors(self.uri, "s3:ListBucket"):
            yield from self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, **what)

    @functools.cached_property
    def _client(self) -> Any:
        import boto3
        from botocore.config import Config

        retries = {"mode": "standard", "total_max_attempts": len(_PAUSES) + 1}
        times = {"connect_timeout": _CONNECT_SECONDS, "read_timeout": _ANSWER_SECONDS}
        config = Config(retries=retries, max_pool_connections=_PROBES_AT_ONCE, **times)
        client = boto3.Session().client("s3", config=config)
        # What is registered first is called before boto3's own hook.
        client.meta.events.register_first("needs-retry.s3.*", refuse_other_regions)
        return client

    def read(self, path: str, accept: Callable[[int], None] = accept_any) -> Stored:
        """Return the content of an object."""
        if path.startswith("/"):  # obstore would strip the slash and read another object
            raise BadNameError(f"{path!r} begins with a slash; rename it")
        return self._get(path, {}, accept)

    def read_range(self, path: str, start: int, stop: int, version: str | None = None) -> Stored:
        """Return a part of an object. Its version is its ETag (``If-Match``)."""
        options: GetOptions = {"range": (start, stop)}
        if version is not None:
            options["if_match"] = version
        return self._get(path, options, accept_any)

    def _get(self, path: str, options: "GetOptions", accept: Callable[[int], None]) -> Stored:
        import obstore

        def get() -> Stored:
            answer = obstore.get(self._store, path, options=options)
            meta = answer.meta
            accept(meta["size"])
            modified = meta["last_modified"].replace(microsecond=0)
            return Stored(answer.bytes().to_bytes(), modified, meta["e_tag"], meta["size"])

        stored, retries = self._with_retries(path, "s3:GetObject", get)
        return dataclasses.replace(stored, retries=retries)

    def arrow(self) -> "tuple[FileSystem, str]":
        """Return Arrow's S3 with boto3's credentials, region and endpoint. It reads as long as the credentials last."""
        import boto3
        from pyarrow.fs import S3FileSystem

        where, credentials = self._client.meta, boto3.Session().get_credentials()
        keys = credentials.get_frozen_credentials() if credentials else None
        scheme, _, host = where.endpoint_url.partition("://")
        files = S3FileSystem(
            access_key=keys and keys.access_key,
            secret_key=keys and keys.secret_key,
            session_token=keys and keys.token,
            region=where.region_name,
            scheme=scheme,
            endpoint_override=host,
        )
        return files, f"{self._bucket}/{self._root}".rstrip("/")

    def write(self, path: str, data: bytes) -> None:
        """Put an object."""
        self._put(path, data, "overwrite")

    def create(self, path: str, data: bytes) -> None:
        """Put an object if there is none (``If-None-Match: *``)."""
        self._put(path, data, "create")

    def replace(self, path: str, data: bytes, seen: Stored) -> None:
        """Put an object if it is still the one that was read (``If-Match``)."""
        self._put(path, data, {"e_tag": seen.version})

    def _put(self, path: str, data: bytes, mode: "PutMode") -> None:
        import obstore

        put = functools.partial(obstore.put, self._store, path, data, mode=mode, use_multipart=False)
        self._with_retries(path, "s3:PutObject", put)

    def upload(self, path: str, file: IO[bytes], *, replace: bool = False) -> None:
        """Put an object from a file. boto3 sends it: obstore holds the whole object, and one minute is its limit."""
        condition = {} if replace else {"IfNoneMatch": "*"}
        file.seek(0)
        with plain_errors(f"{self.uri}/{path}", "s3:PutObject"):
            self._client.put_object(Bucket=self._bucket, Key=f"{self._root}{path}", Body=file, **condition)

    def delete(self, path: str) -> None:
        """Delete an object."""
        import obstore

        self._with_retries(path, "s3:DeleteObject", lambda: obstore.delete(self._store, path))

    def remove(self, folder: str) -> Removed:
        """Delete all objects below a prefix, including the markers of folders."""
        count = size = 0
        for page in self._pages(Prefix=f"{self._root}{folder}/"):
            found = page.get("Contents", ())
            if not found:
                continue
            keys = [{"Key": one["Key"]} for one in found]
            with plain_errors(self.uri, "s3:DeleteObject"):
                answer = self._client.delete_objects(Bucket=self._bucket, Delete={"Objects": keys, "Quiet": True})
            if problems := answer.get("Errors"):
                raise PermissionError(f"{self.uri}/{folder} cannot be removed: {problems[0]['Message']}")
            count, size = count + len(found), size + sum(one["Size"] for one in found)
        return Removed(count, size)

    def _with_retries(self, path: str, permission: str, request: Callable[[], T]) -> tuple[T, int]:
        """Return the result of a request, and how many retries it took.

        Throttling, broken connections, short bodies and silence are retried with exponential pauses and jitter. No
        attempt starts after a minute.
        """
        began, pauses, retries = time.monotonic(), iter(_PAUSES), 0
        while True:
            try:
                with plain_errors(f"{self.uri}/{path}", permission):
                    return request(), retries
            except ConnectionError as error:
                pause = next(pauses, math.inf)
                if time.monotonic() - began + pause > _PATIENCE_SECONDS:
                    raise UnavailableError(str(error), retries) from error
            time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - spreads requests; no secret depends on it
            retries += 1


def _start(after: str) -> dict[str, str]:
    return {"StartAfter": after} if after else {}


def _session() -> dict[str, Any]:
    """Return boto3's credentials for obstore, which does not support profiles and single sign-on."""
    import boto3
    from obstore.auth.boto3 import Boto3CredentialProvider

    session = boto3.Session()
    if session.get_credentials() is None:
        return {}
    return {"credential_provider": Boto3CredentialProvider(session)}


def _client_options() -> "ClientConfig":
    from botocore.session import Session

    options: ClientConfig = {
        "connect_timeout": f"{_CONNECT_SECONDS}s",
        "read_timeout": f"{_SILENT_SECONDS}s",
        "timeout": f"{_ANSWER_SECONDS}s",
        "allow_http": True,  # if the endpoint begins with http://, as for boto3
    }
    # boto3's certificate authorities (AWS_CA_BUNDLE, or that of the profile). obstore does not look for them.
    if file := Session().get_config_variable("ca_bundle"):
        try:
            options["root_certificate"] = Path(file).read_bytes()
        except OSError as error:
            raise AccountError(f"The certificate authorities in {file} cannot be read: {error.strerror}.") from None
    return options
