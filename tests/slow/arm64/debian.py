"""An arm64 Debian 12 with Python 3.11, and the emulator that runs its programs, unpacked to a folder.

Debian's own packages are used, because Debian 12 has the cluster's Python version. apt keeps its state in that folder,
so this machine's packages and architectures stay as they are, and nobody has to be root.
"""

import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

_PYTHON = ("python3.11-minimal", "libpython3.11-stdlib", "libstdc++6")
_EMULATOR = "qemu-user-static:amd64"
_SECONDS = 180  # for one command of apt; all together take about 10


@dataclass(frozen=True)
class Processor:
    """A processor as the emulator calls it, and as the kernel describes it."""

    emulated: str
    variant: str
    part: str
    features: str


_ARM_V8 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp ssbs"
#: The types m6g are Graviton2. The types m7g are Graviton3, which Debian's emulator does not know. Its closest model
#: has every feature of the architecture; here its vectors have 256 bits (SVE), as Graviton3's have.
PROCESSORS = {
    "graviton2": Processor("neoverse-n1", "0x3", "0xd0c", _ARM_V8),
    "graviton3": Processor("max,sve-max-vq=2", "0x1", "0xd40", f"{_ARM_V8} sve asimdfhm svei8mm svebf16 i8mm bf16"),
}
_CPU_INFO = """processor\t: {number}
BogoMIPS\t: 243.75
Features\t: {features}
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: {variant}
CPU part\t: {part}
CPU revision\t: 1

"""


class UnavailableError(Exception):
    """The emulator cannot be installed here. The message is the reason."""


def python(cache: Path, processor: str) -> list[str]:
    """Return the command that runs a Python on one of PROCESSORS. Download it if the cache does not have it.

    Raises
    ------
    UnavailableError
        If this machine cannot run it, or if its packages cannot be downloaded.
    """
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise UnavailableError(f"the emulator's package is for Linux on x86-64, not {platform.platform()}")
    recipe = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    folder = cache / f"{processor}-{recipe[:16]}"
    if not folder.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as draft:
            made = _unpacked(Path(draft))
            _describe(PROCESSORS[processor], made / "root" / "proc")
            made.rename(folder)
    emulator = [str(folder / "emulator"), "-cpu", PROCESSORS[processor].emulated, "-L", str(folder / "root")]
    return [*emulator, str(folder / "root" / "usr" / "bin" / "python3.11")]


def _unpacked(folder: Path) -> Path:
    """Download packages, and return a new folder with the program ``emulator`` and with Debian in ``root``."""
    for needed in ("apt-get", "dpkg-deb"):
        if not shutil.which(needed):
            raise UnavailableError(f"{needed}, which downloads or unpacks Debian's packages, is not installed")
    for name in ("lists/partial", "archives/partial", "packages", "made/root"):
        (folder / name).mkdir(parents=True)
    (folder / "status").touch()  # as if no package were installed
    _apt(folder, "update", "--error-on=any")
    plan = _apt(folder, "install", "--simulate", "--no-install-recommends", *_PYTHON)
    names = [line.split()[1] for line in plan.splitlines() if line.startswith("Inst ")]
    _apt(folder, "download", *names, _EMULATOR)
    for package in (folder / "packages").iterdir():
        place = folder / "qemu" if package.name.startswith("qemu") else folder / "made" / "root"
        _run(folder, "dpkg-deb", "--extract", str(package), str(place))
    # The package has emulators of 40 processors.
    shutil.move(folder / "qemu" / "usr" / "bin" / "qemu-aarch64-static", folder / "made" / "emulator")
    return folder / "made"


def _apt(folder: Path, *arguments: str) -> str:
    options = {
        "Dir::State": folder,
        "Dir::State::status": folder / "status",
        "Dir::Cache": folder,
        "APT::Architecture": "arm64",
        "APT::Architectures": "arm64,amd64",
        "APT::Sandbox::User": "root",  # apt must not become another user, who may not write to the folder
        "Acquire::Retries": 1,
        "Acquire::http::Timeout": 20,
        "Acquire::https::Timeout": 20,
    }
    given = (f"-o{name}={value}" for name, value in options.items())
    return _run(folder / "packages", "apt-get", "-qq", *given, *arguments)


def _run(folder: Path, *command: str) -> str:
    environment = os.environ | {"LC_ALL": "C"}
    try:
        return subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=True, timeout=_SECONDS
        ).stdout
    except subprocess.TimeoutExpired as error:
        raise UnavailableError(f"{command[0]} did not end within {_SECONDS} s") from error
    except subprocess.CalledProcessError as error:
        first_line = error.stderr.strip().partition("\n")[0]
        raise UnavailableError(f"{command[0]} said: {first_line}") from error


def _describe(processor: Processor, proc: Path) -> None:
    """Write /proc/cpuinfo as a processor has it.

    Otherwise the emulator shows its programs the file of this machine. LiteRT finds no arm64 core in it, and crashes.
    """
    proc.mkdir(exist_ok=True)
    cores = range(os.cpu_count() or 1)
    (proc / "cpuinfo").write_text("".join(_CPU_INFO.format(number=core, **vars(processor)) for core in cores))
