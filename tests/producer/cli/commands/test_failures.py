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
from chunkflow_worker.job.delivery import Delivery
from chunkflow_worker.job.job_record import JobRecord
from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.job.message import TaskMessage, encode
from chunkflow_worker.job.sqs import Queue
from chunkflow_worker.pipeline.chain import Pipeline
from chunkflow_worker.service.handler import Handler
from chunkflow_worker.storage.files import Files
from chunkflow_worker.volumes.precomputed.info import create_volume
from producer.cli import main
from producer.look.failures import DONE, MALFORMED, UNREADABLE, UNRECORDED, without_letter
from tests.support.records import task_record

MISSING = [f"{z}-{z + 2}_0-2_0-2" for z in (-2, 0, 4)]
LARGE, KILLED, LATE = "10-12_0-2_0-2", "12-14_0-2_0-2", "14-16_0-2_0-2"


@pytest.fixture
def dead(client: Any, queue: Queue, ledger: Ledger) -> None:
    """Seven dead letters of five causes."""
    for box in (*MISSING, LARGE, KILLED, LATE):
        body = encode(TaskMessage(job="j", bbox=box), queue.name)
        client.send_message(QueueUrl=queue.dead_letter_url, MessageBody=body)
    client.send_message(QueueUrl=queue.dead_letter_url, MessageBody="no task")
    errors = {
        box: f"load-precomputed on {box}: {i} blocks are missing" for i, box in enumerate(MISSING)
    }
    log = ["12:00 INFO loading", "12:01 WARNING slow"]
    for box, error in (errors | {LARGE: "inference: out of memory"}).items():
        record = task_record(box, "failed", error=error, attempts=3, worker="w-7", log=log)
        ledger.write(record)
    ledger.write(task_record(LATE))


def command_after(label: str, text: str) -> list[str]:
    line = next(line for line in text.splitlines() if f"{label}:" in line)
    return shlex.split(line.split(":  ", 1)[1])


