"""The tasks of a stage are sent once, whoever tries and whatever ends them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

import producer.send.blocks as blocks
from chunkflow_worker.job.claim import Claim
from chunkflow_worker.job.delivery import Delivery
from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.job.sqs import Queue, find_queue, make_client, receive
from chunkflow_worker.storage.files import Files
from producer.plan.pipeline_file import PipelineFile
from producer.send.queue import create_queue
from producer.stages.parts import Part, part_of_grid
from producer.stages.sender import Sender

BOXES, BLOCK = 45, 10


@pytest.fixture
def queue(aws: dict[str, str], unique_name: str) -> Queue:
    client = make_client("us-east-1")
    create_queue(client, unique_name)
    return find_queue(client, unique_name)


@pytest.fixture
def sender(tmp_path: Path, queue: Queue, monkeypatch: pytest.MonkeyPatch) -> Sender:
    monkeypatch.setattr(blocks, "BLOCK", BLOCK)
    grid = {"op": "generate-tasks", "chunk_size": [1, 1, 1], "grid_size": [1, 1, BOXES]}
    stage = {"name": "masks", "tasks": grid, "operators": [{"op": "create-chunk"}]}
    path = tmp_path / "em.yaml"
    path.write_text(yaml.safe_dump({"stages": [stage]}))
    (file,) = PipelineFile.load_all(path)
    return Sender(file, Ledger(str(tmp_path / "log")), "us-east-1", queue)


def part(sender: Sender) -> Part:
    return part_of_grid(sender.file, "em", sender.queue.name)


def received(queue: Queue) -> list[Delivery]:
    client, found = make_client("us-east-1"), list[Any]()
    while messages := receive(client, queue.url, 10, 0):
        found += messages
    return [Delivery.open(message, queue.name) for message in found]


def test_after_a_stop_the_rest_is_sent_and_what_is_in_doubt_says_so(
    sender: Sender, queue: Queue
) -> None:
    def stop(sent: int, total: int) -> None:
        if sent >= 2 * BLOCK + 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sender.send(part(sender), stop)
    assert sender.send(part(sender), lambda sent, total: None)
    assert sender.send(part(sender), lambda sent, total: None), "there is nothing left to send"
    deliveries = received(queue)
    times = Counter(delivery.message.bbox for delivery in deliveries)
    assert len(times) == BOXES
    doubled = [delivery for delivery in deliveries if times[delivery.message.bbox] > 1]
    assert len(doubled) <= 2 * BLOCK
    assert {d.message.attempts for d in doubled} <= {0, 1}
    for box in {delivery.message.bbox for delivery in doubled}:
        both = [delivery for delivery in doubled if delivery.message.bbox == box]
        assert sorted(delivery.message.attempts for delivery in both) == [0, 1]
        assert len({delivery.task_id for delivery in both}) == 1, "a worker knows it again"
    assert {delivery.message.stage for delivery in deliveries} == {"masks"}


def test_nothing_is_sent_while_another_process_sends(sender: Sender, queue: Queue) -> None:
    claim = Claim.take(Files(f"{sender.ledger.path}/jobs"), "em.masks.sender")
    assert claim is not None
    assert not sender.send(part(sender), lambda sent, total: None)
    assert received(queue) == []
    assert not sender.ledger.has_jobs()
    claim.release()
    assert sender.send(part(sender), lambda sent, total: None)
    assert len(received(queue)) == BOXES
