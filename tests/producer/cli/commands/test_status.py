from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from chunkflow_worker.job.clipped import Clipped
from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.job.message import open_envelope
from chunkflow_worker.job.sqs import Queue
from producer.cli import main
from tests.support.records import task_record


@dataclass(frozen=True)
class EnqueuedJob:
    """A job whose messages were all taken. status: the command that shows its status."""

    status: list[str]
    boxes: list[str]


@pytest.fixture
def job(
    queue: Queue,
    pipeline: Path,
    take_all: Callable[[str], list[str]],
    capsys: pytest.CaptureFixture[str],
) -> EnqueuedJob:
    place = ["--queue", queue.name, "--pipeline", str(pipeline)]
    assert main(["enqueue", "--job", "j", *place]) == 0
    boxes = [open_envelope(body, queue.name)[0].bbox for body in take_all(queue.url)]
    capsys.readouterr()
    return EnqueuedJob(["status", *place], boxes)


def test_status_as_a_table(
    job: EnqueuedJob, ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger.write(task_record(job.boxes[0]))
    assert main(job.status) == 0
    assert "done 1 of 8, 12.5%" in " ".join(capsys.readouterr().out.split())


def test_status_as_json(
    job: EnqueuedJob, queue: Queue, ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger.write(task_record(job.boxes[0]))
    assert main([*job.status, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "queue": queue.name,
        "waiting": 0,
        "in_flight": 0,
        "delayed": 0,
        "dead": 0,
        "job": "j",
        "done": 1,
        "failed": 0,
        "total": 8,
        "rate": None,
        "missing": 7,
        "twice": 0,
        "late": [],
        "messages_expire": "",
        "dead_letters_expire": "",
        "sampled": 1,
        "clipped": {},
        "nets": [],
        "percent": 12.5,
        "eta_seconds": None,
    }


@pytest.mark.parametrize("count", [2, 8])
def test_boxes_of_two_nets_are_told_with_their_workers(
    job: EnqueuedJob, ledger: Ledger, capsys: pytest.CaptureFixture[str], count: int
) -> None:
    """While the job runs, and when it is complete."""
    for i, box in enumerate(job.boxes[:count]):
        net = {"inference.convnet_model": "1a", "inference.convnet_weight_path": f"{min(i, 1)}b"}
        ledger.write(task_record(box, models=net, worker=f"w{i}"))
    assert main(job.status) == 0
    output = capsys.readouterr().out
    assert "boxes of this job come from 2 nets or plugins; in a sample of records:" in output
    assert "  1 box by w0: inference.convnet_weight_path 0b\n" in output
    assert "w1" in output
    ledger.write(task_record(job.boxes[0], models=net, worker="w1"))
    assert main(job.status) == 0
    assert "nets" not in capsys.readouterr().out


@pytest.mark.parametrize("as_json", [False, True])
def test_a_watch_ends_with_0_when_all_is_done(
    job: EnqueuedJob,
    ledger: Ledger,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    as_json: bool,
) -> None:
    left = iter(job.boxes)
    clipped = [Clipped("save-h5", 1, 40)]
    monkeypatch.setattr(
        "producer.cli.commands.status.sleep",
        lambda seconds: ledger.write(task_record(next(left), clipped=clipped)),
    )
    assert main([*job.status, "--watch", *(["--json"] if as_json else [])]) == 0
    output = capsys.readouterr()
    if as_json:
        assert [json.loads(text)["done"] for text in output.out.splitlines()] == list(range(9))
    else:
        assert output.out == (
            "all 8 tasks of job j are done\n2.5 % of the voxels were clipped by save-h5\n"
        )
        assert "done 8 of 8 (100%)" in output.err


def test_a_watch_ends_with_1_when_tasks_are_dead(
    client: Any,
    queue: Queue,
    job: EnqueuedJob,
    ledger: Ledger,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for box in job.boxes[:6]:
        ledger.write(task_record(box))
    ledger.write(task_record(job.boxes[6], "failed"))
    client.send_message(QueueUrl=queue.dead_letter_url, MessageBody="dead")
    assert main([*job.status, "--watch", "--settle", "0"]) == 1
    told = capsys.readouterr().err
    assert (
        "2 of 8 tasks of job j are not done; dead letters: 1, boxes with a record of failure: 1"
        in told
    )
    (causes,) = re.findall(r"^causes: (chunkflow-producer failures .*)$", told, re.MULTILINE)
    assert main(job.status) == 0
    assert f"causes: {causes}\n" in capsys.readouterr().out
    assert main(shlex.split(causes)[1:]) == 0
    assert "dead letters of queue" in capsys.readouterr().out


def test_a_queue_alone_does_not_know_its_job(
    queue: Queue, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", "--queue", queue.name]) == 0
    assert "give --pipeline or --ledger to see" in capsys.readouterr().err


def test_a_watch_needs_a_job(
    queue: Queue, ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", "--queue", queue.name, "--ledger", ledger.path, "--watch"]) == 2
    assert "give the ledger that the job was enqueued with" in capsys.readouterr().err
