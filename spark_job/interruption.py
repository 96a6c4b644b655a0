"""Ends a command in order when it is interrupted: by Ctrl-C, by SIGTERM, or because its terminal was closed.

A thread does it. Python would run a handler in the main thread, which may be busy in TensorFlow for seconds, and an
exception from a handler can arise anywhere, even while Spark answers or another exception is handled.
"""

import atexit
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a cluster does not have it
    from psutil import Process

ending = threading.RLock()
"""Held by whoever says how a run ends: it is published, it has failed, or it was interrupted."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PUBLISHING_SECONDS = 60.0
_LEAVING_SECONDS = 10.0
_DYING_SECONDS = 5.0
_CLEAR_LINE = b"\r\x1b[2K\x1b[?25h"  # remove the progress bar, and show the cursor that it hides

OnInterrupt = Callable[[], str]
"""Returns the sentence that ends the command, such as "Interrupted; nothing was published."."""

_scopes: list[OnInterrupt] = [lambda: "Interrupted."]
_scratch: Path | None = None


def listen() -> None:
    """From now on, end this process if a signal asks for it."""
    import psutil

    receiving, sending = os.pipe()
    os.set_blocking(sending, False)
    signal.set_wakeup_fd(sending, warn_on_full_buffer=False)
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN or number is not signal.SIGHUP:  # nohup ignores SIGHUP
            signal.signal(number, _ignore)
    threading.Thread(target=_end, args=(receiving, os.dup(2), psutil.Process()), daemon=True).start()


def handle_signals_again() -> None:
    """Take Ctrl-C back from Spark's client, which sets a handler of its own when it starts in the main thread."""
    if signal.getsignal(signal.SIGTERM) is _ignore and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, _ignore)


def _ignore(*_: object) -> None:
    pass


@contextmanager
def scope(on_interrupt: OnInterrupt) -> Iterator[None]:
    """If the block is interrupted, end with what the function says."""
    _scopes.append(on_interrupt)
    try:
        yield
    finally:
        _scopes.remove(on_interrupt)


def scratch() -> Path:
    """Return the folder for all temporary files of this command, of Spark and of Java. It is removed at the end."""
    global _scratch  # noqa: PLW0603 - a process has one
    folder = tempfile.mkdtemp(prefix="fruits-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)  # after what libraries register, which comes later
    tempfile.tempdir = os.environ["TMPDIR"] = folder
    _scratch = Path(folder)
    return _scratch


def _end(receiving: int, standard_error: int, this: "Process") -> None:
    """Wait for a signal. Then stop what this process has started, leave the reason, clean up and exit."""
    import psutil

    (number,) = os.read(receiving, 1)
    started = this.children(recursive=True)
    _each(started, psutil.Process.suspend)  # so that nothing fails meanwhile
    ending.acquire(timeout=_PUBLISHING_SECONDS)
    said = ["Interrupted."]
    leaving = threading.Thread(target=lambda: said.append(_scopes[-1]()), daemon=True)
    leaving.start()
    leaving.join(_LEAVING_SECONDS)
    _each(started, psutil.Process.kill)
    psutil.wait_procs(started, _DYING_SECONDS)
    if _scratch:
        shutil.rmtree(_scratch, ignore_errors=True)
    clear = _CLEAR_LINE if os.isatty(standard_error) else b""
    with suppress(OSError):
        os.write(standard_error, clear + f"fruits: {said[-1]}\n".encode())
    os._exit(128 + number)


def _each(processes: "list[Process]", act: "Callable[[Process], None]") -> None:
    import psutil

    for process in processes:
        with suppress(psutil.Error):  # it has ended
            act(process)
