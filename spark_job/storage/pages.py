"""Turns the pages of S3's listings into columns.

boto3 parses a page twice, and makes a dictionary of each object, which takes most of the time of a listing. S3 writes
all objects in one simple form, in which regular expressions find the columns. A page in another form is left to boto3.
"""

import re
from typing import Any
from urllib.parse import unquote_plus

import pyarrow as pa
import pyarrow.compute as pc

from spark_job.storage.base import LISTING_SCHEMA

_OBJECTS = "Objects"  # what take_objects adds to boto3's page
_FIRST, _LAST = b"<Contents>", b"</Contents>"
_NAMES = ("Key", "Size", "LastModified")  # of the columns of LISTING_SCHEMA
# Text with an entity or a marked section does not match, and boto3 reads the page.
_COLUMNS = [re.compile(f"<{name}>([^<&]*)</{name}>") for name in _NAMES]


def take_objects(
    operation_model: Any, response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: object
) -> None:
    """Take the objects out of a page. boto3 calls this with each response, before it parses the rest of it."""
    if operation_model.name != "ListObjectsV2":
        return
    body: bytes = response_dict["body"]
    head, _first, found = body.partition(_FIRST)
    found, _last, tail = found.rpartition(_LAST)
    rest = head + tail
    try:
        text = found.decode()
    except UnicodeDecodeError:
        return  # boto3 reports it
    columns = [column.findall(text) for column in _COLUMNS]
    all_seen = {len(column) for column in columns} == {body.count(_FIRST)} and b"Contents" not in rest
    if not found or not all_seen or "<CommonPrefixes>" in text:
        return
    if b"<EncodingType>url</EncodingType>" in rest and ("%" in text or "+" in text):
        columns[0] = [unquote_plus(key) for key in columns[0]]
    customized_response_dict[_OBJECTS] = _listing(columns)
    response_dict["body"] = rest


def objects(page: dict[str, Any]) -> pa.RecordBatch:
    """Return the objects of a page, as LISTING_SCHEMA with whole keys."""
    if _OBJECTS in page:
        return page[_OBJECTS]
    found = page.get("Contents", ())
    return _listing([[one[name] for one in found] for name in _NAMES])


def _listing(columns: list[list[Any]]) -> pa.RecordBatch:
    rows = pa.record_batch([pa.array(column) for column in columns], LISTING_SCHEMA.names).cast(LISTING_SCHEMA)
    # Reuse compares this time with the Last-Modified header of a GET, which has whole seconds.
    whole_seconds = pc.floor_temporal(rows.column("modified"), unit="second")
    return rows.set_column(2, LISTING_SCHEMA.field("modified"), whole_seconds)
