"""Run the job with another time between two writes of progress: ``python -m benchmarks.written SECONDS run ...``."""

import sys

from spark_job import cli, progress


def main() -> None:
    """Run the job."""
    progress._WRITE_SECONDS = float(sys.argv.pop(1))
    sys.exit(cli.main())


if __name__ == "__main__":
    main()
