from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.job.message import open_envelope, pipeline_digest
from chunkflow_worker.job.sqs import Queue
from producer.cli import main
from producer.send.batches import SendingFailed

HEAVY = {
    "torch",
    "numpy",
    "cloudvolume",
    "cloudfiles",
    "celery",
    "kombu",
    "boto3",
    "botocore",
    "rich",
    "pydantic_settings",
    "yaml",
}
GRID = ["-c", "2", "2", "2", "-z", "4", "4", "4"]


def test_help_tells_each_command_in_a_line_of_80_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["--help"]) == 0
    commands = capsys.readouterr().out.partition("Commands:")[2]
    assert "verify" in commands
    assert "..." not in commands


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    path = tmp_path / "chain.yaml"
    path.write_text(
        "tasks: {op: generate-tasks, chunk_size: [2, 2, 2], roi_size: [4, 4, 4]}\n"
        f"operators:\n- {{op: create-chunk}}\n- {{op: save-precomputed, volume_path: {tmp_path}/}}\n"
    )
    return path


@pytest.mark.parametrize(
    "command",
    [
        "",
        "enqueue",
        "queue",
        "queue create",
        "queue delete",
        "status",
        "redrive",
        "verify",
        "failures",
    ],
)
def test_help_loads_nothing_heavy(command: str) -> None:
    line = [sys.executable, "-X", "importtime", "-m", "producer", *command.split(), "--help"]
    result = subprocess.run(line, capture_output=True, text=True, timeout=60, check=True)
    loaded = {row.rsplit("|", 1)[-1].strip().split(".")[0] for row in result.stderr.splitlines()}
    assert "producer" in loaded
    assert loaded & HEAVY == set()
    assert result.stdout.startswith("Usage: chunkflow-producer")


