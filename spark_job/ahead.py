"""Reads ahead: many requests wait for the storage at the same time, and their results come in order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

_BYTES_AHEAD = 2**25


def in_order(pool: ThreadPoolExecutor, threads: int, reads: Iterable[tuple[int, Callable[[], T]]]) -> Iterator[T]:
    """Yield the results of reads, in order, while the next ones are executed.

    At most two reads per thread and about 32 MiB are in progress or waiting, whatever the sizes.

    Parameters
    ----------
    pool, threads
        The threads that read, and their number.
    reads
        How many bytes each read gives, and what executes it.
    """
    waiting: deque[tuple[int, Future[T]]] = deque()
    ahead = 0
    for size, read in reads:
        waiting.append((size, pool.submit(read)))
        ahead += size
        while waiting and (len(waiting) >= 2 * threads or ahead > _BYTES_AHEAD):
            size_of_first, first = waiting.popleft()
            ahead -= size_of_first
            yield first.result()
    for _, future in waiting:
        yield future.result()
