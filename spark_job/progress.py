"""The progress of a run: a bar on a terminal, or a line from time to time in a log."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.table import Column
from rich.text import Text

from spark_job.report.text import duration

_LOOK_SECONDS = 0.2
_LOG_SECONDS = 30.0


@dataclass
class Stages:
    """Times the stages of a run and shows how far each has come.

    Parameters
    ----------
    console
        Where to print: usually standard error, so that standard output has only the result.
    log_seconds
        The time between two lines of a long stage in a log.
    """

    console: Console
    log_seconds: float = _LOG_SECONDS
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str, images: int = 0, done: Callable[[], int] = lambda: 0) -> Iterator[None]:
        """Time a stage; if it has ``images``, show how many are done, how fast, and the time left."""
        began = time.monotonic()
        show = self._bar if self.console.is_terminal else self._lines
        stop = threading.Event()  # set when the stage ends
        watcher = threading.Thread(target=show, args=(name, images, done, stop), daemon=True)
        watcher.start()
        try:
            yield
            self.seconds[name] = time.monotonic() - began
        finally:
            stop.set()
            watcher.join()
        self.console.print(f"{name:<10} {duration(self.seconds[name])}", soft_wrap=True, highlight=False)

    def _bar(self, name: str, images: int, done: Callable[[], int], stop: threading.Event) -> None:
        counted = _Images() if images else TimeElapsedColumn()
        columns = (TextColumn("{task.description:<10}"), BarColumn(bar_width=20), counted)
        with Progress(*columns, console=self.console, transient=True) as progress:
            task = progress.add_task(name, total=images or None)
            while not stop.wait(_LOOK_SECONDS):
                progress.update(task, completed=done())

    def _lines(self, name: str, images: int, done: Callable[[], int], stop: threading.Event) -> None:
        began = time.monotonic()
        while not stop.wait(self.log_seconds):
            words = describe(done(), images, time.monotonic() - began) if images else "working"
            self.console.print(f"{name:<10} {words}", soft_wrap=True, highlight=False)


class _Images(ProgressColumn):
    """Count, speed and time left of a stage with images. This text never wraps; a narrow terminal shortens the bar."""

    def __init__(self) -> None:
        super().__init__(Column(no_wrap=True))

    def render(self, task: Task) -> Text:
        return Text(describe(int(task.completed), int(task.total or 0), task.elapsed or 0))


def describe(done: int, images: int, seconds: float) -> str:
    """Return how far a stage has come, in words: count, images per second, time left."""
    words = f"{done:,} of {images:,}"
    if not done or seconds <= 0:
        return words
    speed = done / seconds
    words += f", {speed:,.0f} images/s"
    return words if done >= images else f"{words}, {duration((images - done) / speed)} left"
