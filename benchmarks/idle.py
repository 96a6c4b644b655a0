"""Start Spark and send one row through Python, and nothing else: ``python -m benchmarks.idle``."""

from spark_job import session


def main() -> None:
    """Start Spark and count one row."""
    session.start().parallelize([0], 1).map(abs).count()


if __name__ == "__main__":
    main()
