"""What the paths of files say: which files are photos, which are left out, and which label a photo has."""

import re
from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc

from spark_job.network.images import OTHER_SUFFIXES, SUFFIXES
from spark_job.tables import PHOTOS_SCHEMA

ARCHIVE_SUFFIX = ".zip"
"""The ending of an archive's name, in lower case. Paths of its photos begin with its path: ``a.zip/Apple/1.jpg``."""

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
"""The endings of archives that have no directory, so that a run does not read them."""


def _ending(*suffixes: str) -> str:
    return f"(?i)(?P<ending>{'|'.join(map(re.escape, suffixes))})$"


NOT_READ = _ending(*OTHER_SUFFIXES, *TAR_SUFFIXES)
NOT_READ_IN_ARCHIVE = _ending(*OTHER_SUFFIXES, *TAR_SUFFIXES, ARCHIVE_SUFFIX)
"""Names of files that are counted, because somebody may expect that a run reads them."""

_PHOTO = _ending(*SUFFIXES)
_ARCHIVE = _ending(ARCHIVE_SUFFIX)
_PACKED = _ending(*TAR_SUFFIXES, ARCHIVE_SUFFIX)
_EXPECTED = _ending(*SUFFIXES, *TAR_SUFFIXES, ARCHIVE_SUFFIX)
_OTHER = _ending(*OTHER_SUFFIXES)
HIDDEN_PATH = (
    r"(^|/)(\.+[^./]|__MACOSX/|@(eaDir|Recycle)/|#(recycle|snapshot)/|\$RECYCLE\.BIN/|System Volume Information/)"
)
"""Names that begin with a dot, and folders in which Macs, NAS and Windows keep files for themselves; in any case."""
_HIDDEN = f"(?i){HIDDEN_PATH}"

HIDDEN = "hidden"
"""The key of hidden photos and archives in the counts of what was left out; the other keys are endings."""

_LABEL = r"(?s)(?:^|/)(?P<label>[^/]+?)(?i:\.zip)?/[^/]*$"


def photos(listed: pa.RecordBatch) -> pa.RecordBatch:
    """Return the photos of a listing, with their labels."""
    return labelled(_chosen(listed, _PHOTO))


def labelled(files: pa.RecordBatch) -> pa.RecordBatch:
    """Return files with a second column, their labels: the name of the folder, or of the archive without its ending."""
    labels = pc.struct_field(pc.extract_regex(files.column("path"), _LABEL), "label")
    return files.add_column(1, PHOTOS_SCHEMA.field("label"), labels)


def archives(listed: pa.RecordBatch) -> pa.RecordBatch:
    """Return the archives of a listing."""
    return _chosen(listed, _ARCHIVE)


def packed(listed: pa.RecordBatch) -> pa.RecordBatch:
    """Return the archives and the tars of a listing."""
    return _chosen(listed, _PACKED)


def _chosen(listed: pa.RecordBatch, pattern: str) -> pa.RecordBatch:
    path = listed.column("path")
    return listed.filter(pc.and_not(pc.match_substring_regex(path, pattern), pc.match_substring_regex(path, _HIDDEN)))


def count_left_out(listed: pa.RecordBatch, other: str = _OTHER) -> "Counter[str]":
    """Return the number of hidden photos and archives of a listing, and of files that are not read, by ending."""
    path = listed.column("path")
    is_hidden = pc.match_substring_regex(path, _HIDDEN)
    hidden = pc.sum(pc.and_(pc.match_substring_regex(path, _EXPECTED), is_hidden)).as_py() or 0
    others = pc.struct_field(pc.extract_regex(path.filter(pc.invert(is_hidden)), other), "ending")
    endings = Counter(pc.utf8_lower(others).drop_null().to_pylist())
    return endings + Counter({HIDDEN: hidden})  # without endings that do not occur


def is_photo(path: str) -> bool:
    """Return whether a file of this path is a photo, as :func:`photos` does for many."""
    return path.lower().endswith(SUFFIXES) and not re.search(_HIDDEN, path)
