"""Finds and ends the processes of a node by their working folders, because YARN puts each into a session of its own."""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path


def working_folders() -> Iterator[tuple[int, str]]:
    """Yield each process of this machine with its working folder."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            yield int(process.name), str((process / "cwd").readlink())


def send(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process, if it still exists."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def kill_below(folder: Path) -> None:
    """Kill every process that works in a folder, until there is none."""
    below = str(folder.resolve())
    while found := [pid for pid, where in working_folders() if where == below or where.startswith(f"{below}/")]:
        for pid in found:
            send(pid, signal.SIGKILL)
