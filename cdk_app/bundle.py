"""The files of the job: code, model and Python environment. They are built here, without Docker, and cached."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from aws_cdk import aws_s3_assets as assets
from constructs import Construct

from cdk_app.stage_settings import Architecture, StageSettings
from spark_job.network import MOBILENET_V2
from spark_job.network.weights import recipe
from spark_job.settings import Engine

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "spark_job"
PYTHON = "3.11"  # the version of the cluster
_NOT_SHIPPED = {"demo", "__pycache__"}

#: Files that no import needs: sources, tests, headers, numpy's build tools, time zones, Arrow's network protocol and
#: duplicate libraries, Pillow's AVIF support, LiteRT's parts for GPUs and phones, and botocore's service descriptions
#: except for S3 and credentials. RECORD has hashes of scripts, which name the Python that installed them.
#: .lock is uv's own.
_LEFT_OUT = re.compile(
    r"^\.lock$|(^|/)(__pycache__|tests)/|^bin/|\.(py|pyi|pyx|pxd|pxi|h|hpp|lib)$|\.dist-info/RECORD$"
    r"|^numpy/(array_api|distutils|f2py)/|^tzdata/|^pytz/zoneinfo/"
    r"|^pyarrow/(include|src)/|^pyarrow/[^/]*flight[^/]*\.so|^pyarrow/lib\w+\.so(\.\d+\.\d+\.\d+)?$"
    r"|^faiss/contrib/|^PIL/_avif|^pillow\.libs/libavif"
    r"|^boto3/(data|examples)/|^botocore/data/(?!s3/|sts/|sso/|sso-oidc/|[^/]+\.json$)"
    r"|^tensorflow/include/|^ai_edge_litert/(vendors|tools)/|^ai_edge_litert/libLiteRtWebGpu"
)
#: Amazon Linux 2023 has glibc 2.34.
_PLATFORM: dict[Architecture, str] = {"arm64": "aarch64-manylinux_2_34", "x86_64": "x86_64-manylinux_2_34"}
_1980 = (1980, 1, 1, 0, 0, 0)


class BundleError(Exception):
    """The job cannot be bundled. The message is one sentence for the user."""


@dataclass(frozen=True)
class Bundle:
    """The paths of the entry script, the zipped package, the zipped environment and the compiled model."""

    main: Path
    code: Path
    environment: Path
    model: Path


class Job(Construct):
    """The bundle in the bootstrap bucket, as `s3://` URLs."""

    def __init__(self, scope: Construct, construct_id: str, bundle: Bundle) -> None:
        super().__init__(scope, construct_id)
        files = {name: assets.Asset(self, name.capitalize(), path=str(path)) for name, path in vars(bundle).items()}
        self.main = files["main"].s3_object_url
        self.code = files["code"].s3_object_url
        self.environment = files["environment"].s3_object_url
        self.model = files["model"].s3_object_url
        self.asset_arns = files["main"].bucket.arn_for_objects("*")


def build(settings: StageSettings, cache: Path) -> Bundle:
    """Return the bundle for the settings. Build the parts that are not in the cache.

    Raises
    ------
    BundleError
        If packages or weights are not available.
    """
    cache.mkdir(parents=True, exist_ok=True)
    code = sorted(path for path in PACKAGE.rglob("*") if path.is_file() and not _NOT_SHIPPED & {*path.parts})
    return Bundle(
        main=PACKAGE / "on_cluster.py",
        code=_cached(cache, "code", _digest(*_contents(code)), lambda file: _zip(file, ROOT, code)),
        environment=_environment(settings, cache),
        model=_model(settings, cache),
    )


def _environment(settings: StageSettings, cache: Path) -> Path:
    lock = ROOT / f"requirements-{settings.engine}.lock"
    recipe = _digest(lock.read_bytes(), _LEFT_OUT.pattern.encode(), settings.architecture.encode())
    return _cached(cache, "environment", recipe, lambda file: _install(lock, settings.architecture, file))


def _install(lock: Path, architecture: Architecture, file: Path) -> None:
    """Write a zip of the locked packages for a processor. The lock file is complete, so nothing is resolved."""
    _say(f"Downloading the cluster's Python packages ({architecture}) from PyPI. The result is cached.")
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        tree = Path(folder, "tree")
        command = [
            *("uv", "pip", "install", "--quiet", "--require-hashes", "--no-deps", "--only-binary=:all:"),
            *(f"--python-version={PYTHON}", f"--python-platform={_PLATFORM[architecture]}"),
            *(f"--python={sys.executable}", f"--target={tree}", f"--requirement={lock}"),
        ]
        _run_module(command, "uv could not install the cluster's Python packages. Its message is above.")
        _compile_modules(tree)
        files = (path for path in sorted(tree.rglob("*")) if path.is_file())
        _zip(file, tree, [path for path in files if not _LEFT_OUT.search(path.relative_to(tree).as_posix())])


def _compile_modules(tree: Path) -> None:
    """Put each module's bytecode where its source is, so that nodes unpack half as many files and compile nothing."""
    options = ["-q", "-b", "-s", str(tree), "--invalidation-mode", "unchecked-hash", str(tree)]
    _run_module(["compileall", *options], "Python could not compile the cluster's packages. Its message is above.")


