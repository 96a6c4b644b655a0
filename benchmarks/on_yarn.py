"""Runs the job on a YARN of this machine, with the configuration and the files that the CDK app gives EMR."""

import subprocess
import tempfile
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cdk_app import bundle
from cdk_app.bundle import Bundle
from cdk_app.emr_cluster import CODE, ENVIRONMENT, configurations
from cdk_app.stage_settings import StageSettings
from spark_job.manifest import Manifest
from tests.local_aws import jars
from tests.local_aws.emulator import ARCHITECTURE, REGION
from tests.local_aws.yarn import Yarn


def build() -> Bundle:
    """Bundle the job for this machine's processor, with random weights, and fetch the jars of YARN."""
    jars.fetch(*jars.YARN, *jars.S3A)
    return bundle.build(
        StageSettings.of(architecture=ARCHITECTURE, weights="random"), bundle.ROOT / ".cache" / "bundle"
    )


@dataclass(frozen=True)
class Job:
    """The photos, the files of the job, and a folder for one YARN and its run."""

    photos: Path
    files: Bundle
    folder: Path

    @property
    def run(self) -> Path:
        """The folder of the run."""
        return self.folder / "results" / "runs" / "job"

    @contextmanager
    def yarn(self, core_nodes: int = 2) -> Iterator[Yarn]:
        """Start a YARN with an executor per node."""
        venv.create(self.folder / "python", with_pip=False, symlinks=True)  # Python without packages, as on a node
        files = configurations(REGION, core_nodes, spot_nodes=0)
        python = self.folder / "python" / "bin"
        with Yarn(self.folder / "yarn", files, ["ON_DEMAND"] * core_nodes, python) as yarn:
            yield yarn

    def submit(self, yarn: Yarn) -> "subprocess.Popen[bytes]":
        """Start the run."""
        return yarn.submit(
            [
                *("--deploy-mode", "cluster"),
                *("--archives", f"{self.files.environment}#{ENVIRONMENT},{self.files.code}#{CODE}"),
                *(str(self.files.main), "run", "--input", str(self.photos), "--output", str(self.folder / "results")),
                *("--weights", str(self.files.model), "--components", "50", "--run-id", "job"),
            ],
            self.folder / "submit.log",
        )


def run(photos: Path, files: Bundle, core_nodes: int) -> Manifest:
    """Run the job on a YARN of its own, and return the manifest."""
    with tempfile.TemporaryDirectory() as folder:
        job = Job(photos, files, Path(folder))
        with job.yarn(core_nodes) as yarn:
            code = job.submit(yarn).wait()
            assert code == 0, (job.folder / "submit.log").read_text()[-2000:]
        return Manifest.from_json((job.run / "manifest.json").read_text())
