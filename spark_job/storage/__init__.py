"""One interface to list, read and write objects in a local folder or below an S3 prefix."""

import functools

from spark_job.errors import UserError
from spark_job.storage.base import Store
from spark_job.storage.local import LocalStore
from spark_job.storage.s3 import S3Store


@functools.lru_cache(maxsize=8)
def open_store(uri: str) -> Store:
    """Return the store at a local path or at ``s3://bucket/prefix``, without reading anything.

    Raises
    ------
    UserError
        If the URI has another scheme.
    """
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return LocalStore(uri)
    if scheme != "s3":
        raise UserError(f"{uri} is neither a local folder nor s3://bucket/prefix. Give one of these.")
    bucket, _, prefix = rest.partition("/")
    if not bucket:
        raise UserError(f"{uri} does not name a bucket. Give s3://bucket/prefix.")
    if "//" in f"/{prefix}":
        raise UserError(f"{uri} has a folder without a name. Give s3://bucket/prefix, with single slashes.")
    return S3Store(bucket, prefix.strip("/"))
