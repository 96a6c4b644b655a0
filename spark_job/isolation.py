"""Keeps the settings that a shell has for other programs from changing a command.

People who use Spark or Keras elsewhere have variables such as ``SPARK_HOME`` in their shell. With them, this job would
start another Spark. docs/reliability.md lists what is ignored and what is used.
"""

import os
import site
import sys
from io import TextIOWrapper

# Python has loaded these modules before. Any other could still come from the user's folders.

_OF_OTHERS = ("SPARK_", "_SPARK_", "PYSPARK_", "HADOOP_", "YARN_", "HIVE_", "KERAS_")
_IGNORED = {
    *("JAVA_HOME", "JAVA_OPTS", "_JAVA_OPTIONS", "JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "CLASSPATH"),
    *("PYTHONPATH", "PYTHONWARNINGS", "TF_USE_LEGACY_KERAS", "TF_XLA_FLAGS", "XLA_FLAGS", "ARROW_PRE_0_15_IPC_FORMAT"),
    *("BASH_ENV", "CDPATH"),  # Spark's launcher is a bash script
}
AUTHORITIES = ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")  # boto3, other AWS tools, Python itself
_USED = {"KERAS_HOME"}  # where Keras has downloaded weights


def isolate() -> None:
    """Prepare this process, and the processes that it starts, for any shell and any working folder."""
    _open_standard_streams()
    if sys.flags.optimize > 1:
        print("fruits: Spark needs the docstrings that PYTHONOPTIMIZE=2 removes. Unset it.", file=sys.stderr)
        sys.exit(2)
    _import_only_what_is_installed()
    _forget_warnings()
    for name in list(os.environ):
        if (name.startswith(_OF_OTHERS) or name in _IGNORED) and name not in _USED:
            del os.environ[name]
    given = [os.environ[name] for name in AUTHORITIES if os.environ.get(name)]
    for name in AUTHORITIES if given else ():
        os.environ.setdefault(name, given[0])
    os.environ["PYTHONSAFEPATH"] = "1"  # Spark's Python workers do not import from the working folder
    if os.environ.get("LC_ALL") in ("C", "POSIX"):  # Python uses UTF-8 nevertheless, and Java must do the same
        os.environ["LC_ALL"] = "C.UTF-8"


def _open_standard_streams() -> None:
    """Open closed streams, so that no other file gets their numbers, and escape what an encoding lacks."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # it was closed when Python started
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - until the end
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _import_only_what_is_installed() -> None:
    """Take the working folder and those of ``PYTHONPATH`` off the path, unless this package or Python is there."""
    needed = {os.path.dirname(os.path.dirname(__file__)), os.path.dirname(os.__file__), *site.getsitepackages()}
    foreign = set(os.environ.get("PYTHONPATH", "").split(os.pathsep)) | {"", _working_folder()}
    sys.path[:] = [place for place in sys.path if place in needed or place not in foreign]


def _forget_warnings() -> None:
    """Let no warning of a library end a command, which ``PYTHONWARNINGS=error`` would do."""
    if sys.warnoptions:
        import warnings

        sys.warnoptions.clear()
        warnings.simplefilter("ignore")


def _working_folder() -> str:
    try:
        return os.getcwd()
    except OSError:  # it is gone, or may not be read
        return ""
