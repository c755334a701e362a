"""Scenario `messages`: random and damaged messages.

Each is done, or refused with a reason. No worker exits, and nothing else is touched: blocks of
other boxes, the input, files beside the volumes. What a sender writes can neither forge a line of
the log nor make it endless.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from chunkflow_worker.errors import MessageMalformed
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.job.message import TaskMessage, open_envelope
from chunkflow_worker.job.sqs import Queue, find_queue
from tests.chaos.mutations import Mutator
from tests.chaos.report import Report, broken
from tests.support.service import BLOCK, Service

COLUMNS = (
    "messages",
    "done",
    "refused",
    "refused without a reason",
    "wrongly done or refused",
    "workers that exited",
    "blocks outside the boxes",
    "other files changed",
    "log lines forged or over 2,000 characters",
)
AT_ONCE = 60  # messages in the queue: the local SQS copies all of them at every receive
JOB_BOXES, VOLUME_BOXES = 8, 16  # along x: the job is the first half of the volume
LONGEST_LINE = 2000  # characters
_LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (INFO|WARNING|ERROR) ")


@dataclass(frozen=True)
class Letter:
    """A dead letter. message: what it holds; None when it is malformed."""

    task_id: str
    message: TaskMessage | None


@dataclass(frozen=True)
class Left:
    """What the messages left behind.

    errors: of the failed boxes, by the box. written: the boxes of the stored blocks.
    equal: the written blocks have the voxels of the input.
    changed: other files that are new, gone or changed.
    """

    dead: Sequence[Letter]
    done: frozenset[str]
    errors: dict[str, str]
    written: frozenset[str]
    equal: bool
    changed: frozenset[str]
    exited: int
    lines: Sequence[str]


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
        mutator = Mutator(seed, service.queue, "job", boxes)
        sent = [mutator.body() for _ in range(count)]
        left = run(service, folder, sent, workers)
    finally:
        service.close()
    return _judged(sent, left, service.queue, boxes, volume)


def run(service: Service, folder: Path, sent: Sequence[str], workers: int) -> Left:
    """Send the messages to the workers, and wait until the queue is empty."""
    before = other_files(folder)
    queue = find_queue(service.sqs, service.queue)
    dead: list[Letter] = []
    for _ in range(workers):
        service.start_worker(in_flight=4)
    for batch in batches(sent):
        service.wait(lambda: service.messages()[0] < AT_ONCE, "room in the queue", 120, 0.2)
        dead += take_dead(service, queue)
        entries = [{"Id": str(i), "MessageBody": body} for i, body in enumerate(batch)]
        answer = service.sqs.send_message_batch(QueueUrl=queue.url, Entries=entries)
        assert not answer.get("Failed")
    service.wait(lambda: service.messages()[:2] == (0, 0), "an empty queue", 900, 0.5)
    exited = sum(process.poll() is not None for process in service.workers)
    dead += take_dead(service, queue)
    assert service.messages() == (0, 0, 0)
    done, failed = service.ledger.boxes()
    records = service.ledger.records(failed, failed=True)
    written = blocks(service.root / "out")
    return Left(
        dead=dead,
        done=frozenset(done),
        errors={record.bbox: record.error for record in records},
        written=frozenset(written),
        equal=_equal(service, written),
        changed=frozenset(name for name, *_ in before ^ other_files(folder)),
        exited=exited,
        lines=service.lines(),
    )


def _equal(service: Service, written: set[str]) -> bool:
    output, source = service.output_where_written(), service.input()
    parts = [BoundingBox.parse(box).slices() for box in written]
    return all(np.array_equal(output[part], source[part]) for part in parts)


def _judged(
    sent: Sequence[str], left: Left, queue: str, boxes: list[BoundingBox], volume: BoundingBox
) -> Report:
    found = [runnable(body, queue, boxes) for body in sent]
    to_be_done = [pair for pair in found if pair is not None]
    refused = len(sent) - len(to_be_done)
    right = [*boxes, *(box for box, _ in to_be_done)]
    unexplained = [letter for letter in left.dead if not _is_explained(letter, left)]
    wrong = _wrong(left, right, {task_id for _, task_id in to_be_done}, refused)
    allowed = {
        str(part) for box in right if (inside := box.clip(volume)) for part in inside.split(BLOCK)
    }
    outside = left.written - allowed
    odd_lines = [line for line in left.lines if not _LINE.match(line) or len(line) > LONGEST_LINE]
    promises = {
        "each refusal has a reason": not unexplained,
        "each message is done or refused as it should be": not wrong,
        "no worker exits": not left.exited,
        "no block is written outside the boxes": not outside,
        "no other file is changed": not left.changed,
        "no line of the log is forged or too long": not odd_lines,
        "the blocks are right": left.equal,
        "some messages are done, and some are refused": bool(to_be_done and left.dead),
    }
    if broken(promises):
        shown = [line[:500] for line in odd_lines[:5]]
        print(unexplained[:3], wrong, sorted(outside)[:3], sorted(left.changed)[:3], *shown)
    counts = (len(sent), len(to_be_done), len(left.dead))
    faults = (len(unexplained), wrong, left.exited)
    traces = (len(outside), len(left.changed), len(odd_lines))
    return Report("messages", COLUMNS, [(*counts, *faults, *traces)], broken(promises))


def _is_explained(letter: Letter, left: Left) -> bool:
    """True when the ledger or the log says why a well-formed message was refused."""
    if letter.message is None or left.errors.get(letter.message.bbox):
        return True
    return any(f"failed {letter.message.bbox}, attempt" in line for line in left.lines)


def _wrong(left: Left, right: Sequence[BoundingBox], ids: set[str], refused: int) -> int:
    """Messages that were refused and should be done, boxes that are not done, and the reverse.

    The local SQS may give a message to two receivers, so there may be more dead letters.
    """
    wrongly_refused = sum(letter.task_id in ids for letter in left.dead)
    not_done = sum(str(box) not in left.done for box in right)
    return wrongly_refused + not_done + max(0, refused - len(left.dead))


def take_dead(service: Service, queue: Queue) -> list[Letter]:
    """Receive and delete all dead letters; a long queue would slow the local SQS down."""
    found = []
    url = queue.dead_letter_url
    while letters := service.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get(
        "Messages", []
    ):
        for letter in letters:
            try:
                message, task_id = open_envelope(letter["Body"], service.queue)
                found.append(Letter(task_id, message))
            except MessageMalformed:
                found.append(Letter("", None))
        entries = [
            {"Id": str(i), "ReceiptHandle": letter["ReceiptHandle"]}
            for i, letter in enumerate(letters)
        ]
        service.sqs.delete_message_batch(QueueUrl=url, Entries=entries)
    return found


def runnable(body: str, queue: str, boxes: list[BoundingBox]) -> tuple[BoundingBox, str] | None:
    """The box and the id of a message that should be done; None when it should be refused."""
    try:
        message, task_id = open_envelope(body, queue)
    except MessageMalformed:
        return None
    return (message.box, task_id) if message.job == "job" and message.box in boxes else None


def batches(bodies: Sequence[str]) -> Iterator[list[str]]:
    """Batches that SQS accepts: at most ten messages, and less than 256 KiB."""
    batch: list[str] = []
    for body in bodies:
        if batch and (len(batch) == 10 or sum(len(b.encode()) for b in (*batch, body)) > 250_000):
            yield batch
            batch = []
        batch.append(body)
    yield batch


def blocks(volume: Path) -> set[str]:
    """Boxes of the stored blocks, whose files are named x_y_z."""
    return {"_".join(reversed(file.name.split("_"))) for file in volume.glob("*_*_*/*_*_*")}


def other_files(folder: Path) -> set[tuple[str, int, int]]:
    """Name, size and time of the last change of all files that a worker must not write."""
    output = folder / "service" / "out"
    files = (
        file
        for file in folder.rglob("*")
        if file.is_file() and not file.is_relative_to(output) and "worker-" not in file.name
    )
    return {(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files}
