"""The layout of an output, and the order of writing that makes a run either a result or nothing.

::

    latest.json                 points at the run that started last of those published
    summaries/<run_id>.json     the manifest on one line, without its long parts: for the state machine and for SQL
    runs/<run_id>/
        _started.json           the run has taken this id
        _progress.json          how far the run has come; it means nothing once the run has ended
        _plan/                  table of the photos
        _new/ _reused/          tables of those to compute, and of where the features of the others are, if any are
        features/ rejected/     tables of the photos
        pca/ model/             table of the components, and the PCA as a Spark PipelineModel
        _photos/ _cells/        tables that the search for neighbours reads
        neighbours/ findings/   tables of the nearest photos, and of what was found about each photo
        report.html
        manifest.json           the run is published
        _failed.json            the run failed, for this reason
"""

import contextlib
import errno
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple

from spark_job import interruption, tables
from spark_job.errors import RunError, UserError, explain
from spark_job.manifest import Manifest
from spark_job.storage import open_store
from spark_job.storage.base import Removed, Store
from spark_job.tables import Table

RUNS = "runs"
SUMMARIES = "summaries"
LATEST = "latest.json"
STARTED = "_started.json"
PROGRESS = "_progress.json"
FAILED = "_failed.json"
MANIFEST = "manifest.json"
REPORT = "report.html"
PLAN = "_plan"
NEW = "_new"
REUSED = "_reused"
FEATURES = "features"
REJECTED = "rejected"
PCA = "pca"
PHOTOS = "_photos"
CELLS = "_cells"
NEIGHBOURS = "neighbours"
FINDINGS = "findings"
MODEL = "model"
MAX_DURATION = timedelta(days=3)
"""The state machine stops a longer run, so a run that started longer ago and is not published has died."""

