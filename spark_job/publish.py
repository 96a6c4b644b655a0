"""Where runs lie in an output, and the order of writing that makes a run a result or nothing at all."""

import contextlib
import json
from dataclasses import dataclass

from spark_job.errors import RunError, UserError
from spark_job.manifest import Manifest
from spark_job.objects import Removed, Store
from spark_job.parts import Parts

_LATEST = "latest.json"
_RIVALS = 20


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run: ``runs/<run_id>`` in an output."""

    output: Store
    run_id: str

    @property
    def path(self) -> str:
        """The folder's path in the output."""
        return f"runs/{self.run_id}"

    def uri(self, part: str) -> str:
        """Return where Spark reads or writes a part, such as ``features``."""
        return f"{self.output.hadoop_uri}/{self.path}/{part}"

    def table(self, name: str) -> Parts:
        """Return a table of the run, such as ``features``."""
        return Parts(self.output.uri, f"{self.path}/{name}")

    def claim(self, started: str) -> None:
        """Take the run's id, once and for all: a marker without a manifest beside it is a run that died.

        ``started`` is as in the manifest.

        Raises
        ------
        UserError
            If the id is taken, or the output cannot be written.
        """
        marker = {"run_id": self.run_id, "started": started}
        try:
            self.output.create(f"{self.path}/_started.json", json.dumps(marker).encode())
        except FileExistsError as error:
            raise UserError(
                f"The run {self.run_id} exists already in {self.output.uri}; give another --run-id, or none."
            ) from error
        except OSError as error:
            raise UserError(f"The output {self.output.uri} cannot be written: {error}.") from error

    def publish(self, manifest: Manifest, report: str) -> None:
        """Make the run a result: the report, then the manifest, then ``latest.json``.

        ``latest.json`` is left alone where it points at a run that started later: that one saw the newer input.

        Raises
        ------
        RunError
            If the counts do not account for every image; nothing is written then.
        """
        if not manifest.counts.add_up:
            raise RunError(f"The run does not account for every image ({manifest.counts}); it is not published.")
        self.output.write(f"{self.path}/report.html", report.encode())
        self.output.write(f"{self.path}/manifest.json", manifest.to_json().encode())
        self._point(manifest)

    def remove(self) -> Removed:
        """Remove the run, its manifest first: whatever happens then, nobody takes the rest for a result."""
        manifest = f"{self.path}/manifest.json"
        size = None
        with contextlib.suppress(FileNotFoundError):
            size = len(self.output.read(manifest).data)
            self.output.delete(manifest)
        rest = self.output.remove(self.path)
        return rest if size is None else Removed(rest.objects + 1, rest.bytes + size)

    def _point(self, manifest: Manifest) -> None:
        """Compare and swap ``latest.json``, again and again until no other run has come in between."""
        path = f"{self.path}/manifest.json"
        pointer = {"run_id": self.run_id, "manifest": path, "started": manifest.started, "published": manifest.finished}
        data = json.dumps(pointer, indent=2).encode()
        for _ in range(_RIVALS):
            try:
                seen = self.output.read(_LATEST)
            except FileNotFoundError:
                seen = None
            if seen and _started(seen.data) > manifest.started:
                return
            with contextlib.suppress(FileExistsError, FileNotFoundError):
                self.output.replace(_LATEST, data, seen) if seen else self.output.create(_LATEST, data)
                return
        raise RunError(f"{self.output.uri}/{_LATEST} changed {_RIVALS} times while it was to be written; run again.")


def _started(pointer: bytes) -> str:
    """Return when the run that a pointer points at was started; a pointer that cannot be read is as old as can be."""
    try:
        return str(json.loads(pointer)["started"])
    except (ValueError, KeyError, TypeError):
        return ""


def latest(output: Store) -> Manifest | None:
    """Return the manifest of the last published run; None where there is none.

    Raises
    ------
    UserError
        If the output has one that cannot be read.
    """
    try:
        pointer = json.loads(output.read(_LATEST).data)
        return Manifest.from_json(output.read(pointer["manifest"]).data)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"The last run in {output.uri} cannot be read ({error}); give another output, or delete its {_LATEST}."
        ) from error
