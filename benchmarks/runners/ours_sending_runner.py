"""Sends tasks with this package: `<tasks> <processes>`. Prints the seconds."""

from __future__ import annotations

import sys
import tempfile
import time
from functools import partial

from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.job.grid import Grid
from chunkflow_worker.job.job_record import JobRecord
from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.job.sqs import find_queue, make_client
from producer.cli.send_boxes import send_boxes


def main() -> None:
    tasks, processes = map(int, sys.argv[1:])
    boxes = Grid(chunk_size=Vec3(64, 64, 64), grid_size=Vec3(1, 1, tasks)).boxes()
    queue = find_queue(make_client("us-east-1"), "sending")
    job = JobRecord(job="job", queue="sending", tasks=tasks, pipeline="0123456789abcdef")
    with tempfile.TemporaryDirectory() as folder:
        keep = partial(Ledger(folder).note_sent, "job", boxes)
        began = time.monotonic()
        send_boxes("us-east-1", queue, job, boxes, str, keep=keep, processes=processes)
        print(time.monotonic() - began)


if __name__ == "__main__":
    main()
