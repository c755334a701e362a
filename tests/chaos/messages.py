"""Random and damaged messages: each is refused with a reason or done, no worker dies, and nothing else is touched.

Nothing else: blocks of other boxes, the input, files beside the volumes. What a sender wrote can neither forge a line of the
log nor make it endless. A job without a record may have any box, so some of the strange boxes are rightly done.
"""

from __future__ import annotations

import re
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from chunkflow_worker.errors import MessageMalformed
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.job.message import TaskMessage, open_envelope
from chunkflow_worker.job.sqs import Queue, find_queue
from tests.chaos.mutations import Mutator
from tests.chaos.report import Report
from tests.support.service import BLOCK, Service

COLUMNS = (
    "messages", "done", "refused", "refused without a reason", "wrongly done or refused", "workers that exited",
    "blocks outside the boxes", "other files changed", "log lines forged or over 2,000 characters",
)  # fmt: skip
AT_ONCE = 60  # messages in the queue: the local SQS copies all that it has with every receive
JOB_BOXES, VOLUME_BOXES = 8, 16  # along x: the job has the first half of the volume
_LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (INFO|WARNING|ERROR) ")


def scenario(
    folder: Path, aws: dict[str, str], seed: int, count: int = 2000, workers: int = 2
) -> Report:
    root = folder / "service"
    root.mkdir()
    (folder / "beside").write_text("not to be touched")
    service = Service(root, f"messages-{uuid.uuid4().hex[:8]}", aws)
    try:
        volume = service.volumes(Vec3(1, 1, VOLUME_BOXES) * BLOCK)
        job_box = BoundingBox.sized((0, 0, 0), Vec3(1, 1, JOB_BOXES) * BLOCK)
        boxes = list(job_box.split(BLOCK))
        service.chain()
        service.create_queue(visibility=10, max_receives=3)
        service.enqueue(bounding_box=str(job_box))
        before = other_files(folder)
        mutator = Mutator(seed, service.queue, "job", boxes)
        sent = [mutator.body() for _ in range(count)]
        queue = find_queue(service.sqs, service.queue)
        dead: list[tuple[str, TaskMessage | None, str]] = []
        for _ in range(workers):
            service.start_worker(in_flight=4)
        for batch in batches(sent):
            service.wait(lambda: service.messages()[0] < AT_ONCE, "room in the queue", 120, 0.2)
            dead += taken(service, queue)
            entries = [{"Id": str(i), "MessageBody": body} for i, body in enumerate(batch)]
            assert not service.sqs.send_message_batch(QueueUrl=queue.url, Entries=entries).get(
                "Failed"
            )
        service.wait(lambda: service.messages()[:2] == (0, 0), "an empty queue", 900, 0.5)
        exited = sum(process.poll() is not None for process in service.workers)
        dead += taken(service, queue)
        assert service.messages() == (0, 0, 0)
        lines = [
            line
            for log in sorted(root.glob("worker-*.log"))
            for line in log.read_text().splitlines()
        ]
        done, failed = service.ledger.boxes()
        errors = {
            record.bbox: record.error for record in service.ledger.records(failed, failed=True)
        }
        after, written = other_files(folder), blocks(root / "out")
        output, source = service.output_where_written(), service.input()
    finally:
        service.close()

    judged = Counter({"done": 0, "refused": 0})
    right: list[BoundingBox] = list(boxes)
    ids: set[str] = set()
    for body in sent:
        found = runnable(body, service.queue, boxes, volume)
        judged["done" if found else "refused"] += 1
        if found:
            right.append(found[0])
            ids.add(found[1])
    log = "\n".join(lines)
    untold = [
        (message, problem) for _, message, problem in dead
        if not problem and message and not errors.get(message.bbox) and f"failed {message.bbox}, attempt" not in log
    ]  # fmt: skip
    wrong = (
        sum(task_id in ids for task_id, _, _ in dead)
        + sum(str(box) not in done for box in right)
        + max(0, judged["refused"] - len(dead))  # the local SQS may hand a message to two at once
    )
    allowed = {
        str(part) for box in right if (inside := box.clip(volume)) for part in inside.split(BLOCK)
    }
    outside = [block for block in written if block not in allowed]
    same = all(
        np.array_equal(output[part.slices()], source[part.slices()])
        for part in map(BoundingBox.parse, written)
    )
    bad_lines = [line for line in lines if not _LINE.match(line) or len(line) > 2000]
    changed = before ^ after
    row = (
        count,
        judged["done"],
        len(dead),
        len(untold),
        wrong,
        exited,
        len(outside),
        len(changed),
        len(bad_lines),
    )
    holds = same and len(dead) > 0 and judged["done"] > 0 and not any(row[3:])
    if not holds:
        print(
            "\n".join(
                map(
                    repr,
                    [
                        untold[:3],
                        wrong,
                        outside[:3],
                        sorted(changed)[:3],
                        [line[:500] for line in bad_lines[:5]],
                    ],
                )
            )
        )
    return Report("messages", COLUMNS, [row], holds)


def taken(service: Service, queue: Queue) -> list[tuple[str, TaskMessage | None, str]]:
    """Take all dead letters: the id and the message of each, or why it is none. A long queue would slow the local SQS."""
    found = []
    while letters := service.sqs.receive_message(
        QueueUrl=queue.dead_letter_url, MaxNumberOfMessages=10
    ).get("Messages", []):
        for letter in letters:
            try:
                message, task_id = open_envelope(letter["Body"], service.queue)
                found.append((task_id, message, ""))
            except MessageMalformed as error:
                found.append(("", None, str(error)))
        entries = [
            {"Id": str(i), "ReceiptHandle": letter["ReceiptHandle"]}
            for i, letter in enumerate(letters)
        ]
        service.sqs.delete_message_batch(QueueUrl=queue.dead_letter_url, Entries=entries)
    return found


def runnable(
    body: str, queue: str, boxes: list[BoundingBox], volume: BoundingBox
) -> tuple[BoundingBox, str] | None:
    """The box and the id of a message that should be done; None for one that should be refused."""
    try:
        message, task_id = open_envelope(body, queue)
    except MessageMalformed:
        return None
    box = message.box
    inside = box.clip(volume)
    whole = inside is not None and all(
        n % b == 0 for n, b in zip((*inside.start, *inside.stop), (*BLOCK, *BLOCK), strict=True)
    )
    return (box, task_id) if (box in boxes if message.job == "job" else whole) else None


def batches(bodies: list[str]) -> Iterator[list[str]]:
    """As SQS takes them: ten at most, and 256 KiB."""
    batch: list[str] = []
    for body in bodies:
        if batch and (len(batch) == 10 or sum(len(b.encode()) for b in (*batch, body)) > 250_000):
            yield batch
            batch = []
        batch.append(body)
    yield batch


def blocks(volume: Path) -> set[str]:
    """Boxes of the stored blocks; their files are named x_y_z."""
    return {
        "_".join(reversed(file.name.removesuffix(".gz").split("_")))
        for file in volume.glob("*_*_*/*_*_*")
    }


def other_files(folder: Path) -> set[tuple[str, int, int]]:
    """All files but those that a worker may write: name, size and time of the last change."""
    free = (folder / "service" / "out", *(folder / "service").glob("worker-*.log"))
    files = (
        f
        for f in folder.rglob("*")
        if f.is_file()
        and not any(f.is_relative_to(place) for place in free)
        and "worker-" not in f.name
    )
    return {(str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in files}
