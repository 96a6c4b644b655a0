import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pyspark.sql import SparkSession

from spark_job.accumulators import PhotosDone


def test_photos_count_before_their_task_ends_and_once_if_a_task_runs_twice(spark: SparkSession, tmp_path: Path) -> None:
    done, seen = PhotosDone(spark.sparkContext), tmp_path / "seen"

    def work(task: int) -> None:
        done.add(3)
        while not seen.exists():
            time.sleep(0.01)
        done.add(4)
        if task == 0 and not (tmp_path / "failed").exists():
            (tmp_path / "failed").touch()
            raise RuntimeError("the first attempt fails")

    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(spark.sparkContext.parallelize(range(2), 2).foreach, work)
        while done.value < 3 and not job.done():
            time.sleep(0.01)
        seen.touch()
        job.result()
    assert done.value == 14


def test_other_datagrams_change_nothing(spark: SparkSession) -> None:
    done = PhotosDone(spark.sparkContext)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        for message in (b"hello", b"1 2 3", b"\xff" * 200, b""):
            other.sendto(message, done._address)
        other.sendto(b"0 5", done._address)
    while done.value != 5:
        time.sleep(0.01)
