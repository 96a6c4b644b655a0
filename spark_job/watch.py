"""Shows the progress of a run from outside, such as a run on a cluster. It needs no Spark.

The run writes ``_progress.json`` every 20 s (:meth:`spark_job.progress.Stages.written`). Clocks of machines differ, so
this module measures on its own clock how long nothing has changed. It uses the time in the file only once, because when
it starts it cannot know for how long the file has been there.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from rich.console import Console

from spark_job import runs
from spark_job.duration import duration
from spark_job.errors import RunError, UserError
from spark_job.manifest import Manifest
from spark_job.progress import StageProgress, in_words, say, show
from spark_job.runs import RunFolder
from spark_job.settings import check_run_id
from spark_job.storage.base import Store

_READ_SECONDS = 5.0
_SILENT_SECONDS = 180.0  # the driver writes every 20 s, but a write to S3 may take a minute
_STANDING_SECONDS = 300.0  # a photo takes seconds at most
_UNREADABLE_SECONDS = 300.0
_SILENT = (
    "The run has written nothing for {}. Its driver may have died. If so, run again: the next run reuses what this one "
    "has computed."
)
_STANDING = (
    "No task has finished for {}, but the driver is alive. Tasks on large photos take minutes; if this lasts, look at "
    "the logs."
)


class Watched:
    """What is known of a run from its ``_progress.json``, and since when, on a monotonic clock in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._is_first_look = True
        self._text: bytes | None = None
        self._progress = StageProgress("waiting")
        self._written = self._moved = clock()
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
        self._written = self._clock() - max(0.0, age)
        if (progress.stage, progress.done) != (self._progress.stage, self._progress.done):
            self._moved = self._written
        self._text, self._progress = text, progress

    def now(self) -> StageProgress:
        """Return how far the run has come. The time of its stage goes on between two writes."""
        return replace(self._progress, seconds=self._progress.seconds + self._clock() - self._written)

    def warning(self) -> str | None:
        """Return what to tell a person if nothing moves: once, and again whenever that time has doubled."""
        silent, standing = self._clock() - self._written, self._clock() - self._moved
        if silent >= _SILENT_SECONDS and not self.is_waiting:
            seconds, words = silent, _SILENT
        elif standing >= _STANDING_SECONDS and self._progress.done < self._progress.total:
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


def watch(folder: RunFolder, console: Console) -> Manifest:
    """Show the progress of a run until it is published, and return its manifest.

    Parameters
    ----------
    folder
        The run. It may not have started yet.
    console
        Where to show the progress.

    Raises
    ------
    RunError
        If the run has failed, with the reason that it has left.
    UserError
        If the output cannot be read.
    """
    watched, said, last_read = Watched(), set[str](), time.monotonic()

    def say_once(subject: str, sentence: str) -> None:
        if subject not in said:
            said.add(subject)
            say(console, sentence)

    say(console, f"{'run':<10} {folder.run_id}")
    with show(console, watched.now):
        while True:
            try:
                manifest = _look(folder, watched)
            except ConnectionError as error:  # a laptop that slept may get its connection back
                if (silence := time.monotonic() - last_read) >= _UNREADABLE_SECONDS:
                    raise RunError(
                        f"Nothing could be read for {duration(silence)}: {error}. The run is not affected."
                    ) from error
                say_once("lost", f"{error}. Trying again.")
            else:
                last_read = time.monotonic()
                said.discard("lost")
                finished = manifest.seconds if manifest else watched.now().finished
                for stage, seconds in finished.items():
                    say_once(stage, in_words(stage, seconds))
                if manifest:
                    return manifest
                if watched.is_waiting:
                    not_yet = "has not started yet. A cluster needs about 7 minutes before that."
                    say_once("waiting", f"The run {folder.run_id} {not_yet}")
                if warning := watched.warning():
                    say(console, warning)
            time.sleep(_READ_SECONDS)


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
