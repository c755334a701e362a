"""Sends tasks with task-queue: `<tasks> <processes>`. Prints the seconds."""

import sys
import time
from functools import partial

from taskqueue import TaskQueue, queueable


@queueable
def work(job, bbox, pipeline):
    pass


def main():
    tasks, processes = map(int, sys.argv[1:])
    queue = TaskQueue("sqs://sending", progress=False, region_name="us-east-1")
    made = (
        partial(work, "job", f"0-64_0-64_{x * 64}-{x * 64 + 64}", "0123456789abcdef")
        for x in range(tasks)
    )
    began = time.monotonic()
    queue.insert(made, total=tasks, parallel=processes)
    print(time.monotonic() - began)


if __name__ == "__main__":
    main()