_POINTER_ATTEMPTS = 20
_READERS = 16


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run in an output."""

    output: Store
    run_id: str

    @property
    def path(self) -> str:
        """The path of the folder, relative to the output."""
        return f"{RUNS}/{self.run_id}"

    @property
    def summary_path(self) -> str:
        """The path of the summary, relative to the output. All summaries are together, as a table of the runs."""
        return f"{SUMMARIES}/{self.run_id}.json"

    @property
    def uri(self) -> str:
        """The URI of the folder."""
        return f"{self.output.uri}/{self.path}"

    def table(self, name: str) -> Table:
        """Return a table of the run, such as ``features``."""
        return Table(self.output.uri, f"{self.path}/{name}")

    def claim(self, started: str, model_digest: str) -> None:
        """Take the run's id. Nobody can take it again; an id without a manifest belongs to a run that died.

        Parameters
        ----------
        started, model_digest
            As in the manifest. Later runs read them to decide whether they can reuse the features of this run.

        Raises
        ------
        UserError
            If the id is taken, or the output cannot be written.
        """
        marker = {
            "run_id": self.run_id,
            "started": started,
            "model_digest": model_digest,
            "features_schema": tables.FEATURES_SCHEMA_VERSION,
        }
        path, data = f"{self.path}/{STARTED}", json.dumps(marker).encode()
        try:
            self.output.create(path, data)
            written = self.output.read(path).data
        except FileExistsError as error:
            raise UserError(
                f"The run {self.run_id} exists already in {self.output.uri}. Give another --run-id, or none."
            ) from error
        except OSError as error:
            kind = RunError if error.errno in (errno.ENOSPC, errno.EDQUOT) else UserError
            raise kind(f"The output {self.output.uri} cannot be written: {error.strerror or error}.") from error
        if written != data:
            raise RunError(f"The output {self.output.uri} does not return what was written to it.")

    @property
    def started(self) -> str:
        """When the run started; empty if its marker cannot be read."""
        return str(self._marker().get("started", ""))

    @property
    def is_published(self) -> bool:
        """Whether the run has a manifest."""
        return self._read(MANIFEST) is not None

    @property
    def manifest(self) -> Manifest | None:
        """The manifest; None if the run is not published.

        Raises
        ------
        UserError
            If another version of this program wrote it, or if it is damaged.
        """
        if (text := self._read(MANIFEST)) is None:
            return None
        try:
            return Manifest.from_json(text)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"The run {self.run_id} is published, but {self.uri}/{MANIFEST} cannot be read "
                f"({error}). Use the version of this program that made it."
            ) from error

    @property
    def failure(self) -> str | None:
        """The reason why the run failed; None if it has left none."""
        text = self._read(FAILED)
        return None if text is None else str(json.loads(text)["reason"])

    @property
    def has_failed(self) -> bool:
        """Whether the run has left a reason why it failed, even one that cannot be read."""
        return self._read(FAILED) is not None

    @property
    def progress(self) -> bytes | None:
        """What :meth:`write_progress` wrote last; None if it has not been called."""
        return self._read(PROGRESS)

    def _read(self, name: str) -> bytes | None:
        try:
            return self.output.read(f"{self.path}/{name}").data
        except FileNotFoundError:
            return None

    def has_features_of(self, model_digest: str) -> bool:
        """Return whether the run's features are those that this version computes with a model.

        The marker decides, because a run that died has nothing else.
        """
        computed = {"model_digest": model_digest, "features_schema": tables.FEATURES_SCHEMA_VERSION}
        return computed.items() <= self._marker().items()

    def _marker(self) -> dict[str, Any]:
        with contextlib.suppress(ValueError):
            if isinstance(marker := json.loads(self._read(STARTED) or b"{}"), dict):
                return marker
        return {}

    def publish(self, manifest: Manifest, report: str) -> None:
        """Make the run a result: write the report, then the manifest, then its summary and ``latest.json``.

        ``latest.json`` stays as it is if it points at a run that started later, because that run saw a newer input.

        Raises
        ------
        RunError
            If the counts do not account for every photo. Nothing is written then.
        """
        if not manifest.counts.add_up:
            raise RunError(f"The run does not account for every photo ({manifest.counts}), so it is not published.")
        with interruption.ending:
            self.output.write(f"{self.path}/{REPORT}", report.encode())
            self.output.write(f"{self.path}/{MANIFEST}", manifest.to_json().encode())
            self.output.write(self.summary_path, manifest.summary().encode())
            self._point(manifest)

    def write_progress(self, text: str) -> None:
        """Write how far the run has come, for those who watch it from outside."""
        self.output.write(f"{self.path}/{PROGRESS}", text.encode())

    def leave_failure(self, reason: str) -> None:
        """Write why the run failed, for the state machine and for those who watch."""
        self.output.write(f"{self.path}/{FAILED}", json.dumps({"reason": reason}).encode())

    @contextlib.contextmanager
    def failure_left(self) -> Iterator[None]:
        """Leave the reason if the block fails or is interrupted. Only the run that has claimed the id may enter it."""
        with interruption.scope(self._leave_interruption):
            try:
                yield
            except Exception as error:
                # Whatever else goes wrong now must not hide the error.
                with interruption.ending, contextlib.suppress(Exception):
                    self.leave_failure(str(explain(error)))
                raise

    def _leave_interruption(self) -> str:
        if self.is_published:
            return f"Interrupted; the run {self.run_id} had just been published."
        reason = "Interrupted; nothing was published."
        self.leave_failure(reason)
        return reason

    def remove(self) -> Removed:
        """Remove the run.

        Its summary and manifest go first: if the removal stops halfway, the rest is not taken for a result.
        """
        sizes = []
        for path in (self.summary_path, f"{self.path}/{MANIFEST}"):
            with contextlib.suppress(FileNotFoundError):
                sizes.append(len(self.output.read(path).data))
                self.output.delete(path)
        rest = self.output.remove(self.path)
        return Removed(rest.objects + len(sizes), rest.bytes + sum(sizes))

    def _point(self, manifest: Manifest) -> None:
        """Compare and swap ``latest.json``, and repeat if another run was faster."""
        path = f"{self.path}/{MANIFEST}"
        pointer = {"run_id": self.run_id, "manifest": path, "started": manifest.started, "published": manifest.finished}
        data = json.dumps(pointer, indent=2).encode()
        for _ in range(_POINTER_ATTEMPTS):
            try:
                seen = self.output.read(LATEST)
            except FileNotFoundError:
                seen = None
            if seen and _started(seen.data) > manifest.started:
                return
            with contextlib.suppress(FileExistsError, FileNotFoundError):
                self.output.replace(LATEST, data, seen) if seen else self.output.create(LATEST, data)
                return
        raise RunError(
            f"Other runs changed {self.output.uri}/{LATEST} during each of {_POINTER_ATTEMPTS} attempts to write it. "
            "Run again."
        )


def _started(pointer: bytes) -> str:
    """Return when the run that a pointer names started. An unreadable pointer counts as older than any run."""
    try:
        return str(json.loads(pointer)["started"])
    except (ValueError, KeyError, TypeError):
        return ""


def latest(output: Store) -> Manifest | None:
    """Return the manifest of the run that ``latest.json`` points at, or None if no run is published.

    Raises
    ------
    UserError
        If the pointer or the manifest cannot be read.
    """
    try:
        pointer = json.loads(output.read(LATEST).data)
        return Manifest.from_json(output.read(pointer["manifest"]).data)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"The last run in {output.uri} cannot be read ({error}). Run again, which replaces its {LATEST}, or give "
            "another output."
        ) from error


class EarlierFile(NamedTuple):
    """A file of the features of an earlier run."""

    run_id: str
    name: str


def reusable(output: Store, model_digest: str, say: Callable[[str], None]) -> list[EarlierFile]:
    """Return the features that a new run can reuse: of the last published run, and of all runs that are not published.

    A run that died has written complete files only, so its features are as good as those of a published run. This also
    holds for a run in progress. If the last published run cannot be read, it is not reused, and ``say`` gets a
    sentence about it.
    """
    try:
        last = latest(output)
    except UserError as error:
        last = None
        say(f"The last run is not reused. {error}")
    known = _known(output)

    def is_candidate(folder: RunFolder) -> bool:
        is_last = last is not None and folder.run_id == last.run_id
        return (is_last or not folder.is_published) and folder.has_features_of(model_digest)

    with ThreadPoolExecutor(_READERS) as pool:
        chosen = [folder for folder, fits in zip(known, pool.map(is_candidate, known), strict=True) if fits]
        names = pool.map(lambda folder: folder.table(FEATURES).names(), chosen)
        return [
            EarlierFile(folder.run_id, name) for folder, listed in zip(chosen, names, strict=True) for name in listed
        ]


def newest_unfinished(output: Store, since: str) -> RunFolder | None:
    """Return the run that started last, at or after a time, and has neither been published nor failed; or None."""
    known = _known(output)
    with ThreadPoolExecutor(_READERS) as pool:
        started = zip(pool.map(lambda folder: folder.started, known), known, strict=True)
        newest_first = sorted(started, key=lambda pair: pair[0], reverse=True)
    for when, folder in newest_first:
        if when >= since and not folder.is_published and not folder.has_failed:
            return folder
    return None


def _known(output: Store) -> list[RunFolder]:
    try:
        return [RunFolder(output, run_id) for run_id in output.folders(RUNS)]
    except FileNotFoundError:  # a new output has no runs
        return []


def find(uri: str) -> tuple[Store, Manifest]:
    """Return the folder and the manifest of a published run.

    Parameters
    ----------
    uri
        An output, for its latest run, or the folder of one run.

    Raises
    ------
    UserError
        If there is no published run.
    """
    store = open_store(uri)
    if last := latest(store):
        return open_store(f"{store.uri}/{RunFolder(store, last.run_id).path}"), last
    try:
        return store, Manifest.from_json(store.read(MANIFEST).data)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"There is no published run in {uri}. Give the output of a run, or a folder with a {MANIFEST}."
        ) from error
