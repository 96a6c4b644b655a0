"""Shows the progress of a run from outside, such as a run on a cluster. It needs no Spark.

The run writes ``_progress.json`` every 20 s (:meth:`spark_job.progress.Stages.written`). Clocks of machines differ, so
this module measures on its own clock how long nothing has changed. It uses the time in the file only once, because when
it starts it cannot know for how long the file has been there.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from rich.console import Console

from spark_job import runs
from spark_job.duration import duration
from spark_job.errors import RunError, UserError
from spark_job.manifest import Manifest
from spark_job.progress import StageProgress, show, show_finished
from spark_job.runs import RunFolder
from spark_job.settings import check_run_id
from spark_job.storage.base import Store

_READ_SECONDS = 5.0
_WAITING = StageProgress("waiting")
_SILENT = (
    "The run has written nothing for {}. Its driver may have died. If so, run again: the next run reuses what this one "
    "has computed."
)
_STANDING = (
    "No task has finished for {}, but the driver is alive. Tasks on large photos take minutes; if this lasts, look at "
    "the logs."
)


@dataclass(frozen=True)
class Patience:
    """After how many seconds a run is said not to move.

    Attributes
    ----------
    silent
        Without a new ``_progress.json``. The driver renews it every 20 s, but a write to S3 may take a minute.
    standing
        Without a finished photo. The driver learns of a task's photos when the task ends, and a task of 4,000 photos
        of 12 megapixels takes 2.5 minutes of a core.
    unreadable
        Without anything that could be read of the run. Then the watch ends.
    """

    silent: float = 180.0
    standing: float = 300.0
    unreadable: float = 300.0


@dataclass
class Watched:
    """What is known of a run from its ``_progress.json``, and since when.

    Parameters
    ----------
    patience
        After how many seconds a run is said not to move.
    clock
        A monotonic clock, in seconds.
    """

    patience: Patience = field(default_factory=Patience)
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._is_first_look = True
        self._text: bytes | None = None
        self._progress = _WAITING
        self._written = self._moved = self.clock()
        self._warn_after = 0.0

    @property
    def is_waiting(self) -> bool:
        """Whether the run has not started yet."""
        return self._text is None

    def read(self, text: bytes | None, started: str = "") -> None:
        """Take what the run has written.

        Parameters
        ----------
        text
            The content of ``_progress.json``; None if the run has not written it yet.
        started
            When the run started, in ISO 8601; empty if it has not.
        """
        if text is None and started:  # the run has its id, and begins to compute
            text = StageProgress("starting").to_json(started).encode()
        is_first_look, self._is_first_look = self._is_first_look, False
        if text is None or text == self._text:
            return
        progress, written = StageProgress.from_json(text)
        age = (datetime.now(UTC) - written).total_seconds() if is_first_look else 0.0
        self._written = self.clock() - max(0.0, age)
        if (progress.stage, progress.done) != (self._progress.stage, self._progress.done):
            self._moved = self._written
        self._text, self._progress = text, progress

    def now(self) -> StageProgress:
        """Return how far the run has come. The time of its stage goes on between two writes."""
        return replace(self._progress, seconds=self._progress.seconds + self.clock() - self._written)

    def warning(self) -> str | None:
        """Return what to tell a person if nothing moves: once, and again whenever that time has doubled."""
        silent, standing = self.clock() - self._written, self.clock() - self._moved
        if self.is_waiting:
            return None
        if silent >= self.patience.silent:
            seconds, words = silent, _SILENT
        elif standing >= self.patience.standing and self._progress.done < self._progress.total:
            seconds, words = standing, _STANDING
        else:
            self._warn_after = 0.0
            return None
        if seconds < self._warn_after:
            return None
        self._warn_after = 2 * seconds
        return words.format(duration(seconds))


def choose(output: Store, run_id: str | None) -> RunFolder | None:
    """Return the run to watch: the given one, or the newest run in progress; None if there is none.

    Raises
    ------
    UserError
        If the output cannot be listed, or if no run can have the id.
    """
    try:
        output.folders()
        if run_id:
            check_run_id(run_id)
            return RunFolder(output, run_id)
        return runs.newest_unfinished(output, since=(datetime.now(UTC) - runs.MAX_DURATION).isoformat())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f"There is no output {output.uri}. Give the output of a run.") from error
    except OSError as error:
        raise UserError(f"The output {output.uri} cannot be read: {error}.") from error


def idle(output: Store) -> str:
    """Return what to tell a person if no run is in progress; UserError if there is no published run either."""
    hint = "To wait for a run that has not started yet, such as on a cluster, give its --run-id."
    if last := runs.latest(output):
        return f"No run is in progress. The latest published run is {last.run_id}. {hint}"
    raise UserError(f"There is no run in {output.uri}. {hint}")


def watch(
    folder: RunFolder, console: Console, patience: Patience | None = None, read_seconds: float = _READ_SECONDS
) -> Manifest:
    """Show the progress of a run until it is published, and return its manifest.

    Parameters
    ----------
    folder
        The run. It may not have started yet.
    console
        Where to show the progress.
    patience
        After how many seconds a run is said not to move.
    read_seconds
        The time between two looks at the run.

    Raises
    ------
    RunError
        If the run has failed, with the reason that it has left.
    UserError
        If the output cannot be read.
    """
    patience = patience or Patience()
    watched = Watched(patience)
    said: set[str] = set()
    last_read, is_unreadable = time.monotonic(), False
    _print(console, f"{'run':<10} {folder.run_id}")
    with show(console, watched.now):
        while True:
            try:
                manifest = _look(folder, watched)
                warning, last_read = watched.warning(), time.monotonic()
            except ConnectionError as error:  # a laptop that slept may get its connection back
                if (silence := time.monotonic() - last_read) >= patience.unreadable:
                    raise RunError(
                        f"Nothing could be read for {duration(silence)}: {error}. The run is not affected."
                    ) from error
                manifest = warning = None
                if not is_unreadable:
                    _print(console, f"{error}. Trying again.")
                is_unreadable = True
            else:
                is_unreadable = False
            for stage, seconds in (manifest.seconds if manifest else watched.now().finished).items():
                if stage not in said:
                    show_finished(console, stage, seconds)
                    said.add(stage)
            if manifest:
                return manifest
            if watched.is_waiting and _WAITING.stage not in said:
                warning = f"The run {folder.run_id} has not started yet. A cluster needs about 7 minutes before that."
                said.add(_WAITING.stage)
            if warning:
                _print(console, warning)
            time.sleep(read_seconds)


def _look(folder: RunFolder, watched: Watched) -> Manifest | None:
    """Read the news of a run. Return its manifest if it is published; raise RunError if it has failed."""
    try:
        if manifest := folder.manifest:
            return manifest
        if (reason := folder.failure) is not None:
            raise RunError(f"The run {folder.run_id} failed. It said: {reason.removeprefix('fruits: ')}")
        text = folder.progress
        watched.read(text, "" if text else folder.started)
    except ConnectionError:
        raise
    except OSError as error:
        raise UserError(f"The output {folder.output.uri} cannot be read: {error}.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"What the run {folder.run_id} has written about itself in {folder.output.uri}/{folder.path} cannot be "
            f"read ({error!r}). Use the version of this program that made it."
        ) from error
    return None


def _print(console: Console, sentence: str) -> None:
    console.print(sentence, soft_wrap=True, highlight=False)
