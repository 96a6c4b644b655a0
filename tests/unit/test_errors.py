"""What people read when something unexpected fails."""

import errno

import pytest

from spark_job.errors import RunError, UnexpectedError, UserError, explain
from spark_job.storage.base import UnavailableError

_WORKER = """org.apache.spark.api.python.PythonException: Traceback (most recent call last):
  File "/x/worker.py", line 1247, in main
    process()
{first}

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/x/features.py", line 1, in run
{second}

\tat org.apache.spark.api.python.BasePythonRunner$ReaderIterator.handlePythonException(PythonRunner.scala:572)
"""


def _chain() -> Exception:
    try:
        try:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", "/x/y")
        except OSError as error:
            raise ValueError("the outer one") from error
    except ValueError as error:
        return error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (_chain(), "No such file or directory: /x/y"),
        (KeyError("size"), "KeyError: 'size'"),
        (AssertionError(), "AssertionError"),
        (
            RuntimeError("\nthe second line is the first with words\n\tat java"),
            "the second line is the first with words",
        ),
        (UnavailableError("s3://b/k did not answer"), "s3://b/k did not answer"),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device for temporary files in /"),
        (RuntimeError("java.io.IOException: No space left on device"), "No space left on device for temporary files"),
        (ConnectionRefusedError(111, "Connection refused"), "Spark's Java process has ended. Perhaps"),
        (RuntimeError("org.apache.spark.SparkException:\nError from python worker:\n  No module named x"), "No module"),
        (
            RuntimeError(_WORKER.format(first="OSError: [Errno 28] No space left on device: '/a b'", second="E: x")),
            "No space left on device: /a b",
        ),
    ],
)
def test_the_root_cause_is_said_in_one_line(error: Exception, said: str) -> None:
    told = explain(error)
    assert isinstance(told, UnexpectedError)
    assert str(told).startswith(f"The run failed: {said}")
    assert "\n" not in str(told)


@pytest.mark.parametrize("own", [UserError, RunError])
def test_a_sentence_of_this_program_is_said_as_it_is_even_by_a_worker(own: type[Exception]) -> None:
    sentence = "The disk is full. Free some space."
    assert str(explain(own(sentence))) == sentence
    raised = f"spark_job.errors.{own.__name__}: {sentence}"
    told = explain(RuntimeError(_WORKER.format(first="KeyError: 1", second=raised)))
    assert type(told) is own
    assert str(told) == sentence
