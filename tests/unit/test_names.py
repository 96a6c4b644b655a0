import pyarrow as pa
from hypothesis import example, given
from hypothesis import strategies as st

from spark_job import names
from spark_job.network.images import SUFFIXES
from spark_job.storage.base import LISTING_SCHEMA


@given(st.text(st.sampled_from("a/.jpgJPGzi é\n\\"), max_size=20))
@example("a/1.jpg\n")
@example("a/.b/x.ZIP")
@example("a/x.zip/1.jpg")
@example("a/.zip/1.jpg")
def test_images_and_labels_are_found_as_python_would(path: str) -> None:
    listed = pa.RecordBatch.from_pylist([{"path": path, "size": 1}], LISTING_SCHEMA)
    is_hidden = any(name.lstrip(".") and name.startswith(".") for name in path.split("/"))
    is_photo, is_zip = path.lower().endswith(SUFFIXES), path.lower().endswith(".zip")
    assert names.is_photo(path) == (is_photo and not is_hidden)
    folder = path.split("/")[-2] if "/" in path else ""
    label = (folder[:-4] if folder.lower().endswith(".zip") else "") or folder or None
    expected = [(path, label)] if is_photo and not is_hidden else []
    assert [(row["path"], row["label"]) for row in names.photos(listed).to_pylist()] == expected
    assert names.archives(listed).num_rows == (is_zip and not is_hidden)
    assert names.count_left_out(listed)["hidden"] == ((is_photo or is_zip) and is_hidden)
