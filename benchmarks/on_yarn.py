"""Runs the job on a YARN of this machine, with the configuration and the files that the CDK app gives EMR."""

import tempfile
import venv
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


def run(photos: Path, files: Bundle, core_nodes: int) -> Manifest:
    """Run the job on a YARN of its own, with an executor per node, and return the manifest."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        venv.create(folder / "python", with_pip=False, symlinks=True)  # Python without packages, as on a node
        settings, python = configurations(REGION, core_nodes, spot_nodes=0), folder / "python" / "bin"
        with Yarn(folder / "yarn", settings, ["ON_DEMAND"] * core_nodes, python) as yarn:
            job = yarn.submit(
                [
                    *("--deploy-mode", "cluster"),
                    *("--archives", f"{files.environment}#{ENVIRONMENT},{files.code}#{CODE}"),
                    *(str(files.main), "run", "--input", str(photos), "--output", str(folder / "results")),
                    *("--weights", str(files.model), "--components", "50", "--run-id", "job"),
                ],
                folder / "submit.log",
            )
            assert job.wait() == 0, (folder / "submit.log").read_text()[-2000:]
        return Manifest.from_json((folder / "results" / "runs" / "job" / "manifest.json").read_text())
