"""What libraries, Spark and Java write to standard error. People need it only if something unexpected happens."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path


class Log:
    """The log of a command, in the folder for its temporary files, where it goes with the folder unless it is kept."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "log"

    def written(self) -> contextlib.AbstractContextManager[None]:
        """Write to the log what the block, and the processes that it starts, write to standard error."""
        return redirected(self._file)

    def keep(self) -> Path:
        """Move the log to where it stays, and return its path."""
        handle, kept = tempfile.mkstemp(prefix="fruits-", suffix=".log", dir=self._file.parents[1])
        os.close(handle)
        return self._file.replace(kept)


@contextlib.contextmanager
def redirected(file: Path) -> Iterator[None]:
    """Write to a file what the block, and the processes that it starts, write to standard error, C++ included."""
    before = os.dup(2)
    with file.open("a+b") as opened:
        os.dup2(opened.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)
