"""The commands `jobs`, `pause`, `resume`, `cancel`, `wait` and `drop`, and `redrive --job`."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.job.grid import Grid
from chunkflow_worker.job.job_record import JobRecord
from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.job.message import TaskMessage, encode, open_envelope
from chunkflow_worker.job.sqs import Queue
from chunkflow_worker.job.state import JobState
from producer.cli import main
from producer.look.notices import Notice
from producer.look.notify import Webhook
from tests.support.records import task_record

Job = list[str]


@pytest.fixture
def place(
    queue: Queue, pipeline: Path, take_all: Callable[[str], list[str]], ledger: Ledger, capsys: Any
) -> list[str]:
    """The options of a job `j` of eight boxes, whose messages are gone."""
    options = ["--pipeline", str(pipeline)]
    assert main(["enqueue", "--queue", queue.name, "--job", "j", *options]) == 0
    take_all(queue.url)
    capsys.readouterr()
    return options


def boxes(ledger: Ledger) -> list[str]:
    job = ledger.job("j")
    assert job is not None
    return [str(box) for box in job.boxes()]


def test_a_job_is_paused_and_resumed(
    place: list[str], queue: Queue, ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pause", *place, "--queue", queue.name, "--why", "a look"]) == 0
    assert main(["pause", *place]) == 0
    said = capsys.readouterr().out
    assert "job j is paused: workers start no more of its tasks" in said
    assert "chunkflow-producer resume --job j" in said
    assert ": a look" in said.splitlines()[-1], "it was paused already, and why"
    assert ledger.states.read("j").state == "paused"
    assert main(["resume", *place, "--job", "j"]) == 0
    assert main(["resume", *place]) == 0
    going, again = capsys.readouterr().out.splitlines()[0::2]
    assert "job j goes on: messages that workers have put aside come back within about 5 s" in going
    assert again == "job j is running already"
    assert ledger.states.read("j").state == "running"


def test_a_job_is_cancelled_and_may_be_resumed(
    place: list[str], queue: Queue, ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cancel", *place]) == 2
    assert "cancel job j, so that workers delete its messages? Add --yes" in capsys.readouterr().err
    assert ledger.states.read("j").state == "running"
    assert main(["cancel", *place, "--yes"]) == 0
    assert main(["cancel", *place, "--yes"]) == 0
    assert "was cancelled already, by " in capsys.readouterr().out
    assert main(["enqueue", "--queue", queue.name, "--job", "j", *place]) == 2
    assert "is cancelled: workers would drop its messages" in capsys.readouterr().err
    assert main(["verify", "--enqueue", *place]) == 2
    assert "chunkflow-producer resume --job j" in capsys.readouterr().err
    assert main(["status", "--queue", queue.name, *place]) == 0
    assert "; 8 boxes were not done" in capsys.readouterr().out
    assert main(["resume", *place]) == 0
    assert "chunkflow-producer verify --enqueue --job j" in capsys.readouterr().out
    assert main(["enqueue", "--queue", queue.name, "--job", "j", *place]) == 0


def test_jobs_are_listed(
    place: list[str], queue: Queue, ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger.write(task_record(boxes(ledger)[0]))
    ledger.write(task_record(boxes(ledger)[1], "failed", error="x"))
    ledger.states.write("j", JobState.now("paused", "me", "a look"))
    assert main(["jobs", *place]) == 0
    heading, line = capsys.readouterr().out.splitlines()
    assert heading.endswith("jobs: 1")
    assert line.startswith(f"  j, paused, 1/8 done, 1 failed, queue {queue.name}, enqueued 20")
    assert line.endswith(": a look")
    assert main(["jobs", *place, "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["job"], row["state"], row["done"], row["total"]) == ("j", "paused", 1, 8)


@pytest.mark.parametrize(
    ("done", "failed", "state", "status"),
    [
        (8, 0, "running", 0),
        (7, 1, "running", 1),
        (3, 0, "running", 1),
        (3, 1, "paused", 3),
        (3, 1, "cancelled", 3),
    ],
)
def test_scripts_wait_for_the_end(
    place: list[str],
    queue: Queue,
    ledger: Ledger,
    capsys: pytest.CaptureFixture[str],
    done: int,
    failed: int,
    state: Any,
    status: int,
) -> None:
    for box in boxes(ledger)[:done]:
        ledger.write(task_record(box))
    for box in boxes(ledger)[done : done + failed]:
        ledger.write(task_record(box, "failed", error="x", final=True))
    ledger.states.write("j", JobState.now(state, "me"))
    assert main(["wait", "--queue", queue.name, *place, "--settle", "0"]) == status
    said = capsys.readouterr()
    assert f"job j: {done} of 8 boxes are done, {failed} failed: " in said.out
    assert (state in said.err) is (state != "running")


def test_a_script_waits_for_so_long(
    place: list[str], queue: Queue, client: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    client.send_message(QueueUrl=queue.url, MessageBody="of another job")
    assert main(["wait", "--queue", queue.name, *place, "--timeout", "0"]) == 4
    assert capsys.readouterr().out.endswith(": timeout\n")


@pytest.fixture
def dead(client: Any, queue: Queue, ledger: Ledger, place: list[str]) -> list[str]:
    """Dead letters of two jobs, of two causes each, and a malformed one; returns their boxes."""
    for number, box in enumerate(boxes(ledger)):
        body = encode(TaskMessage(job="ji"[number % 2], bbox=box), queue.name)
        client.send_message(QueueUrl=queue.dead_letter_url, MessageBody=body)
        error = f"{number} blocks are missing" if number < 4 else "out of memory"
        ledger.write(task_record(box, "failed", error=error))
    client.send_message(QueueUrl=queue.dead_letter_url, MessageBody="no task")
    return boxes(ledger)


@pytest.mark.parametrize(
    ("options", "dropped"),
    [
        (["--job", "j"], 4),
        (["--cause", "# blocks are missing"], 4),
        (["--job", "i", "--cause", "memory"], 2),
        (["--malformed"], 1),
        (["--malformed", "--job", "j"], 5),
        (["--job", "unknown"], 0),
    ],
)
def test_dead_letters_are_dropped_by_job_and_cause(
    dead: list[str],
    place: list[str],
    queue: Queue,
    take_all: Callable[[str], list[str]],
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    dropped: int,
) -> None:
    line = ["drop", "--queue", queue.name, *place, *options]
    if dropped:
        assert main(line) == 2
        assert f"delete {dropped} dead letters of queue {queue.name}?" in capsys.readouterr().err
    assert main([*line, "--yes"]) == 0
    said = f"deleted {dropped} dead letters of queue {queue.name}, left {9 - dropped}\n"
    assert capsys.readouterr().out == said
    assert len(take_all(queue.dead_letter_url)) == 9 - dropped
    assert take_all(queue.url) == []


def test_only_the_dead_letters_of_a_stage_are_dropped(
    queue: Queue, client: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chain = {"tasks": {"op": "generate-tasks"}, "operators": [{"op": "create-chunk"}]}
    file = tmp_path / "em.yaml"
    file.write_text(yaml.safe_dump({"stages": [{"name": name} | chain for name in ("a", "b")]}))
    for stage in ("a", "b"):
        body = encode(TaskMessage(job=f"em.{stage}", bbox="0-4_0-4_0-4", stage=stage), queue.name)
        client.send_message(QueueUrl=queue.dead_letter_url, MessageBody=body)
    line = ["drop", "--queue", queue.name, "--pipeline", str(file), "--box", "0-4_0-4_0-4", "--yes"]
    assert main(line) == 2
    assert "add --stage a" in capsys.readouterr().err
    assert main([*line, "--stage", "b"]) == 0
    assert "deleted 1 dead letters" in capsys.readouterr().out
    (letter,) = client.receive_message(QueueUrl=queue.dead_letter_url)["Messages"]
    assert open_envelope(letter["Body"], queue.name)[0].stage == "a"


def test_a_job_of_a_stage_is_found_by_its_name_alone(
    queue: Queue, tmp_path: Path, ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    """`status` says: chunkflow-producer resume --job em.b."""
    grid = {"op": "generate-tasks", "chunk_size": [4, 4, 4], "grid_size": [1, 1, 1]}
    chain = {"tasks": grid, "operators": [{"op": "create-chunk"}]}
    file = tmp_path / "em.yaml"
    file.write_text(yaml.safe_dump({"stages": [{"name": name} | chain for name in ("a", "b")]}))
    place = ["--queue", queue.name, "--pipeline", str(file), "--ledger", ledger.path]
    for stage in ("a", "b"):
        assert main(["enqueue", *place, "--stage", stage, "--job", f"em.{stage}"]) == 0
    assert main(["pause", *place[2:], "--job", "em.b"]) == 0
    states = [Ledger(f"{ledger.path}/stages/{name}").states.read(f"em.{name}") for name in "ab"]
    assert [one.state for one in states] == ["running", "paused"]
    capsys.readouterr()
    assert main(["resume", *place[2:], "--job", "em.b"]) == 0
    assert main(["resume", *place[2:], "--job", "em.c"]) == 2
    assert "em.c" in capsys.readouterr().err


def test_the_commands_for_a_stage_name_it_without_a_pipeline(
    queue: Queue, client: Any, ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two stages have the same box; one command leads to the next."""
    grid = Grid(chunk_size=Vec3(4, 4, 4), grid_size=Vec3(1, 1, 1)).model_dump()
    own, box = Ledger(f"{ledger.path}/stages/b", to_write=True), "0-4_0-4_0-4"
    own.write_job(JobRecord(job="em.b", queue=queue.name, tasks=1, grid=grid, stage="b"))
    own.write(task_record(box, "failed", job="em.b", error="no memory", final=True))
    for stage in ("a", "b"):
        body = encode(TaskMessage(job=f"em.{stage}", bbox=box, stage=stage), queue.name)
        client.send_message(QueueUrl=queue.dead_letter_url, MessageBody=body)
    words = ["status", "--queue", queue.name, "--ledger", ledger.path, "--stage", "b"]
    for command, mark in (("status", "causes: "), ("failures", "send back: ")):
        assert words[0] == command
        assert main(words) == 0
        (told,) = (line for line in capsys.readouterr().out.splitlines() if mark in line)
        words = shlex.split(told.partition("chunkflow-producer ")[2])
    assert main(words) == 0
    assert "sent 1 dead letters back" in capsys.readouterr().out
    (sent,) = client.receive_message(QueueUrl=queue.url)["Messages"]
    assert open_envelope(sent["Body"], queue.name)[0].stage == "b"


