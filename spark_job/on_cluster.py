"""The script that spark-submit starts on the cluster.

It runs the command. If the command fails, it writes the reason to the run's folder, where the state machine reads it:
on a cluster, standard error ends in a compressed file that a state machine cannot read. It does so even if another run
has taken the id, because the state machine looks nowhere else; other readers look at the manifest of that run first.
"""

import contextlib
import sys
from argparse import Namespace

from spark_job import cli
from spark_job.runs import RunFolder
from spark_job.storage import open_store


def _leave_failure(options: Namespace, reason: str) -> None:
    with contextlib.suppress(Exception):  # the log has the reason too
        RunFolder(open_store(options.output), options.run_id).leave_failure(reason)


if __name__ == "__main__":
    sys.exit(cli.main(on_failure=_leave_failure))
