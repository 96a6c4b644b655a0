import platform
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any, get_args

import pytest
from packaging.requirements import Requirement

from cdk_app import bundle
from cdk_app.bundle import BundleError
from cdk_app.stage_settings import Architecture, StageSettings
from spark_job.network import weights
from spark_job.settings import Engine

HERE: Any = "arm64" if platform.machine() in ("arm64", "aarch64") else "x86_64"


def pins(lock: str) -> dict[str, Requirement]:
    """Return the pins of a lock file, by package."""
    lines = (bundle.ROOT / f"{lock}.lock").read_text().splitlines()
    found = [Requirement(line.rstrip("\\ ")) for line in lines if "==" in line]
    return {pin.name: pin for pin in found}


def on_a_node(engine: str, architecture: str) -> set[str]:
    """Return the packages that the nodes of a cluster get."""
    machine = {"arm64": "aarch64", "x86_64": "x86_64"}[architecture]
    node = {"sys_platform": "linux", "platform_machine": machine, "python_full_version": "3.11.9"}
    locked = pins(f"requirements-{engine}").values()
    return {pin.name for pin in locked if pin.marker is None or pin.marker.evaluate(node)}


@pytest.mark.parametrize("engine", get_args(Engine))
def test_the_cluster_has_the_versions_that_the_tests_use(engine: str) -> None:
    tested = pins("requirements")
    cluster = pins(f"requirements-{engine}")
    assert {name: str(pin.specifier) for name, pin in cluster.items()}.items() <= {
        name: str(pin.specifier) for name, pin in tested.items()
    }.items(), "run make lock"


@pytest.mark.parametrize("architecture", get_args(Architecture))
def test_litert_needs_no_tensorflow_and_none_of_its_tools(architecture: str) -> None:
    packages = on_a_node("litert", architecture)
    assert packages >= {"ai-edge-litert", "boto3", "numpy", "pandas", "pyarrow", "pillow", "obstore", "jinja2", "rich"}
    assert not packages & {"tensorflow", "tensorflow-cpu", "keras", "ml-dtypes", "pyspark", "aws-cdk-lib"}


def test_tensorflow_is_the_build_of_the_processor() -> None:
    assert {"tensorflow-cpu", "tensorflow"} & on_a_node("tensorflow", "x86_64") == {"tensorflow-cpu"}
    assert {"tensorflow-cpu", "tensorflow"} & on_a_node("tensorflow", "arm64") == {"tensorflow"}


def test_equal_files_make_equal_zips(tmp_path: Path) -> None:
    for copy in ("one", "two"):
        folder = tmp_path / copy
        folder.mkdir()
        (folder / "b.py").write_text("b")
        (folder / "a.py").write_text("a")
        bundle._zip(tmp_path / f"{copy}.zip", folder, sorted(folder.iterdir()))
        (folder / "a.py").touch()
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()


def test_a_cached_file_is_not_made_again(tmp_path: Path) -> None:
    made: list[Path] = []

    def make(file: Path) -> None:
        made.append(file)
        file.write_text("made")

    first = bundle._cached(tmp_path, "thing", "a" * 64, make)
    assert bundle._cached(tmp_path, "thing", "a" * 64, make) == first
    assert bundle._cached(tmp_path, "thing", "b" * 64, make) != first
    assert len(made) == 2
    assert sorted(tmp_path.iterdir()) == sorted([first, tmp_path / f"thing-{'b' * 16}.zip"])


def test_a_failure_leaves_nothing_in_the_cache(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"^The weights nothing\.h5 cannot be read"):
        bundle._model(StageSettings.of(weights="nothing.h5"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_of_several_weights_the_first_available_is_used(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model = bundle._model(StageSettings.of(weights="nothing.h5,random"), tmp_path)
    assert zipfile.ZipFile(model).namelist() == ["about.json", "payload"]
    assert "Continuing with random weights." in capfd.readouterr().err
    assert bundle._model(StageSettings.of(weights="random"), tmp_path) == model


def test_a_change_of_anything_that_the_model_depends_on_compiles_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    h5 = tmp_path / "weights.h5"
    h5.write_bytes(b"1")
    sources = tmp_path / "network"
    shutil.copytree(weights._SOURCES, sources)
    monkeypatch.setattr(weights, "_SOURCES", sources)
    seen = [bundle._model_digest(str(h5), "litert")]
    assert bundle._model_digest(str(h5), "litert") == seen[0]

    seen.append(bundle._model_digest(str(h5), "tensorflow"))
    h5.write_bytes(b"2")
    seen.append(bundle._model_digest(str(h5), "litert"))
    seen.append(bundle._model_digest("random", "litert"))
    modules = sorted(sources.glob("*.py"))
    assert {"__init__", "images", "limits", "model", "weights"} <= {module.stem for module in modules}
    for module in modules:
        module.write_text(module.read_text() + "# changed\n")
        seen.append(bundle._model_digest(str(h5), "litert"))
    monkeypatch.setattr(weights, "version", lambda _: "another TensorFlow")
    seen.append(bundle._model_digest(str(h5), "litert"))
    assert len(set(seen)) == len(seen)


def test_the_cluster_gets_the_job_without_the_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "_environment", lambda *_: tmp_path / "unused")
    monkeypatch.setattr(bundle, "_model", lambda *_: tmp_path / "unused")
    built = bundle.build(StageSettings.of(), tmp_path)
    names = zipfile.ZipFile(built.code).namelist()
    assert {"spark_job/cli.py", "spark_job/network/model.py", "spark_job/conf/log4j2.properties"} <= set(names)
    assert not [name for name in names if "demo" in name or "__pycache__" in name]
    assert built.main.is_file()


def test_the_real_bundle_computes_features_with_nothing_else_installed(tmp_path: Path) -> None:
    """Build the bundle for this machine (from PyPI or the cache) and use it as a node of a cluster does."""
    built = bundle.build(StageSettings.of(architecture=HERE, weights="random"), bundle.ROOT / ".cache" / "bundle")
    assert built.environment.stat().st_size < 150e6
    if platform.system() != "Linux":
        pytest.skip("the bundle is for Linux")
    zipfile.ZipFile(built.environment).extractall(tmp_path / "environment")
    zipfile.ZipFile(built.code).extractall(tmp_path / "code")
    import pyspark

    spark = Path(pyspark.__file__).parent / "python" / "lib"
    path = [*map(str, spark.glob("*.zip")), str(tmp_path / "environment"), str(tmp_path / "code")]
    script = f"""
import sys
sys.path[:0] = {path!r}
import numpy as np
import spark_job.run, spark_job.cli, spark_job.daemon
from spark_job.storage import open_store
from spark_job.report import template
from spark_job.network import model, weights
assert spark_job.__file__.startswith({str(tmp_path / "code")!r})
template.environment().get_template("report.html.j2")
network = weights.load({str(built.model)!r}, "litert")
print(network.record.weights, model.extractor(network)(np.zeros((1, 224, 224, 3), np.uint8)).shape)
open_store("s3://bucket")._client
assert "tensorflow" not in sys.modules
"""
    # -S: without site-packages, a package that the bundle lacks makes the script fail.
    base = getattr(sys, "_base_executable", sys.executable)
    done = subprocess.run([base, "-S", "-E", "-c", script], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "random (1, 1280)"), done.stderr
    assert not [*(tmp_path / "environment").rglob("__pycache__")]  # there was nothing to compile
    assert not [*(tmp_path / "environment").rglob("RECORD")]  # it differs between two machines