def test_dead_letters_of_a_job_go_back_with_a_note_if_it_does_not_run(
    dead: list[str],
    place: list[str],
    queue: Queue,
    ledger: Ledger,
    take_all: Callable[[str], list[str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    ledger.states.write("j", JobState.now("cancelled", "me"))
    assert main(["redrive", "--queue", queue.name, *place, "--job", "j"]) == 0
    said = capsys.readouterr()
    assert f"sent 4 dead letters back to queue {queue.name}, left 5" in said.out
    assert "workers do nothing for job j, which is cancelled" in said.err
    assert {open_envelope(body, queue.name)[0].job for body in take_all(queue.url)} == {"j"}


def test_a_purge_empties_one_queue_and_tells_how_many(
    dead: list[str],
    queue: Queue,
    client: Any,
    take_all: Callable[[str], list[str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    client.send_message(QueueUrl=queue.url, MessageBody="x")
    assert main(["queue", "purge", queue.name]) == 2
    error = capsys.readouterr().err
    assert f"delete all 1 messages of queue {queue.name}, of all jobs? Add --yes" in error
    assert main(["queue", "purge", queue.name, "--yes"]) == 0
    assert capsys.readouterr().out.endswith(f"queue {queue.name}: 1, approximately\n")
    assert take_all(queue.url) == []
    assert main(["queue", "purge", queue.name, "--yes"]) == 2
    assert "SQS allows one purge in 60 seconds" in capsys.readouterr().err
    assert main(["queue", "purge", queue.name, "--dead", "--yes"]) == 0
    assert capsys.readouterr().out.endswith(f"queue {queue.name}-dead: 9, approximately\n")
    assert take_all(queue.dead_letter_url) == []


def test_waiting_tells_a_webhook(
    place: list[str],
    queue: Queue,
    ledger: Ledger,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: list[Notice] = []
    monkeypatch.setattr(Webhook, "send", lambda self, notice: sent.append(notice))
    wait = ["wait", "--queue", queue.name, *place, "--settle", "0"]
    ledger.write(task_record(boxes(ledger)[0]))
    assert main([*wait, "--timeout", "0", "--notify", "https://host/secret"]) == 4
    (notice,) = sent
    assert notice.text.startswith("job j: wait has ended by its --timeout; 1 of 8 boxes are done")
    for box in boxes(ledger)[1:]:
        ledger.write(task_record(box))
    monkeypatch.setenv("CHUNKFLOW_NOTIFY", "https://host/secret")
    assert main(wait) == 0
    status = ["status", "--watch", "--queue", queue.name, *place, "--settle", "0"]
    assert main(status) == 0
    assert [one.kind for one in sent] == ["ended", "done", "done"]
    assert main(["status", "--queue", queue.name, *place, "--notify", "https://host/secret"]) == 2
    assert main([*wait, "--notify", "secret"]) == 2
    text = "".join(capsys.readouterr())
    assert "--notify needs --watch" in text
    assert "is neither a URL nor a topic" in text
    assert "secret" not in text