def test_json_has_every_dead_letter_grouped_by_cause(
    dead: None, queue: Queue, ledger: Ledger, client: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["failures", "--queue", queue.name, "--ledger", ledger.path]
    assert main([*line, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["queue"] == queue.name
    boxes = {
        cause["text"]: [failure["box"] for failure in cause["failures"]]
        for cause in report["causes"]
    }
    assert boxes == {
        "load-precomputed on <box>: # blocks are missing": sorted(MISSING),
        "inference: out of memory": [LARGE],
        UNRECORDED: [KILLED],
        DONE: [LATE],
        MALFORMED: [""],
    }
    assert report["causes"][0]["text"].startswith("load-precomputed"), "the most frequent first"
    (large,) = next(
        cause["failures"]
        for cause in report["causes"]
        if cause["text"] == "inference: out of memory"
    )
    assert (large["worker"], large["attempts"], large["log"][1]) == ("w-7", 3, "12:01 WARNING slow")
    assert set(report["reproduce"]) == {*MISSING, LARGE, KILLED, LATE}
    assert main([*line, "--json"]) == 0, "they are still there, and visible"
    assert json.loads(capsys.readouterr().out) == report


def test_each_cause_is_shown_with_what_to_do(
    dead: None, queue: Queue, ledger: Ledger, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["failures", "--queue", queue.name, "--ledger", ledger.path]) == 0
    text = capsys.readouterr().out
    assert f"dead letters of queue {queue.name}: 7, causes: 5" in text
    assert "1. 3 boxes: load-precomputed on <box>: # blocks are missing" in text
    assert "   | 12:01 WARNING slow" in text
    assert main(command_after("send back", text)[1:]) == 0
    assert "sent 3 dead letters back" in capsys.readouterr().out


def test_all_malformed_messages_are_shown(
    client: Any, queue: Queue, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = {
        client.send_message(QueueUrl=queue.dead_letter_url, MessageBody="no task")["MessageId"]
        for _ in range(2)
    }
    assert main(["failures", "--queue", queue.name]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"1. 2 boxes: {MALFORMED}" in lines
    assert {line.split(":")[0].strip() for line in lines[3:]} == ids


def test_only_some_boxes_of_a_cause_are_shown(
    client: Any, queue: Queue, capsys: pytest.CaptureFixture[str]
) -> None:
    for z in range(7):
        body = encode(TaskMessage(job="j", bbox=f"{z}-{z + 1}_0-1_0-1"), queue.name)
        client.send_message(QueueUrl=queue.dead_letter_url, MessageBody=body)
    assert main(["failures", "--queue", queue.name]) == 0
    text = capsys.readouterr().out
    assert "   4-5_0-1_0-1, job j" in text
    assert "   5-6_0-1_0-1, job j" not in text
    assert "   and 2 more; --json lists all" in text


def test_a_queue_without_dead_letters(queue: Queue, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["failures", "--queue", queue.name]) == 0
    output = capsys.readouterr()
    assert output.out == f"dead letters of queue {queue.name}: 0\n"
    assert output.err == ""


def test_a_failure_is_reproduced_by_the_printed_command(
    client: Any, queue: Queue, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    box = MISSING[0]
    create_volume(
        f"{tmp_path}/in",
        bounds=BoundingBox.parse(box),
        voxel_size=(1, 1, 1),
        block_size=Vec3(2, 2, 2),
        dtype="uint8",
    )
    chain = tmp_path / "chain of mine.yaml"
    load = f"{{op: load-precomputed, volume_path: {tmp_path}/in}}"
    save = f"{{op: save-h5, file_name: {tmp_path}/out_}}"
    chain.write_text(f"operators:\n- {load}\n- {save}\n")
    message = TaskMessage(job="j", bbox=box)
    body = encode(message, queue.name)
    client.send_message(QueueUrl=queue.dead_letter_url, MessageBody=body)
    ledger = Ledger(str(tmp_path / "log"))
    pipeline = Pipeline.load(chain)
    with pipeline.open(recorded=True) as opened, pytest.raises(DataMissing):
        Handler(opened, pipeline.digest, ledger, "w", 3).handle(Delivery(message, "1"))
    place = ["--pipeline", str(chain), "--ledger", ledger.path]
    assert main(["failures", "--queue", queue.name, *place]) == 0
    program, *arguments = command_after("reproduce", capsys.readouterr().out)
    assert program == "chunkflow"
    code = "from chunkflow_worker.cli.chunkflow import main; main()"
    run = [sys.executable, "-c", code, *arguments]
    again = subprocess.run(run, capture_output=True, text=True, timeout=60, check=False)
    failure = ledger.read(box)
    assert failure is not None
    assert again.returncode == 2
    assert failure.error in again.stderr


def test_without_a_ledger_only_boxes_are_shown(
    dead: None, queue: Queue, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["failures", "--queue", queue.name]) == 0
    output = capsys.readouterr()
    assert LARGE in output.out
    assert "give --ledger or --pipeline" in output.err


def test_dead_letters_that_expire_soon_are_told(
    dead: None, client: Any, queue: Queue, capsys: pytest.CaptureFixture[str]
) -> None:
    attributes = {"MessageRetentionPeriod": str(20 * 3600)}
    client.set_queue_attributes(QueueUrl=queue.dead_letter_url, Attributes=attributes)
    assert main(["failures", "--queue", queue.name]) == 0
    assert "SQS deletes the first dead letters at 20" in capsys.readouterr().out
    assert main(["failures", "--queue", queue.name, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["expires"].endswith("+00:00")


GONE, AGAIN = "20-22_0-2_0-2", "22-24_0-2_0-2"


def failed(ledger: Ledger, *boxes: str) -> None:
    for box in boxes:
        error = f"load-precomputed on {box}: 3 blocks are missing\nand a second line"
        log = ["12:00 \x1b[2J loading"]
        ledger.write(task_record(box, "failed", error=error, attempts=3, log=log))


def test_failures_whose_dead_letters_are_gone_are_listed(
    client: Any, queue: Queue, ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    failed(ledger, GONE, AGAIN)
    Files(ledger.path).put(f"{LATE}.failed.json", b"[" * 100_000, "application/json")
    line = ["failures", "--queue", queue.name, "--ledger", ledger.path]
    assert main(line) == 0
    text = capsys.readouterr().out
    assert f"dead letters of queue {queue.name}: 0\n\nfailed, without a dead letter: 3" in text
    assert "no message is left: chunkflow-producer enqueue --skip-done" in text
    assert r"1. 2 boxes: load-precomputed on <box>: # blocks are missing\nand a second" in text
    assert f"   error of {GONE}: load-precomputed on {GONE}: 3 blocks are missing\n   | and" in text
    assert r"   | 12:00 \x1b[2J loading" in text
    assert "\x1b" not in text
    assert f"2. 1 box: {UNREADABLE}" in text
    assert "send back" not in text


def test_a_failure_that_may_be_tried_again_is_told_as_such(
    client: Any, queue: Queue, ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    failed(ledger, GONE, AGAIN)
    letter, message = (encode(TaskMessage(job="j", bbox=b), queue.name) for b in (GONE, AGAIN))
    client.send_message(QueueUrl=queue.dead_letter_url, MessageBody=letter)
    client.send_message(QueueUrl=queue.url, MessageBody=message)
    line = ["failures", "--queue", queue.name, "--ledger", ledger.path, "--json"]
    assert main(line) == 0
    report = json.loads(capsys.readouterr().out)
    assert [[f["box"] for f in c["failures"]] for c in report["causes"]] == [[GONE]]
    assert [[f["box"] for f in c["failures"]] for c in report["without_letter"]] == [[AGAIN]]
    assert report["fate"] == f"queue {queue.name} still has messages, which may be for them: 1"
    assert set(report["reproduce"]) == {GONE, AGAIN}


def test_without_a_queue_the_ledger_is_read(
    ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = {"roi_start": [20, 0, 0], "chunk_size": [2, 2, 2]}
    ledger.write_job(JobRecord(job="j", queue="q", tasks=1, grid=grid))
    ledger.write_job(JobRecord(job="k", queue="q", tasks=7, grid=grid, enqueued="2026"))
    failed(ledger, GONE, AGAIN)
    line = ["failures", "--ledger", ledger.path]
    assert main([*line, "--job", "j"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("failed, without a dead letter: 1, causes: 1\n   messages: give --queue")
    assert GONE in text
    assert main(line) == 0, "the record of the latest job can't be read"
    captured = capsys.readouterr()
    assert "failed, without a dead letter: 2" in captured.out
    assert "note: job k: " in captured.err
    assert main(["failures"]) == 2


def test_of_many_failures_little_is_held(ledger: Ledger) -> None:
    boxes = [f"{z}-{z + 1}_0-1_0-1" for z in range(20)]
    for box in boxes:
        ledger.write(task_record(box, "failed", error="x" * 10**5, log=["y" * 500] * 20))
    (cause,) = without_letter(ledger, None, known=set())
    assert len(cause.failures) == 20
    assert sum(len(one.log) for one in cause.failures) <= 5 * 20
    assert max(len(one.error) for one in cause.failures) <= 2000