def _run_module(command: list[str], problem: str) -> None:
    """Run a Python module; raise BundleError with the problem if it fails."""
    environment = {**os.environ, "PYTHONHASHSEED": "0"}  # the order of sets in bytecode depends on it
    # Print progress to stderr, because stdout may be the template.
    done = subprocess.run(  # noqa: S603 - uv with our own pins, or compileall
        [sys.executable, "-m", *command], env=environment, stdout=sys.stderr, check=False
    )
    if done.returncode:
        raise BundleError(problem)


def _model(settings: StageSettings, cache: Path) -> Path:
    """Return the compiled model of the first available weights of the settings."""
    *others, last = settings.weights.split(",")
    for weights in others:
        try:
            return _compiled(weights, settings.engine, cache)
        except BundleError as error:
            _say(f"{error} Continuing with {last} weights.")
    return _compiled(last, settings.engine, cache)


def _compiled(weights: str, engine: Engine, cache: Path) -> Path:
    def compile_to(file: Path) -> None:
        _say(f"Compiling {MOBILENET_V2.name} with {weights} weights for {engine}. The result is cached.")
        options = ["--weights", weights, "--engine", engine, "--output", str(file)]
        # TensorFlow needs seconds and a gigabyte, so it runs in its own process, and only if the model is not cached.
        done = subprocess.run(  # noqa: S603 - this project
            [sys.executable, "-m", "spark_job", "compile", *options],
            cwd=ROOT,
            stdout=sys.stderr,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode:
            raise BundleError(done.stderr.strip().rpartition("\n")[2].rpartition("fruits: ")[2])

    return _cached(cache, "model", _model_digest(weights, engine), compile_to)


def _model_digest(weights: str, engine: Engine) -> str:
    """Return a digest of everything that the compiled model depends on. The model names its weights."""
    source = Path(weights)
    content = source.read_bytes() if source.is_file() else b""
    return _digest(weights.encode(), recipe(engine, content).encode())


def _cached(cache: Path, name: str, digest: str, make: Callable[[Path], None]) -> Path:
    """Return the cached file for a name and a digest of everything that it depends on. Make it if it is missing."""
    file = cache / f"{name}-{digest[:16]}.zip"
    if not file.exists():
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            draft = Path(folder, file.name)
            make(draft)
            shutil.move(draft, file)
    return file


def _zip(file: Path, root: Path, paths: Iterable[Path]) -> None:
    """Zip files so that equal content gives equal bytes: in the given order, without times and owners."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in paths:
            entry = zipfile.ZipInfo(path.relative_to(root).as_posix(), _1980)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(entry, path.read_bytes())


def _contents(paths: Iterable[Path]) -> Iterable[bytes]:
    for path in paths:
        yield path.relative_to(ROOT).as_posix().encode()
        yield path.read_bytes()


def _digest(*parts: bytes) -> str:
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)
