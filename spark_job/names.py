"""What the paths of files say: which files are photos, which are left out, and which label a photo has."""

import re
from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc

from spark_job.network.images import OTHER_SUFFIXES, SUFFIXES
from spark_job.tables import PHOTOS_SCHEMA

_PHOTO = f"(?i)({'|'.join(map(re.escape, SUFFIXES))})$"
_OTHER = f"(?i)(?P<ending>{'|'.join(map(re.escape, OTHER_SUFFIXES))})$"
_HIDDEN = r"(?i)(^|/)(\.+[^./]|__MACOSX/|@eaDir/|#recycle/|\$RECYCLE\.BIN/)"
"""Names that begin with a dot, and folders in which Macs, NAS and Windows keep files for themselves."""

HIDDEN = "hidden"
"""The key of hidden photos in the counts of what was left out; the other keys are endings."""

_LABEL = r"(?s)(?:^|/)(?P<label>[^/]+)/[^/]*$"


def photos(listed: pa.RecordBatch) -> pa.RecordBatch:
    """Return the photos of a listing, with their labels (as :func:`label_of`, but for a million paths in a second)."""
    path = listed.column("path")
    is_hidden = pc.match_substring_regex(path, _HIDDEN)
    chosen = listed.filter(pc.and_not(pc.match_substring_regex(path, _PHOTO), is_hidden))
    labels = pc.struct_field(pc.extract_regex(chosen.column("path"), _LABEL), "label")
    return pa.record_batch([chosen.column(0), labels, chosen.column(1), chosen.column(2)], schema=PHOTOS_SCHEMA)


def count_left_out(listed: pa.RecordBatch) -> "Counter[str]":
    """Return the number of hidden photos of a listing, and of photos that the job does not read, by ending."""
    path = listed.column("path")
    is_hidden = pc.match_substring_regex(path, _HIDDEN)
    hidden = pc.sum(pc.and_(pc.match_substring_regex(path, _PHOTO), is_hidden)).as_py() or 0
    others = pc.struct_field(pc.extract_regex(path.filter(pc.invert(is_hidden)), _OTHER), "ending")
    endings = Counter(pc.utf8_lower(others).drop_null().to_pylist())
    return endings + Counter({HIDDEN: hidden})  # without endings that do not occur


def is_photo(path: str) -> bool:
    """Return whether a file of this path is a photo, as :func:`photos` does for many."""
    return bool(re.search(_PHOTO, path)) and not re.search(_HIDDEN, path)


def label_of(path: str) -> str | None:
    """Return the name of the folder that holds a photo, or None if there is no folder or it has no name."""
    return path.split("/")[-2] or None if "/" in path else None
