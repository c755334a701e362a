from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from chunkflow_worker.errors import DataMissing
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.job.ledger import Ledger, Record
from chunkflow_worker.job.message import TaskMessage, encode
from chunkflow_worker.job.sqs import Queue
from chunkflow_worker.pipeline.chain import Pipeline
from chunkflow_worker.service.handler import Handler
from chunkflow_worker.storage.precomputed_info import create_volume
from producer.cli import main
from producer.look.failures import DONE, MALFORMED, UNRECORDED

LACKING = [f"{z}-{z + 2}_0-2_0-2" for z in (-2, 0, 4)]
LARGE, KILLED, LATE = "10-12_0-2_0-2", "12-14_0-2_0-2", "14-16_0-2_0-2"


def record(box: str, error: str = "", state: str = "failed") -> Record:
    fields = {
        "bbox": box,
        "job": "j",
        "task_id": "1",
        "state": state,
        "attempts": 3,
        "worker": "w-7",
        "error": error,
    }
    return Record.model_validate(
        fields | {"log": ["12:00 INFO loading", "12:01 WARNING slow"] if error else []}
    )


@pytest.fixture
def dead(client: Any, queue: Queue, ledger: Ledger) -> None:
    for box in (*LACKING, LARGE, KILLED, LATE):
        body = encode(TaskMessage(job="j", bbox=box), queue.name)
        client.send_message(QueueUrl=queue.dead_letter_url, MessageBody=body)
    client.send_message(QueueUrl=queue.dead_letter_url, MessageBody="no task")
    for i, box in enumerate(LACKING):
        ledger.write(record(box, f"load-precomputed on {box}: lacks {i + 1} blocks"))
    ledger.write(record(LARGE, "inference: out of memory"))
    ledger.write(record(LATE, state="done"))


def test_dead_letters_are_grouped_by_cause(
    dead: None, queue: Queue, ledger: Ledger, client: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["failures", "--queue", queue.name, "--ledger", ledger.path]
    assert main([*line, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    found = {
        cause["text"]: [failure["box"] for failure in cause["failures"]]
        for cause in report["causes"]
    }
    assert found == {
        "load-precomputed on <box>: lacks # blocks": sorted(LACKING),
        "inference: out of memory": [LARGE],
        UNRECORDED: [KILLED],
        DONE: [LATE],
        MALFORMED: [""],
    }
    assert report["causes"][0]["text"].startswith("load-precomputed"), "the most frequent first"
    (large,) = next(
        cause
        for cause in report["causes"]
        if "memory" in cause["text"] and "inference" in cause["text"]
    )["failures"]
    assert (large["worker"], large["attempts"], large["log"][1]) == ("w-7", 3, "12:01 WARNING slow")
    assert main([*line, "--json"]) == 0, "they are still there, and visible"
    assert json.loads(capsys.readouterr().out) == report


def test_what_is_shown_says_how_to_go_on(
    dead: None, queue: Queue, ledger: Ledger, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["failures", "--queue", queue.name, "--ledger", ledger.path]) == 0
    text = capsys.readouterr().out
    assert f"dead letters of queue {queue.name}: 7, causes: 5" in text
    assert "1. 3 boxes: load-precomputed on <box>: lacks # blocks" in text
    assert "   | 12:01 WARNING slow" in text
    command = next(line.split(":  ", 1)[1] for line in text.splitlines() if "send back:" in line)
    assert main(shlex.split(command)[1:]) == 0
    assert "sent 3 dead letters back" in capsys.readouterr().out


def test_a_failure_is_reproduced_by_the_printed_command(
    client: Any, queue: Queue, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    box = LACKING[0]
    create_volume(
        f"{tmp_path}/in",
        bounds=BoundingBox.parse(box),
        voxel_size=(1, 1, 1),
        block_size=Vec3(2, 2, 2),
        dtype="uint8",
    )
    chain = tmp_path / "chain of mine.yaml"
    load, save = (
        f"{{op: load-precomputed, volume_path: {tmp_path}/in}}",
        f"{{op: save-h5, file_name: {tmp_path}/out_}}",
    )
    chain.write_text(f"operators:\n- {load}\n- {save}\n")
    client.send_message(
        QueueUrl=queue.dead_letter_url,
        MessageBody=encode(TaskMessage(job="j", bbox=box), queue.name),
    )
    ledger = Ledger(str(tmp_path / "log"))
    pipeline = Pipeline.load(chain)
    with pipeline.open(recorded=True) as opened, pytest.raises(DataMissing):
        Handler(opened, pipeline.digest, ledger, "w", 3).handle(
            {"v": 1, "job": "j", "bbox": box}, "1", 1
        )
    assert (
        main(["failures", "--queue", queue.name, "--pipeline", str(chain), "--ledger", ledger.path])
        == 0
    )
    text = capsys.readouterr().out
    command = shlex.split(
        next(line.split(":  ", 1)[1] for line in text.splitlines() if "reproduce:" in line)
    )
    assert command[0] == "chunkflow"
    run = [
        sys.executable,
        "-c",
        "from chunkflow_worker.cli.chunkflow import main; main()",
        *command[1:],
    ]
    again = subprocess.run(run, capture_output=True, text=True, timeout=60, check=False)
    failure = ledger.read(box)
    assert failure is not None
    assert again.returncode == 1
    assert failure.error in again.stderr


def test_without_a_ledger_boxes_alone_are_told(
    dead: None, queue: Queue, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["failures", "--queue", queue.name]) == 0
    output = capsys.readouterr()
    assert LARGE in output.out
    assert "give --ledger or --pipeline" in output.err
