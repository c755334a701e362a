from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from chunkflow_worker.job.job_record import JobRecord
from chunkflow_worker.job.message import TaskMessage, open_envelope
from chunkflow_worker.job.sqs import Queue
from producer.cli.send_boxes import send_boxes
from producer.send.batches import SendingFailed

QUEUE = Queue("q", "url", "dead-url", 3, 60)
JOB = JobRecord(job="j", queue="q", tasks=3, pipeline="abc")
BOXES = ["0-1_0-1_0-1", "1-2_0-1_0-1", "2-3_0-1_0-1"]


def resume(sent: int) -> str:
    return f"continue after {sent}"


def test_each_box_is_a_message_of_the_job(
    client: Any,
    queue: Queue,
    take_all: Callable[[str], list[str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    send_boxes(client.meta.region_name, queue, JOB, BOXES, resume)
    messages = [open_envelope(body, queue.name)[0] for body in take_all(queue.url)]
    assert sorted(messages, key=lambda message: message.bbox) == [
        TaskMessage(job="j", bbox=box, pipeline="abc") for box in BOXES
    ]
    error = capsys.readouterr().err
    assert "sent 3 of 3 (100%), 0 s left" in error
    assert "continue after" not in error


def test_no_box_is_no_message(client: Any, queue: Queue, take_all: Callable[[str], Any]) -> None:
    send_boxes(client.meta.region_name, queue, JOB, [], resume)
    assert take_all(queue.url) == []


def test_after_a_failure_it_prints_how_to_resume(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def send(client: Any, url: str, bodies: Iterator[str], **_: Any) -> None:
        raise SendingFailed(2, 1, "SQS refused")

    monkeypatch.setattr("producer.send.blocks.send", send)
    with pytest.raises(SendingFailed, match="SQS refused"):
        send_boxes("us-east-1", QUEUE, JOB, BOXES, resume)
    assert "continue after 1" in capsys.readouterr().err


def test_after_an_interrupt_it_prints_how_to_resume(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def send(*_: Any, sent: Callable[[int], None], **__: Any) -> None:
        sent(2)
        raise KeyboardInterrupt

    monkeypatch.setattr("producer.send.blocks.send", send)
    with pytest.raises(KeyboardInterrupt):
        send_boxes("us-east-1", QUEUE, JOB, BOXES, resume)
    assert "continue after 2" in capsys.readouterr().err