def test_a_job_is_enqueued(
    queue: Queue,
    pipeline: Path,
    take_all: Callable[[str], list[str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert (
        main(
            [
                "enqueue",
                "--queue",
                queue.name,
                "--job",
                "j",
                "--pipeline",
                str(pipeline),
                "--roi-start",
                "-2",
                "0",
                "0",
            ]
        )
        == 0
    )
    output = capsys.readouterr()
    line, command = output.out.strip().split(", status: ")
    assert line == f"enqueued 8 tasks of job j to queue {queue.name} (boxes 2x2x2)"
    assert "8 tasks, from -2-0_0-2_0-2 to 0-2_2-4_2-4" in output.err
    assert "sent 8 of 8 (100%)" in output.err
    (job,) = Ledger(str(tmp_path / "log")).jobs()
    assert (job.job, job.tasks, job.queue) == ("j", 8, queue.name)
    messages = [open_envelope(body, queue.name)[0] for body in take_all(queue.url)]
    digest = pipeline_digest(
        [{"op": "create-chunk"}, {"op": "save-precomputed", "volume_path": f"{tmp_path}/"}]
    )
    assert {message.bbox for message in messages} == {
        f"{z}_{y}_{x}" for z in ("-2-0", "0-2") for y in ("0-2", "2-4") for x in ("0-2", "2-4")
    }
    assert {(message.job, message.pipeline) for message in messages} == {("j", digest)}
    assert main([*shlex.split(command)[1:], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["total"] == 8


def test_the_region_may_be_a_volume(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scale = {
        "size": [40, 30, 20],
        "voxel_offset": [5, 0, -10],
        "chunk_sizes": [[10, 10, 10]],
        "resolution": [1, 1, 1],
    }
    (tmp_path / "info").write_text(json.dumps({"scales": [scale]}))
    assert (
        main(
            [
                "enqueue",
                "--queue",
                "q",
                "-v",
                str(tmp_path),
                "-m",
                "0",
                "-c",
                "10",
                "10",
                "10",
                "--dry-run",
            ]
        )
        == 0
    )
    assert "24 tasks, from -10-0_0-10_5-15 to 0-10_20-30_35-45" in capsys.readouterr().err


def test_boxes_that_workers_would_refuse_are_pointed_out(
    pipeline: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scale = {
        "size": [4, 4, 4],
        "voxel_offset": [0, 0, 0],
        "chunk_sizes": [[4, 4, 4]],
        "resolution": [1, 1, 1],
    }
    (tmp_path / "info").write_text(json.dumps({"scales": [scale]}))
    line = ["enqueue", "--queue", "q", "--pipeline", str(pipeline), "--dry-run"]
    assert main(line) == 0
    assert (
        "note: workers are likely to refuse these boxes: box 0-2_0-2_0-2 would share blocks"
        in capsys.readouterr().err
    )
    assert main([*line, "-c", "4", "4", "4"]) == 0
    assert "note" not in capsys.readouterr().err


def test_a_dry_run_needs_no_queue(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    line = [
        "enqueue",
        "--queue",
        "q",
        "--job",
        "j",
        "-b",
        "-4-0_0-2_0-2",
        "-c",
        "2",
        "2",
        "2",
        "--ledger",
        str(tmp_path / "log"),
        "--dry-run",
    ]
    assert main(line) == 0
    assert (
        capsys.readouterr().out
        == "2 tasks of job j\nfirst -4--2_0-2_0-2\nlast  -2-0_0-2_0-2\nnothing was sent\n"
    )
    assert not (tmp_path / "log").exists()


def test_a_queue_that_is_not_there_is_not_made(
    client: Any, unique_name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["enqueue", "--queue", unique_name, *GRID, "--ledger", str(tmp_path / "log")]) == 2
    error = capsys.readouterr().err
    assert "there is no such queue" in error
    assert f"chunkflow-producer queue create {unique_name}" in error
    assert "QueueUrls" not in client.list_queues(QueueNamePrefix=unique_name)
    assert not (tmp_path / "log").exists()


def test_another_job_of_the_same_name_is_refused(
    queue: Queue,
    take_all: Callable[[str], list[str]],
    ledger: Ledger,
    capsys: pytest.CaptureFixture[str],
) -> None:
    line = ["enqueue", "--queue", queue.name, "--job", "j", "--ledger", ledger.path]
    assert main([*line, *GRID]) == 0
    assert len(take_all(queue.url)) == 8
    assert main([*line, *GRID, "--respect-stop"]) == 2
    assert "choose another --job" in capsys.readouterr().err
    assert take_all(queue.url) == []


def test_boxes_done_before_are_pointed_out(
    queue: Queue,
    ledger: Ledger,
    write_record: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_record("0-2_0-2_0-2")
    assert main(["enqueue", "--queue", queue.name, "--ledger", ledger.path, *GRID]) == 0
    assert "count as done" in capsys.readouterr().err


def test_a_job_that_is_sent_once_more_is_pointed_out(
    queue: Queue, ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["enqueue", "--queue", queue.name, "--job", "j", "--ledger", ledger.path, *GRID]
    note = "note: job j was enqueued before"
    assert main([*line, "--task-index-stop", "3"]) == 0
    assert main([*line, "--task-index-start", "3"]) == 0
    assert note not in capsys.readouterr().err
    assert main(line) == 0
    assert note in capsys.readouterr().err


def test_the_job_is_recorded_before_it_is_sent_and_can_be_resumed(
    queue: Queue,
    ledger: Ledger,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def send(client: Any, url: str, bodies: Iterator[str], **_: Any) -> None:
        assert [job.job for job in ledger.jobs()] == ["j"]
        raise SendingFailed(6, 3, "SQS is tired")

    line = ["enqueue", "--queue", queue.name, "--job", "j", "--ledger", ledger.path, *GRID]
    with monkeypatch.context() as patched:
        patched.setattr("producer.send.queue.send", send)
        assert main([*line, "-i", "2"]) == 1
    error = capsys.readouterr().err
    assert "error: 6 messages were sent, then: SQS is tired" in error
    assert "--job j --task-index-start 5" in error
    assert main([*line, "-i", "5"]) == 0
    assert [job.tasks for job in ledger.jobs()] == [6]


def test_an_interrupt_ends_quietly_and_says_how_to_go_on(
    queue: Queue, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def send(*_: Any, sent: Callable[[int], None], **__: Any) -> None:
        sent(4)
        raise KeyboardInterrupt

    monkeypatch.setattr("producer.send.queue.send", send)
    assert main(["enqueue", "--queue", queue.name, "--job", "j", *GRID]) == 130
    error = capsys.readouterr().err
    assert "--job j --task-index-start 4" in error
    assert "Traceback" not in error


def test_no_endpoint_is_one_line(
    aws: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    assert main(["status", "--queue", "q"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        'error: queue q: EndpointConnectionError: Could not connect to the endpoint URL: "http://127.0.0.1:1/"'
    ]


def test_no_credentials_are_one_line(
    aws: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)  # it remembers credentials
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "absent"))
    assert main(["queue", "create", "q"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: queue q: no AWS credentials were found; set AWS_ACCESS_KEY_ID")


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("enqueue", "Missing option '--queue'"),
        ("enqueue --queue q.fifo -c 1 1 1", "is a FIFO queue"),
        ("enqueue --queue q", "nothing says which region to cut"),
        ("enqueue --queue q -c 1 1", "requires 3 arguments"),
        ("enqueue --queue q -c 1 1 1 --job a/b", "is no job name"),
        ("enqueue --queue q --pipeline absent.yaml", "cannot be read"),
        ("status --queue q --watch", "need a ledger"),
        ("status --queue q --job j", "need a ledger"),
        ("queue delete q", "add --yes"),
        ("queue create q.fifo", "is a FIFO queue"),
        ("nonsense", "No such command"),
    ],
)
def test_the_user_s_mistakes_end_with_2(
    line: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(line.split()) == 2
    assert text in capsys.readouterr().err


def test_queue_and_ledger_may_come_from_the_environment(
    queue: Queue,
    ledger: Ledger,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("CHUNKFLOW_QUEUE", queue.name)
    monkeypatch.setenv("CHUNKFLOW_LEDGER", ledger.path)
    assert main(["enqueue", "--job", "j", *GRID]) == 0
    assert main(["status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["job"] == "j"


def test_queues_are_made_and_deleted(
    client: Any, unique_name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["queue", "create", unique_name]) == 0
    urls = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [(url.rsplit("/", 1)[-1], what) for url, what in urls] == [
        (unique_name, "created"),
        (f"{unique_name}-dead", "created"),
    ]
    assert main(["queue", "create", unique_name, "--visibility", "30"]) == 0
    output = capsys.readouterr().out
    assert f"{unique_name} changed\n  VisibilityTimeout: 60 -> 30\n" in output
    assert f"{unique_name}-dead was there already" in output
    assert main(["queue", "delete", unique_name, "--yes"]) == 0
    assert main(["queue", "delete", unique_name, "--yes"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"deleted {unique_name} and {unique_name}-dead",
        f"there is no queue {unique_name}",
    ]


@pytest.fixture
def job(
    queue: Queue, pipeline: Path, ledger: Ledger, take_all: Callable[[str], list[str]]
) -> tuple[list[str], list[str]]:
    """A job whose messages are all taken: the status command for it, and its boxes."""
    assert main(["enqueue", "--queue", queue.name, "--job", "j", "--pipeline", str(pipeline)]) == 0
    boxes = [open_envelope(body, queue.name)[0].bbox for body in take_all(queue.url)]
    return ["status", "--queue", queue.name, "--pipeline", str(pipeline)], boxes


def test_status_as_a_table(
    job: tuple[list[str], list[str]],
    write_record: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    line, boxes = job
    write_record(boxes[0])
    capsys.readouterr()
    assert main(line) == 0
    assert "done 1 of 8, 12.5%" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("as_json", [False, True])
def test_a_watch_ends_with_0_when_all_is_done(
    job: tuple[list[str], list[str]],
    write_record: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    as_json: bool,
) -> None:
    line, boxes = job
    left = iter(boxes)
    monkeypatch.setattr("producer.cli.status.sleep", lambda seconds: write_record(next(left)))
    capsys.readouterr()
    assert main([*line, "--watch", *(["--json"] if as_json else [])]) == 0
    output = capsys.readouterr()
    if as_json:
        assert [json.loads(text)["done"] for text in output.out.splitlines()] == list(range(9))
    else:
        assert output.out == "all 8 tasks of job j are done\n"
        assert "done 8 of 8 (100%)" in output.err


def test_a_watch_ends_with_1_when_tasks_are_dead(
    client: Any,
    queue: Queue,
    job: tuple[list[str], list[str]],
    write_record: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    line, boxes = job
    for box in boxes[:6]:
        write_record(box)
    write_record(boxes[6], "failed")
    client.send_message(QueueUrl=queue.dead_letter_url, MessageBody="dead")
    assert main([*line, "--watch", "--settle", "0"]) == 1
    error = capsys.readouterr().err
    assert (
        "2 of 8 tasks of job j are not done; 1 messages lie in the dead letters, and 1 boxes have a record"
        in error
    )


def test_a_watch_needs_a_job(
    queue: Queue, ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", "--queue", queue.name, "--ledger", ledger.path, "--watch"]) == 2
    assert "is this the ledger" in capsys.readouterr().err


def test_python_m_producer_gives_the_exit_status(aws: dict[str, str], unique_name: str) -> None:
    line = [sys.executable, "-m", "producer", "status", "--queue", unique_name]
    result = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 2
    assert result.stderr.startswith("error: queue: ")
    assert "Traceback" not in result.stderr
