"""What libraries, Spark and Java write to standard error. People need it only if something unexpected happens."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Log:
    """The log of a command, in the folder for its temporary files, where it goes with the folder unless it is kept."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "log"

    @contextmanager
    def written(self) -> Iterator[None]:
        """Write to the log, instead of to standard error, whatever this process and those that it starts write."""
        before = os.dup(2)
        with self._file.open("a+b") as file:
            os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(before, 2)
            os.close(before)

    def keep(self) -> Path:
        """Move the log to where it stays, and return its path."""
        handle, kept = tempfile.mkstemp(prefix="fruits-", suffix=".log", dir=self._file.parents[1])
        os.close(handle)
        return self._file.replace(kept)
