"""Where runs lie in an output, and the order of writing that makes a run a result or nothing at all."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime

from spark_job.errors import RunError, UserError
from spark_job.manifest import Manifest
from spark_job.store import Store

_LATEST = "latest.json"


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

    def claim(self) -> None:
        """Take the run's id, once and for all: a marker without a manifest beside it is a run that died.

        Raises
        ------
        UserError
            If the id is taken, or the output cannot be written.
        """
        marker = {"run_id": self.run_id, "started": datetime.now(UTC).isoformat(timespec="seconds")}
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

        Raises
        ------
        RunError
            If the counts do not account for every image; nothing is written then.
        """
        if not manifest.counts.add_up:
            raise RunError(f"The run does not account for every image ({manifest.counts}); it is not published.")
        self.output.write(f"{self.path}/report.html", report.encode())
        self.output.write(f"{self.path}/manifest.json", manifest.to_json().encode())
        pointer = {"run_id": self.run_id, "manifest": f"{self.path}/manifest.json", "published": manifest.finished}
        self.output.write(_LATEST, json.dumps(pointer, indent=2).encode())


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
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"The last run in {output.uri} cannot be read ({error}); give another output, or delete its {_LATEST}."
        ) from error
