"""What Spark's tasks tell the driver besides their results."""

from typing import TypeVar

from pyspark.accumulators import AccumulatorParam

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
