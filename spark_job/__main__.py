"""The command ``fruits``, which is also ``python -m spark_job``.

A cluster does not use it (see :mod:`spark_job.on_cluster`): there, the shell's variables are the configuration.
"""

import sys

from spark_job import isolation


def main() -> int:
    """Run the command that the user has typed; return its exit code."""
    isolation.isolate()
    # Only now, because other modules of Python could come from the user's own folders before.
    import threading

    from spark_job import interruption

    interruption.listen()
    from spark_job import cli
    from spark_job.log import Log

    try:
        code = cli.main(log=Log(interruption.scratch()))
        interruption.ending.acquire()  # an interruption that has begun does not let go of it, and exits
    except KeyboardInterrupt:  # from Spark's own handler, which it has for a moment while it starts
        threading.Event().wait()
        raise
    return code


if __name__ == "__main__":
    sys.exit(main())
