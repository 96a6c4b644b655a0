"""A script for a node: imports every module of the job, and every compiled module of its packages."""

import importlib
import json
import pkgutil
import platform
import sys
import sysconfig
from pathlib import Path

import spark_job

ENVIRONMENT = next(place for place in map(Path, sys.path) if place.name == "environment")
SUFFIX = str(sysconfig.get_config_var("EXT_SUFFIX"))


def names() -> list[str]:
    """Return the names of the job's modules, and then of the compiled modules."""
    modules = (module.name for module in pkgutil.walk_packages(spark_job.__path__, "spark_job."))
    own = [name for name in modules if not name.endswith(".__main__")]
    compiled = sorted(ENVIRONMENT.rglob(f"*{SUFFIX}"))
    return own + [str(file.relative_to(ENVIRONMENT)).removesuffix(SUFFIX).replace("/", ".") for file in compiled]


failed = {}
for name in names():
    try:
        importlib.import_module(name)
    except Exception as error:
        failed[name] = repr(error)
print(json.dumps({"machine": platform.machine(), "imported": len(names()), "failed": failed}))
