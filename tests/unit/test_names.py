from collections import Counter

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from spark_job import names
from spark_job.network.images import SUFFIXES
from spark_job.storage.base import LISTING_SCHEMA


@given(st.text(st.sampled_from("a/.jpgJPG é\n\\"), max_size=20))
def test_images_and_labels_are_found_as_python_would(path: str) -> None:
    listed = pa.record_batch(
        [[path], [1], pa.array([0], LISTING_SCHEMA.field("modified").type)], names=LISTING_SCHEMA.names
    )
    is_hidden = any(name.lstrip(".") and name.startswith(".") for name in path.split("/"))
    is_photo = path.lower().endswith(SUFFIXES)
    assert names.is_photo(path) == (is_photo and not is_hidden)
    expected = [(path, names.label_of(path))] if is_photo and not is_hidden else []
    assert names.count_left_out(listed.cast(LISTING_SCHEMA)) == Counter({"hidden": 1} if is_photo and is_hidden else {})
    found = names.photos(listed.cast(LISTING_SCHEMA))
    assert list(zip(*(found.column(name).to_pylist() for name in ("path", "label")), strict=True)) == expected
