"""What the command ``pack`` is told, and what it says."""

import re
from pathlib import Path

from spark_job.errors import UserError
from spark_job.pack.packing import Packed
from spark_job.storage.base import Store

_SIZE = re.compile(r"(?i)(\d+) ?(MB|GB)")
_UNITS = {"MB": 10**6, "GB": 10**9}
_LARGEST = 5 * 10**9  # of one PUT
_NAMED = 20


def parse_size(text: str) -> int:
    """Return a size such as ``128MB`` in bytes; raise UserError if it is none, or too large for S3."""
    found = _SIZE.fullmatch(text.strip())
    size = int(found[1]) * _UNITS[found[2].upper()] if found else 0
    if not 0 < size <= _LARGEST:
        raise UserError(f"size is {text}. Give the size of a shard, such as 128MB, at most 5GB.")
    return size


def read_paths(file: Path) -> set[str]:
    """Return the paths in a file, one per line, as members of shards: what a run puts before them is removed.

    Raises
    ------
    UserError
        If the file cannot be read, or has no path.
    """
    try:
        lines = file.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"The file {file} cannot be read: {error}.") from None
    paths = {line.strip().partition(".zip/")[2] or line.strip() for line in lines if line.strip()}
    if not paths:
        raise UserError(f"The file {file} has no path. Give one path per line, such as Apple/1.jpg.")
    return paths


def summary(packed: Packed, output: Store) -> str:
    """Return what was done, for the terminal."""
    reasons = [f"{path}: {why}" for path, why in packed.left_out.items()]
    lines = {
        "packed": f"{packed.new:,} photos; new shards: {len(packed.shards):,}",
        "replaced": f"{packed.replaced:,}" if packed.replaced else "",
        "erased": f"{packed.erased:,}" if packed.erased else "",
        "rewritten": _few(packed.rewritten),
        "left out": f"{len(reasons):,}: {_few(reasons)}" if reasons else "",
        "not found": _few(packed.not_found),
        "shards": output.uri,
    }
    return "\n".join(f"{name:<10}{value}" for name, value in lines.items() if value)


def _few(words: list[str]) -> str:
    more = len(words) - _NAMED
    return ", ".join(words[:_NAMED]) + (f" and {more:,} more" if more > 0 else "")
