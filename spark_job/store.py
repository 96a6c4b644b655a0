"""One way to list, read and write objects, in a local folder or under an S3 prefix."""

import functools

from spark_job.bucket import Bucket
from spark_job.errors import UserError
from spark_job.folder import Folder
from spark_job.objects import Store


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
