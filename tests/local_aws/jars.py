"""The jars of YARN and of S3A, from Maven Central: pinned, checked and cached. EMR's nodes have both."""

import hashlib
import urllib.error
import urllib.request
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pyspark

from tests.local_aws.emulator import ROOT

SPARK_HOME = Path(pyspark.__file__).parent
FOLDER = ROOT / ".cache" / "jars"
_TIMEOUT_SECONDS = 60


class JarsUnavailableError(Exception):
    """Maven Central does not deliver a jar. The message says which, and why."""


@dataclass(frozen=True)
class Jar:
    """A jar of Maven Central: its coordinates, and the SHA-256 digest of its bytes."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def file(self) -> Path:
        """The jar in the cache."""
        return FOLDER / f"{self.artifact}-{self.version}.jar"

    @property
    def path(self) -> str:
        """The path of the jar in a Maven repository."""
        return f"{self.group.replace('.', '/')}/{self.artifact}/{self.version}/{self.file.name}"


#: The servers of YARN in one jar, at the version of the Hadoop inside pyspark, and what its web proxy needs.
YARN = (
    Jar(*("org.apache.hadoop", "hadoop-client-minicluster", "3.3.4"),
        "cd8a1703393946c302bb3a52d0fcd23f6f8ded4554bc0dac5d2ee673dbe2b40e"),
    Jar(*("org.bouncycastle", "bcpkix-jdk15on", "1.68"),
        "fb8d0f8f673ad6e16c604732093d7aa31b26ff4e0bd9cae1d7f99984c06b8a0f"),
    Jar(*("org.bouncycastle", "bcprov-jdk15on", "1.68"),
        "f732a46c8de7e2232f2007c682a21d1f4cc8a8a0149b6b7bd6aa1afdc65a0f8d"),
)  # fmt: skip
#: Hadoop's connector to S3, and what it needs.
S3A = (
    Jar(*("org.apache.hadoop", "hadoop-aws", "3.3.4"),
        "53f9ae03c681a30a50aa17524bd9790ab596b28481858e54efd989a826ed3a4a"),
    Jar(*("com.amazonaws", "aws-java-sdk-bundle", "1.12.262"),
        "873fe7cf495126619997bec21c44de5d992544aea7e632fdc77adb1a0915bae5"),
    Jar(*("org.wildfly.openssl", "wildfly-openssl", "1.0.7.Final"),
        "9f7058778978ec2ad90c7224401a4b0013d93e0dd3fa0f72b25244ffa3507ca8"),
)  # fmt: skip


def fetch(*jars: Jar) -> None:
    """Download the jars that are not in the cache.

    Raises
    ------
    JarsUnavailableError
        If a jar cannot be downloaded, or if it is not the pinned one.
    """
    for jar in jars:
        if not jar.file.exists():
            _download(jar)


def _download(jar: Jar) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    draft = jar.file.with_suffix(".part")
    digest = hashlib.sha256()
    try:
        with (
            urllib.request.urlopen(_central() + jar.path, timeout=_TIMEOUT_SECONDS) as answer,
            draft.open("wb") as file,
        ):
            while piece := answer.read(2**20):
                digest.update(piece)
                file.write(piece)
    except (OSError, urllib.error.URLError) as error:
        raise JarsUnavailableError(f"{jar.file.name} cannot be downloaded from Maven Central: {error}") from error
    if digest.hexdigest() != jar.sha256:
        raise JarsUnavailableError(f"{jar.file.name} has the SHA-256 digest {digest.hexdigest()}, not {jar.sha256}")
    draft.replace(jar.file)


def _central() -> str:
    """Return the address of Maven Central, from the settings of Ivy, with which Spark itself downloads packages."""
    (ivy,) = (SPARK_HOME / "jars").glob("ivy-*.jar")
    with zipfile.ZipFile(ivy) as jar:
        settings = jar.read("org/apache/ivy/core/settings/repository.properties").decode()
    values = dict(line.split(" = ", 1) for line in settings.splitlines() if " = " in line)
    return values["ivy.ibiblio.default.artifact.root"].strip()
