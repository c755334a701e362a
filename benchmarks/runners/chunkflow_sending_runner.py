"""Sends tasks with chunkflow: `<tasks> <processes>`; it has one process. Prints the seconds."""

import sys
import time

from chunkflow.lib.aws.sqs_queue import SQSQueue


def main():
    tasks = int(sys.argv[1])
    queue = SQSQueue("sending")
    boxes = [f"0-64_0-64_{x * 64}-{x * 64 + 64}" for x in range(tasks)]
    began = time.monotonic()
    queue.send_message_list(boxes)
    print(time.monotonic() - began)


if __name__ == "__main__":
    main()
