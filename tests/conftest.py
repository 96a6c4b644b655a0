"""Shared fixtures: one Spark session, one model, the real photos if they are present, and a local S3."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from pyspark.sql import SparkSession
from xdist.scheduler import LoadFileScheduling

from spark_job import session
from spark_job.network import weights
from spark_job.network.model import CompiledNetwork
from tests import s3_stand_in
from tests.local_aws import ports

for profile, examples in (("few", 20), ("many", 100)):  # make test and make test-all choose one
    hypothesis.settings.register_profile(profile, max_examples=examples, deadline=None)  # a busy machine fails no test
hypothesis.settings.load_profile("many")


class ByFile(LoadFileScheduling):  # type: ignore[misc]  # xdist has no types
    """Give each process whole files, and all files that use the local AWS to one process, since they share it."""

    def _split_scope(self, nodeid: str) -> str:
        return "tests/cloud" if nodeid.startswith("tests/cloud/") else super()._split_scope(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:
    return ByFile(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_xdist_setupnodes(config: pytest.Config) -> None:
    """Print no status of the processes: in quiet mode, it is always "bringing up nodes..."."""
    reporter: Any = config.pluginmanager.getplugin("terminaldistreporter")
    reporter.rewrite = reporter.ensure_show_status = lambda *_: None


DATA = Path(os.environ.get("FRUITS_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture(scope="session")
def spark(s3_url: str) -> Iterator[SparkSession]:  # noqa: ARG001 - Spark's workers inherit the address of S3
    session.start()
    spark = SparkSession.builder.config("spark.sql.session.timeZone", "UTC").getOrCreate()  # tests read tables with SQL
    yield spark
    spark.stop()


@pytest.fixture(scope="session")
def openssl() -> str:
    """The command openssl, also if only the folders of the system have it."""
    command = shutil.which("openssl", path=os.pathsep.join([os.environ["PATH"], os.defpath]))
    return command or pytest.skip("certificates are made with openssl, which is not installed")


@pytest.fixture(scope="session")
def model() -> CompiledNetwork:
    """A model with random weights, which need no download."""
    return weights.load("random", "litert")


@pytest.fixture(scope="session")
def model_file(model: CompiledNetwork, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same model in a file, so that a run does not load TensorFlow."""
    file = tmp_path_factory.mktemp("model") / "random.zip"
    file.write_bytes(model.to_bytes())
    return str(file)


@pytest.fixture(scope="session")
def real_photos() -> Path:
    """The folder of a sample of Fruits-360, which contains Training and Test."""
    return _real("fruits-360-sample")


@pytest.fixture(scope="session")
def real_weights() -> Path:
    """The ImageNet weights of MobileNetV2."""
    return _real("weights/mobilenet_v2_imagenet_dequantised_no_top.h5")


def _real(name: str) -> Path:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{path} does not exist; set FRUITS_TEST_DATA to the folder with the real photos and weights")
    return path.resolve()


@pytest.fixture(scope="session")
def s3_url() -> Iterator[str]:
    """The URL of an empty S3 on a free port of this machine."""
    (port,) = ports.free(1)
    environment = os.environ | {"BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port)}
    server = subprocess.Popen(
        [sys.executable, "-m", "ministack.app"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_for(port, server)
        with pytest.MonkeyPatch.context() as patch:
            for name, value in s3_stand_in.environment(url).items():
                patch.setenv(name, value)
            yield url
    finally:
        server.terminate()
        try:
            server.wait(5)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _wait_for(port: int, server: "subprocess.Popen[bytes]") -> None:
    while True:
        assert server.poll() is None, "the local S3 did not start"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)


@pytest.fixture
def s3(s3_url: str) -> str:
    """The URI of a new, empty bucket."""
    import boto3

    bucket = f"fruits-{time.time_ns()}"
    region = {"LocationConstraint": "eu-west-3"}
    boto3.client("s3", endpoint_url=s3_url).create_bucket(Bucket=bucket, CreateBucketConfiguration=region)
    return f"s3://{bucket}"
