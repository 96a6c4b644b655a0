"""The progress of a run: a bar on a terminal, lines in a log, and a small file for those who watch from outside."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from spark_job.duration import duration

_LOOK_SECONDS = 0.2
_LOG_SECONDS = 30.0
_WRITE_SECONDS = 20.0
_LAST_WRITE_SECONDS = 1.0  # enough for a storage that works; the run does not wait for one that hangs


@dataclass(frozen=True)
class StageProgress:
    """How far a stage has come.

    Attributes
    ----------
    stage
        The name of the stage.
    done, total
        The numbers of photos; ``total`` is 0 for a stage that does not count photos.
    seconds
        The time since the stage began.
    finished
        The seconds of each stage before this one.
    """

    stage: str
    done: int = 0
    total: int = 0
    seconds: float = 0.0
    finished: dict[str, float] = field(default_factory=dict)

    @property
    def images_per_second(self) -> float | None:
        """The speed; None if it is unknown."""
        return self.done / self.seconds if self.done and self.seconds > 0 else None

    @property
    def seconds_left(self) -> float | None:
        """The time that the other photos will take; None if it is unknown."""
        speed = self.images_per_second
        return max(0, self.total - self.done) / speed if speed and self.total else None  # repeated tasks count twice

    def __str__(self) -> str:
        """Return it in words: count, photos per second and time left, or the time since the stage began."""
        if not self.total:
            return f"{duration(self.seconds)} so far"
        words = f"{self.done:,} of {self.total:,}"
        if self.images_per_second:
            words += f", {self.images_per_second:,.0f} photos/s"
        return f"{words}, {duration(self.seconds_left)} left" if self.seconds_left else words

    def to_json(self, written: str | None = None) -> str:
        """Return it as JSON, with the time at which it is written, in ISO 8601; by default the current time in UTC."""
        speed, left = self.images_per_second, self.seconds_left
        fields = {
            "time": written or datetime.now(UTC).isoformat(timespec="seconds"),
            "stage": self.stage,
            "done": self.done,
            "total": self.total,
            "seconds": round(self.seconds, 1),
            "images_per_second": None if speed is None else round(speed, 1),
            "seconds_left": None if left is None else round(left),
            "finished": {name: round(seconds, 1) for name, seconds in self.finished.items()},
        }
        return json.dumps(fields, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> tuple[Self, datetime]:
        """Read what :meth:`to_json` wrote, and when; raise ValueError, KeyError or TypeError if it is anything else."""
        fields = json.loads(text)
        names = ("stage", "done", "total", "seconds", "finished")
        return cls(**{name: fields[name] for name in names}), datetime.fromisoformat(fields["time"])


class Stages:
    """Times the stages of a run and shows how far each has come.

    Parameters
    ----------
    console
        Where to print: usually standard error, so that standard output has only the result.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.seconds: dict[str, float] = {}
        self._look: Callable[[], StageProgress | None] = lambda: None

    @contextmanager
    def stage(self, name: str, photos: int = 0, done: Callable[[], int] = lambda: 0) -> Iterator[None]:
        """Time a stage; if it has ``photos``, show how many are done, how fast, and the time left."""
        began, before = time.monotonic(), dict(self.seconds)

        def look() -> StageProgress:
            return StageProgress(name, done(), photos, time.monotonic() - began, before)

        self._look = look
        with show(self.console, look):
            yield
            self.seconds[name] = time.monotonic() - began
        self.say(in_words(name, self.seconds[name]))

    def say(self, sentence: str) -> None:
        """Print a sentence."""
        say(self.console, sentence)

    @contextmanager
    def written(self, write: Callable[[str], None]) -> Iterator[None]:
        """Until the end, write the progress of the stages that begin from now on: at once, then every 20 s.

        ``write`` gets :class:`StageProgress` as JSON. The run neither waits for it nor fails with an OSError of it.
        """
        self._look = lambda: None
        ended = threading.Event()
        # A daemon: Python would wait for any other thread before it exits.
        writer = threading.Thread(target=self._write_often, args=(write, ended.wait), daemon=True)
        writer.start()
        try:
            yield
        finally:
            ended.set()
            writer.join(_LAST_WRITE_SECONDS)

    def _write_often(self, write: Callable[[str], None], wait: Callable[[float], bool]) -> None:
        progress = None
        while not wait(_WRITE_SECONDS if progress else _LOOK_SECONDS):
            if progress := self._look():
                with suppress(OSError):  # it is only news; the next write may succeed
                    write(progress.to_json())


@contextmanager
def show(console: Console, look: Callable[[], StageProgress]) -> Iterator[None]:
    """Until the end, show what ``look`` returns: as a bar on a terminal, as a line from time to time in a log."""
    if console.is_terminal:
        with Live(get_renderable=lambda: _bar(look()), console=console, refresh_per_second=5, transient=True):
            yield
        return
    ended = threading.Event()

    def print_lines() -> None:
        while not ended.wait(_LOG_SECONDS):
            now = look()
            say(console, f"{now.stage:<10} {now}")

    thread = threading.Thread(target=print_lines, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _bar(now: StageProgress) -> Table:
    """Return a line whose text never wraps; a narrow terminal shortens the bar."""
    line = Table.grid(Column(no_wrap=True), Column(max_width=20), Column(no_wrap=True), padding=(0, 1))
    bar = ProgressBar(total=now.total or None, completed=now.done, pulse=not now.total)
    line.add_row(f"{now.stage:<10}", bar, Text(str(now)))
    return line


def in_words(stage: str, seconds: float) -> str:
    """Return how long a stage took."""
    return f"{stage:<10} {duration(seconds)}"


def say(console: Console, sentence: str) -> None:
    """Print a sentence as it is, in one line however narrow the terminal."""
    console.print(sentence, soft_wrap=True, highlight=False, markup=False)
