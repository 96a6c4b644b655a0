"""What spark-submit starts on the cluster: the command, and its last words left where the state machine reads them."""

import contextlib
import itertools
import json
import sys
from collections.abc import Sequence
from typing import Any, TextIO

from spark_job import cli
from spark_job.store import open_store


class _Listener:
    """Standard error, remembered."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self.heard = stream, ""

    def write(self, text: str) -> int:
        self.heard = (self.heard + text)[-10_000:]
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def main(arguments: Sequence[str]) -> int:
    """Run the command; leave the reason beside the run's results if it fails.

    On a cluster standard error ends in a compressed file that a state machine cannot read.
    """
    listener = _Listener(sys.stderr)
    with contextlib.redirect_stderr(listener):
        code = cli.main(arguments)
    if code:
        reason = listener.heard.strip().rpartition("\n")[2]
        value = dict(itertools.pairwise(arguments))
        with contextlib.suppress(Exception):  # the reason is in the log all the same
            path = f"runs/{value['--run-id']}/_failed.json"
            open_store(value["--output"]).write(path, json.dumps({"reason": reason}).encode())
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
