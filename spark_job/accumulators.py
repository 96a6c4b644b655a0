"""What Spark's tasks tell the driver besides their results."""

import contextlib
import socket
import threading
import time
from typing import Any, TypeVar

from pyspark import SparkContext
from pyspark.accumulators import Accumulator, AccumulatorParam

from spark_job.tables import task_number

_SECONDS_BETWEEN_MESSAGES = 1.0
_LONGEST_MESSAGE = 64

K = TypeVar("K")
V = TypeVar("V")


class Union(AccumulatorParam[dict[K, V]]):
    """Adds dictionaries. A task that runs twice adds the same keys again, so nothing counts twice."""

    def zero(self, value: dict[K, V]) -> dict[K, V]:  # noqa: ARG002 - Spark passes it
        """Return what a task begins with."""
        return {}

    def addInPlace(self, value1: dict[K, V], value2: dict[K, V]) -> dict[K, V]:  # noqa: N802 - Spark's name
        """Return both dictionaries as one."""
        return value1 | value2


class PhotosDone:
    """Counts photos while tasks work on them.

    Spark passes on what a Python task adds to an accumulator when the task ends, which may take minutes. Until then,
    each task sends its count to the driver as a datagram, once per second. Datagrams may be lost or forged, and nothing
    but the display depends on them.
    """

    def __init__(self, context: SparkContext) -> None:
        self._of_finished: Accumulator[dict[int, int]] = context.accumulator({}, Union())
        self._of_running: dict[int, int] = {}
        self._done, self._next_message = 0, 0.0  # of a task
        conf = context.getConf()
        receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        receiver.bind((conf.get("spark.driver.bindAddress", ""), 0))
        self._address = conf.get("spark.driver.host"), receiver.getsockname()[1]
        threading.Thread(target=self._receive, args=(receiver,), daemon=True).start()

    @property
    def value(self) -> int:
        """The number of photos so far. It is exact when all tasks have ended."""
        return sum((self._of_running | self._of_finished.value).values())

    def _receive(self, receiver: socket.socket) -> None:
        while True:
            with contextlib.suppress(ValueError):  # it is not from a task
                task, done = map(int, receiver.recv(_LONGEST_MESSAGE).split())
                self._of_running[task] = done

    def __getstate__(self) -> dict[str, Any]:
        """Return what tasks get."""
        names = ("_of_finished", "_address", "_done", "_next_message")
        return {name: getattr(self, name) for name in names}

    def add(self, photos: int) -> None:
        """Count photos that this task has done."""
        self._done += photos
        self._of_finished.add({task_number(): self._done})
        if (now := time.monotonic()) >= self._next_message:
            self._next_message = now + _SECONDS_BETWEEN_MESSAGES
            with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.sendto(f"{task_number()} {self._done}".encode(), self._address)
