"""Pages of S3's listings, as S3 writes them and in other forms."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import escape

import botocore.session
import pytest
from botocore.parsers import create_parser
from hypothesis import given
from hypothesis import strategies as st

from spark_job.storage.base import LISTING_SCHEMA
from spark_job.storage.pages import objects, take_objects

SHAPE = botocore.session.get_session().get_service_model("s3").operation_model("ListObjectsV2").output_shape
LIST = SimpleNamespace(name="ListObjectsV2")
TIME = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
NAMES = st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1), max_size=20)
URL = "<EncodingType>url</EncodingType>"


def written(names: list[str], form: str = "<Contents><Key>{}</Key>{}</Contents>", more: str = "") -> bytes:
    """Return a page with objects of size 0, 1, 2 ..., in a form."""
    rest = "<LastModified>2026-01-02T03:04:05.678Z</LastModified><ETag>&quot;0f&quot;</ETag><Size>{}</Size>"
    found = "".join(form.format(name, rest.format(size)) for size, name in enumerate(names))
    space = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
    return f"<ListBucketResult {space}><IsTruncated>false</IsTruncated>{found}{more}</ListBucketResult>".encode()


def parsed(body: bytes, operation: Any = LIST) -> dict[str, Any]:
    """Return what boto3 makes of a page."""
    response = {"body": body, "headers": {}, "status_code": 200}
    taken: dict[str, Any] = {}
    take_objects(operation_model=operation, response_dict=response, customized_response_dict=taken)
    return {**create_parser("rest-xml").parse(response, SHAPE), **taken}


def expected(names: list[str]) -> list[dict[str, Any]]:
    return [{"path": name, "size": size, "modified": TIME} for size, name in enumerate(names)]


@given(NAMES)
def test_a_page_of_s3_is_taken_from_boto3(names: list[str]) -> None:
    page = parsed(written([quote(name) for name in names], more=URL))
    assert "Contents" not in page
    assert objects(page).schema == LISTING_SCHEMA
    assert objects(page).to_pylist() == expected(names)


@given(NAMES)
def test_names_that_are_not_encoded_are_whole(names: list[str]) -> None:
    assert objects(parsed(written([escape(name) for name in names]))).to_pylist() == expected(names)


PREFIX = "<CommonPrefixes><Prefix>x/</Prefix></CommonPrefixes>"


@pytest.mark.parametrize(
    "form",
    [
        "<Contents><Key><![CDATA[{}]]></Key>{}</Contents>",
        "<Contents >\n<Key>{}</Key>{}</Contents >",
        "<Contents ><Key>other form</Key>{1}</Contents ><Contents><Key>{0}</Key>{1}</Contents>",
        f"<Contents><Key>{{}}</Key>{{}}</Contents>{PREFIX}",
        "<Contents><Owner><ID>0</ID></Owner>\n<Key>{}</Key>{}</Contents>",
    ],
)
@pytest.mark.parametrize("more", ["", PREFIX])
def test_no_form_loses_an_object_or_a_prefix(form: str, more: str) -> None:
    names = ["a", "b", "c"]
    page = parsed(written(names, form, more))
    assert [row for row in objects(page).to_pylist() if row["path"] != "other form"] == expected(names)
    assert objects(page).num_rows == (6 if "other form" in form else 3)
    assert objects(page).schema == LISTING_SCHEMA
    assert bool(page.get("CommonPrefixes")) == (PREFIX in form + more)


def test_an_empty_page_has_no_objects() -> None:
    assert objects(parsed(written([]))).schema == LISTING_SCHEMA
    assert objects(parsed(written([]))).num_rows == 0


def test_other_responses_stay_as_they_are() -> None:
    page = parsed(written(["a"]), SimpleNamespace(name="ListObjectVersions"))
    assert [found["Key"] for found in page["Contents"]] == ["a"]
