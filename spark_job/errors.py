"""The errors that end a command, each with one sentence for the person who gave it.

::

    Exception
    ├── UserError                       the user can correct it: exit code 2
    │   └── WeightsUnavailableError     in network/weights.py
    └── RunError                        the run failed: exit code 1
"""


class UserError(Exception):
    """The command cannot be carried out as it was given."""


class RunError(Exception):
    """The command was correct, but the run failed."""


def sentence(error: BaseException) -> str:
    """Return the error in one sentence, for a person."""
    if isinstance(error, UserError | RunError):
        return str(error)
    if isinstance(error, KeyboardInterrupt):
        return "Interrupted; nothing was published."
    return f"The run failed: {_root_cause(error)}"


def _root_cause(error: BaseException) -> str:
    """Return the most useful line: the innermost Java exception, or the last line of a worker's traceback."""
    from py4j.protocol import Py4JJavaError
    from pyspark.errors import PythonException

    text = str(error)
    if isinstance(error, Py4JJavaError):
        cause = error.java_exception
        while cause.getCause() is not None:
            cause = cause.getCause()
        text = cause.toString()
    lines = [line.strip() for line in text.splitlines() if line.strip()] or [type(error).__name__]
    return lines[-1] if isinstance(error, PythonException) else lines[0]
