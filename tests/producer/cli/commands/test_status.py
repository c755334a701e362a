from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from chunkflow_worker.job.clipped import Clipped
from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.job.message import open_envelope
from chunkflow_worker.job.sqs import Queue
from producer.cli import main
from tests.support.damage import fill
from tests.support.finished_job import FIRST, SECOND, FinishedJob
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


def test_a_link_shows_the_boxes_by_their_state(
    job: EnqueuedJob, ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger.write(task_record(job.boxes[0]))
    assert main([*job.status, "--link"]) == 0
    [line] = capsys.readouterr().out.splitlines()
    page, _, state = line.partition("/#!")
    assert page == "https://neuroglancer-demo.appspot.com"
    layer = json.loads(unquote(state))["layers"][-1]
    done = [box["id"] for box in layer["annotations"] if box["description"].endswith(" done")]
    assert (done, len(layer["annotations"])) == ([job.boxes[0]], 8)
    assert main(["status", "--queue", "q", "--link"]) == 2
    assert "--link needs --pipeline" in capsys.readouterr().err


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
        "high": 0,
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
        "state": "running",
        "why": "",
        "by": "",
        "since": "",
        "spent": None,
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


def test_a_watch_tells_what_fails_meanwhile(
    job: EnqueuedJob,
    ledger: Ledger,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for box in job.boxes[:5]:
        ledger.write(task_record(box, "failed", error="old", final=True))
    steps = [
        lambda: ledger.write(task_record(job.boxes[7], "failed", error="new\x1b[31m\nline")),
        lambda: [ledger.write(task_record(box)) for box in job.boxes],
    ]
    monkeypatch.setattr("producer.cli.commands.status.sleep", lambda _: steps.pop(0)())
    assert main([*job.status, "--watch"]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if "failed" in line]
    assert lines[0] == "failed: 5 boxes, among them:"
    assert [line.endswith("given up: old") for line in lines[1:4]] == [True] * 3
    told = [line for line in lines if line.startswith(f"failed: box {job.boxes[7]},")]
    assert len(told) == 1
    assert told[0].endswith("will be tried again: new\\x1b[31m\\nline")


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


class TestASampleIsVerifiedAtTheEnd:
    def status(self, job: FinishedJob, *options: str) -> int:
        place = ["--queue", job.queue.name, "--pipeline", str(job.pipeline)]
        return main(["status", *place, "--watch", "--settle", "0", *options])

    def test_it_says_that_it_is_a_sample_and_of_what(
        self, finished_job: FinishedJob, capsys: pytest.CaptureFixture[str]
    ) -> None:
        capsys.readouterr()
        assert self.status(finished_job, "--verify", "1") == 0
        lines = capsys.readouterr().out.splitlines()
        (box,) = [box for box in (FIRST, SECOND) if lines[-2].endswith(box)]
        assert lines == [
            "all 2 tasks of job j are done",
            "all 1 boxes of the sample of job j are done: nothing is wrong",
            "blocks read and compared: 8",
            f"this is a sample: 1 of 2 done boxes, chosen at random: {box}",
            "nothing is known of the others; chunkflow-producer verify reads them all",
        ]
        assert self.status(finished_job, "--verify", "1") == 0
        assert capsys.readouterr().out.splitlines() == lines

    def test_what_verify_finds_is_found_in_it(
        self, finished_job: FinishedJob, capsys: pytest.CaptureFixture[str]
    ) -> None:
        fill(0.5, 1)(finished_job.blocks / "16-24_8-16_4-8")
        capsys.readouterr()
        assert self.status(finished_job) == 0
        assert "sample" not in capsys.readouterr().out
        assert self.status(finished_job, "--verify") == 1
        out = capsys.readouterr().out
        assert "1 of 2 boxes of job j are wrong, 0 not checked, 0 unreadable\n" in out
        assert "stale, in 1 box" in out
        assert "sample" not in out, "all boxes were read"

    def test_json_has_it_in_its_last_line(
        self, finished_job: FinishedJob, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (finished_job.blocks / "16-24_8-16_4-8").unlink()
        capsys.readouterr()
        assert self.status(finished_job, "--json", "--verify", "2") == 1
        *_, status, verified = map(json.loads, capsys.readouterr().out.splitlines())
        assert status["done"] == 2
        found = verified["verified"]
        assert (found["done"], found["sample"]) == (2, [FIRST, SECOND])
        assert (found["boxes"], found["wrong"]) == (2, 1)
        assert [problem["kind"] for problem in found["problems"]] == ["missing"]

    @pytest.mark.parametrize(("all_are_done", "status"), [(True, 3), (False, 1)])
    def test_the_exit_status_is_the_worse_one(
        self,
        finished_job: FinishedJob,
        all_are_done: bool,
        status: int,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        (record,) = finished_job.ledger.records([FIRST])
        finished_job.ledger.write(record.model_copy(update={"unseen": ["plugin"]}))
        if not all_are_done:
            finished_job.ledger.remove(SECOND)
        capsys.readouterr()
        assert self.status(finished_job, "--verify") == status
        out = capsys.readouterr().out
        assert "boxes where plugin may have written files, which are not checked: 1" in out
        assert ("this is a sample: 1 of 1 done boxes" in out) is not all_are_done

    def test_nothing_is_verified_if_nothing_is_done(
        self, finished_job: FinishedJob, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for box in (FIRST, SECOND):
            finished_job.ledger.remove(box)
        assert self.status(finished_job, "--verify") == 1
        assert "no box is done, so there is nothing to verify" in capsys.readouterr().out

    def test_zeros_may_be_allowed(
        self, finished_job: FinishedJob, capsys: pytest.CaptureFixture[str]
    ) -> None:
        finished_job.write_pipeline({"op": "threshold", "threshold": 300.0})
        assert finished_job.enqueue(job="k") == 0
        finished_job.work()
        assert self.status(finished_job, "--verify") == 1
        assert self.status(finished_job, "--verify", "--allow-zeros") == 0

    def test_it_needs_a_watch(
        self, finished_job: FinishedJob, capsys: pytest.CaptureFixture[str]
    ) -> None:
        line = ["status", "--queue", finished_job.queue.name, "--verify"]
        assert main([*line, "--pipeline", str(finished_job.pipeline)]) == 2
        assert "--verify needs --watch" in capsys.readouterr().err


@pytest.mark.parametrize("finished_job", ["file", "s3"], indirect=True)
def test_a_link_shows_the_volumes_that_a_browser_can_read(
    finished_job: FinishedJob, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    place = ["--queue", finished_job.queue.name, "--pipeline", str(finished_job.pipeline)]
    assert main(["status", *place]) == 0
    links = [line for line in capsys.readouterr().out.splitlines() if line.startswith("view: ")]
    if finished_job.root.startswith("file:"):
        assert links == []
        return
    [link] = links
    folder = finished_job.root.removeprefix("s3:/")
    assert all(f"{folder}/{n}%7Cneuroglancer-precomputed:" in link for n in ("in", "out"))
