"""A prefix of an S3 bucket as a store."""

import dataclasses
import functools
import os
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import pyarrow as pa
import pyarrow.compute as pc

from spark_job.storage.base import (
    LISTING_SCHEMA,
    AccountError,
    BadNameError,
    Removed,
    Stored,
    UnavailableError,
    accept_any,
)
from spark_job.storage.pages import objects, take_objects
from spark_job.storage.ranges import KeyRange, divide
from spark_job.storage.refusals import plain_errors, refuse_other_regions

if TYPE_CHECKING:
    from obstore.store import ClientConfig

_CONNECT_SECONDS = 5
_SILENT_SECONDS = 10
_ANSWER_SECONDS = 60
_PAUSES = (0.1, 0.3, 1.0, 3.0, 9.0, 20.0)
_PATIENCE_SECONDS = 60
_PROBES_AT_ONCE = 32

T = TypeVar("T")


@functools.cache
def api_descriptions() -> Any:
    """Return botocore's reader of API descriptions, which has read and keeps what a client for S3 needs.

    Each client reads them with a new reader otherwise, for 0.1 s.
    """
    from botocore.loaders import create_loader

    reader = create_loader()
    for kind in ("service-2", "endpoint-rule-set-1"):
        reader.load_service_model("s3", kind, api_version=None)
    for name in ("endpoints", "partitions", "sdk-default-configuration"):
        reader.load_data_with_path(name)
    return reader


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
        """Yield listings without the markers of folders, whose keys end in a slash."""
        below = {"Delimiter": "/"} if folder is None else {}
        prefix = self._root if folder is None else f"{self._root}{folder}/"
        for page in self._pages(Prefix=prefix, **below):
            yield self._listing(objects(page))

    def parts(self, count: int) -> list[KeyRange]:
        """Divide all keys into ranges, whatever their folders. One request shows that few keys need no division."""
        with ThreadPoolExecutor(_PROBES_AT_ONCE) as pool:
            return divide(self._keys_after, count, pool.map)

    def list_part(self, part: KeyRange) -> Iterator[pa.RecordBatch]:
        """Yield the listings of one range of keys."""
        after = {"StartAfter": part.after} if part.after else {}
        for page in self._pages(Prefix=self._root, **after):
            found = objects(page)
            # Arrow and S3 both compare the bytes of UTF-8.
            inside = found.filter(pc.less_equal(found.column("path"), part.until)) if part.until else found
            yield self._listing(inside)
            if len(inside) < len(found):
                return

    def _listing(self, found: pa.RecordBatch) -> pa.RecordBatch:
        """Make the keys relative to this store, and leave out the markers of folders."""
        path = pc.utf8_slice_codeunits(found.column("path"), len(self._root))
        return found.set_column(0, LISTING_SCHEMA.field(0), path).filter(pc.invert(pc.ends_with(path, "/")))

    def _keys_after(self, start: str, count: int) -> list[str]:
        """Return the first keys after a string."""
        after = {"StartAfter": start} if start else {}
        with plain_errors(self.uri, "s3:ListBucket"):
            page = self._client.list_objects_v2(Bucket=self._bucket, Prefix=self._root, MaxKeys=count, **after)
        return cast("list[str]", objects(page).column("path").to_pylist())

    def _pages(self, **what: str) -> Iterator[dict[str, Any]]:
        """Yield the pages of a listing. boto3 reads them, because obstore fails on keys such as ``a//b.jpg``."""
        with plain_errors(self.uri, "s3:ListBucket"):
            yield from self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, **what)

    @functools.cached_property
    def _client(self) -> Any:
        from botocore.config import Config
        from botocore.hooks import HierarchicalEmitter
        from botocore.session import Session

        hooks = HierarchicalEmitter()
        # What is registered before boto3's own hooks is called before them. One of them parses the whole page.
        hooks.register_first("before-parse.s3.*", take_objects)
        hooks.register_first("needs-retry.s3.*", refuse_other_regions)
        session = Session(event_hooks=hooks)
        session.register_component("data_loader", api_descriptions())
        retries = {"mode": "standard", "total_max_attempts": len(_PAUSES) + 1}
        times = {"connect_timeout": _CONNECT_SECONDS, "read_timeout": _ANSWER_SECONDS}
        config = Config(retries=retries, max_pool_connections=_PROBES_AT_ONCE, **times)
        return session.create_client("s3", config=config)

    def read(self, path: str, accept: Callable[[int], None] = accept_any) -> Stored:
        """Return the content of an object."""
        import obstore

        if path.startswith("/"):  # obstore would strip the slash and read another object
            raise BadNameError(f"{path!r} begins with a slash; rename it")

        def get() -> Stored:
            answer = obstore.get(self._store, path)
            meta = answer.meta
            accept(meta["size"])
            return Stored(answer.bytes().to_bytes(), meta["last_modified"].replace(microsecond=0), meta["e_tag"])

        stored, retries = self._with_retries(path, "s3:GetObject", get)
        return dataclasses.replace(stored, retries=retries) if retries else stored

    def write(self, path: str, data: bytes) -> None:
        """Put an object."""
        import obstore

        self._with_retries(path, "s3:PutObject", lambda: obstore.put(self._store, path, data, use_multipart=False))

    def create(self, path: str, data: bytes) -> None:
        """Put an object if there is none (``If-None-Match: *``)."""
        import obstore

        self._with_retries(path, "s3:PutObject", lambda: obstore.put(self._store, path, data, mode="create"))

    def replace(self, path: str, data: bytes, seen: Stored) -> None:
        """Put an object if it is still the one that was read (``If-Match``)."""
        import obstore

        self._with_retries(
            path, "s3:PutObject", lambda: obstore.put(self._store, path, data, mode={"e_tag": seen.version})
        )

    def delete(self, path: str) -> None:
        """Delete an object."""
        import obstore

        self._with_retries(path, "s3:DeleteObject", lambda: obstore.delete(self._store, path))

    def remove(self, folder: str) -> Removed:
        """Delete all objects below a prefix, including the markers of folders."""
        count = size = 0
        for page in self._pages(Prefix=f"{self._root}{folder}/"):
            found = objects(page)
            if not found.num_rows:
                continue
            keys = [{"Key": key} for key in found.column("path").to_pylist()]
            with plain_errors(self.uri, "s3:DeleteObject"):
                answer = self._client.delete_objects(Bucket=self._bucket, Delete={"Objects": keys, "Quiet": True})
            if problems := answer.get("Errors"):
                raise PermissionError(f"{self.uri}/{folder} cannot be removed: {problems[0]['Message']}")
            count, size = count + found.num_rows, size + pc.sum(found.column("size")).as_py()
        return Removed(count, size)

    def _with_retries(self, path: str, permission: str, request: Callable[[], T]) -> tuple[T, int]:
        """Return the result of a request, and how many retries it took.

        Throttling, broken connections, short bodies and silence are retried with exponential pauses and jitter. No
        attempt starts after a minute.
        """
        began = time.monotonic()
        for retries, pause in enumerate((*_PAUSES, None)):
            try:
                with plain_errors(f"{self.uri}/{path}", permission):
                    return request(), retries
            except ConnectionError as error:
                if pause is None or time.monotonic() - began + pause > _PATIENCE_SECONDS:
                    raise UnavailableError(str(error), retries) from error
                time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - spreads requests; no secret depends on it
        raise AssertionError  # the last attempt returned or raised


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
        # obstore ignores this variable if it gets options.
        "allow_http": os.environ.get("AWS_ALLOW_HTTP") == "true",
    }
    # boto3's certificate authorities (AWS_CA_BUNDLE, or that of the profile). obstore does not look for them.
    if file := Session().get_config_variable("ca_bundle"):
        try:
            options["root_certificate"] = Path(file).read_bytes()
        except OSError as error:
            raise AccountError(f"The certificate authorities in {file} cannot be read: {error.strerror}.") from None
    return options
