"""The errors that end a command, each with one sentence for the person who gave it.

::

    Exception
    ├── UserError                       the user can correct it: exit code 2
    │   ├── AccountError                in storage/base.py
    │   └── WeightsUnavailableError     in network/weights.py
    └── RunError                        the run failed: exit code 1
        └── UnexpectedError             nobody has written a sentence for it, so the log may help
"""

import re
import tempfile

_TRACEBACK = "Traceback (most recent call last):"
_OWN = re.compile(r"^spark_job\.[\w.]*\.(?P<name>\w+Error): (?P<said>.*)$", re.MULTILINE)
_USER_ERRORS = ("UserError", "AccountError")
_ERRNO = re.compile(r"^(?:\w+: )?\[Errno \d+\] (?P<problem>[^:]+): '(?P<file>.*)'$")
_FULL = "No space left on device"
_LONGEST = 500


class UserError(Exception):
    """The command cannot be carried out as it was given."""


class RunError(Exception):
    """The command was correct, but the run failed."""


class UnexpectedError(RunError):
    """Something failed that this program does not know."""


def explain(error: BaseException) -> UserError | RunError:
    """Return the error for a person: that of this program, even from a worker, or the root cause of another."""
    if isinstance(error, UserError | RunError):
        return error
    root = _root(error)
    text = _text(root)
    if own := list(_OWN.finditer(text)):
        said = own[-1]["said"]
        return UserError(said) if own[-1]["name"] in _USER_ERRORS else RunError(said)
    return UnexpectedError(f"The run failed: {_line(text)[:_LONGEST].rstrip('.')}.")


def _root(error: BaseException) -> BaseException:
    """Return the error with which a chain of Python's errors began, or the last one that this program has worded."""
    while not type(error).__module__.startswith("spark_job.") and (
        cause := error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    ):
        error = cause
    return error


def _text(error: BaseException) -> str:
    """Return the message of an error, that of the root cause if Java raised it."""
    from py4j.protocol import Py4JError, Py4JJavaError, Py4JNetworkError

    try:
        if isinstance(error, Py4JJavaError):
            cause = error.java_exception
            while cause.getCause() is not None:
                cause = cause.getCause()
            return str(cause.toString())
    except (Py4JError, OSError) as lost:
        error = lost
    if isinstance(error, Py4JNetworkError | ConnectionRefusedError | ConnectionResetError | EOFError):
        return "Spark's Java process has ended. Perhaps the system stopped it for lack of memory"
    text = str(error)
    return text if " " in text else f"{type(error).__name__}: {text}".removesuffix(": ")


def _line(text: str) -> str:
    """Return the line of a message that says what is wrong. It may be a worker's traceback, and begin anyhow."""
    _, found, traceback = text.partition(_TRACEBACK)
    # The first traceback of a chain is that of the root cause.
    lines = [line for line in (traceback if found else text).splitlines() if line.strip()]
    if found:
        lines = [line for line in lines if not line.startswith((" ", "\t"))]
    lines = [line.strip() for line in lines] or [text.strip()]
    line = next((line for line in lines if not line.endswith(":")), lines[0]).removesuffix(":")
    if file := _ERRNO.match(line):
        return f"{file['problem']}: {file['file']}"
    if line.endswith(_FULL):  # what this program writes elsewhere has a name
        return f"{_FULL} for temporary files in {tempfile.gettempdir()}. Set TMPDIR to a folder on another disk"
    return line
