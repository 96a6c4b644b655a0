"""Count the pages that tasks list in one big folder of a bucket."""

import heapq
import os
from unittest import mock

from spark_job.storage.s3 import S3Store
from tests.s3_stand_in import Object, StandIn, environment

_PARTS_PER_TASK = 3  # as in a plan


def slowest_task(keys: int, tasks: int) -> int:
    """Return the number of pages that the slowest task lists. A task takes the next part when it has finished one."""
    s3 = StandIn(objects={f"photos/all/{number:07d}.jpg": Object(b"") for number in range(keys)})
    with s3.serve() as url, mock.patch.dict(os.environ, environment(url)):
        store = S3Store("photos", "")
        pages, found = [], 0
        for part in store.parts(_PARTS_PER_TASK * tasks):
            before = s3.requests["GET"]
            found += sum(batch.num_rows for batch in store.list_part(part))
            pages.append(s3.requests["GET"] - before)
    assert found == keys
    listed = [0] * tasks
    for count in pages:
        heapq.heapreplace(listed, listed[0] + count)
    return max(listed)
