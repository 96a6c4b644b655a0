"""Say where the time goes before the first photo on YARN: ``python -m benchmarks.startup``.

The script runs the job on 64 photos on a YARN with two nodes, and reads the clock of the logs. It prints when each step
ended, in seconds after spark-submit was started, and how long the step took.
"""

import re
import tempfile
from datetime import datetime, time
from pathlib import Path

from benchmarks import photos
from benchmarks.on_yarn import Job, build

#: What a step is called, the log that shows its end, and the first line that does.
STEPS = (
    ("spark-submit's JVM starts", "submit", "Connecting to ResourceManager"),
    ("spark-submit uploads the archives", "submit", "Submitted application"),
    ("YARN unpacks the archives on the driver's node", "driver", "SignalUtils: Registering signal handler"),
    ("the driver's JVM and Python start", "driver", "Running Spark version"),
    ("Spark's context starts, and asks for executors", "driver", "YarnAllocator: Will request"),
    ("YARN unpacks the archives on the other node", "executor", "Started daemon with process name"),
    ("the executor's JVM starts", "driver", "Registered executor"),
    ("Spark has enough executors", "driver", "SchedulerBackend is ready"),
    ("Spark SQL and Python's daemons start", "driver", "Starting task 0.0 in stage 0.0"),
)


def main() -> None:
    """Run the job, and print the steps."""
    with tempfile.TemporaryDirectory() as place:
        job = Job(photos.small(Path(place, "photos"), 64), build(), Path(place))
        with job.yarn() as yarn:
            began = datetime.now()
            assert job.submit(yarn).wait() == 0, (job.folder / "submit.log").read_text()[-2000:]
            logs = {name: data.decode() for name, data in yarn.logs().items() if name.endswith("stderr")}
        (driver,) = (text for name, text in logs.items() if "_000001/" in name)
        last = max((text for name, text in logs.items() if "_000001/" not in name), key=lambda text: text[:8])
        texts = {"submit": (job.folder / "submit.log").read_text(), "driver": driver, "executor": last}
        before = 0.0
        for step, log, line in STEPS:
            seconds = max(_seconds(texts[log], line, began), before)
            print(f"{seconds:5.1f} s  {step} ({seconds - before:.1f} s)")
            before = seconds
        print(f"{(datetime.now() - began).total_seconds():5.1f} s  the run has ended")


def _seconds(log: str, line: str, began: datetime) -> float:
    """Return when a line was logged, in seconds after ``began``. The clock of the logs has whole seconds."""
    found = re.search(rf"(?m)^(\d\d:\d\d:\d\d) .*{re.escape(line)}", log)
    if found is None:
        raise LookupError(f"The log has no line with {line!r}.")
    return (datetime.combine(began, time.fromisoformat(found[1])) - began).total_seconds()


if __name__ == "__main__":
    main()
