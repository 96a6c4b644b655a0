import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.slow import lose_executors

pytestmark = pytest.mark.slow


def test_the_search_and_the_findings_survive_lost_executors(tmp_path: Path) -> None:
    """An executor dies while the photos are divided, another in the search, and a third one in the findings."""
    if not Path("/proc/self/stat").exists():
        pytest.skip("the test finds Spark's executors in /proc")
    command = [sys.executable, lose_executors.__file__, str(tmp_path)]
    done = subprocess.run(command, cwd=lose_executors.ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    without, losing = map(json.loads, done.stdout.splitlines())
    assert len(list(tmp_path.glob("* has killed"))) == 3
    assert losing == without
    assert losing["photos"] == lose_executors.PHOTOS
    assert losing["findings"]["duplicate"] == 2 * lose_executors.COPIES
