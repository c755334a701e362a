from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.job.message import TaskMessage, open_envelope, pipeline_digest
from chunkflow_worker.job.sqs import Queue
from chunkflow_worker.job.z_curve import ZCurve
from chunkflow_worker.volumes.open_volume import open_volume
from chunkflow_worker.volumes.precomputed.info import create_volume
from producer.cli import main
from producer.send import blocks as module
from producer.send.batches import SendingFailed
from tests.support.finished_job import FIRST, SECOND, FinishedJob
from tests.support.records import task_record

GRID = ["-c", "2", "2", "2", "-z", "4", "4", "4"]


def write_info(folder: Path, size: tuple[int, int, int], offset: tuple[int, int, int]) -> None:
    """The info file of a volume; size and offset are xyz, and a block is as large as `size`."""
    scale = {"size": size, "voxel_offset": offset, "chunk_sizes": [size], "resolution": [1, 1, 1]}
    scale |= {"key": "1_1_1", "encoding": "raw"}
    info = {"type": "image", "data_type": "uint8", "num_channels": 1, "scales": [scale]}
    (folder / "info").write_text(json.dumps(info))


def opened(bodies: list[str], queue: Queue) -> list[TaskMessage]:
    return [open_envelope(body, queue.name)[0] for body in bodies]


def test_a_job_is_enqueued(
    queue: Queue,
    pipeline: Path,
    take_all: Callable[[str], list[str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    place = ["--queue", queue.name, "--job", "j", "--pipeline", str(pipeline)]
    assert main(["enqueue", *place, "--roi-start", "-2", "0", "0"]) == 0
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
    write_info(tmp_path, (40, 30, 20), (5, 0, -10))
    grid = ["-v", str(tmp_path), "-m", "0", "-c", "10", "10", "10"]
    assert main(["enqueue", "--queue", "q", *grid, "--dry-run"]) == 0
    assert "24 tasks, from -10-0_0-10_5-15 to 0-10_20-30_35-45" in capsys.readouterr().err


SHARED = ["-c", "1", "2", "2"], "box 0-1_0-2_0-2 would share blocks"
OUTSIDE = ["-b", "8-10_0-2_0-2"], "box 8-10_0-2_0-2 is outside"


@pytest.mark.parametrize(("options", "why"), [SHARED, OUTSIDE])
def test_boxes_that_workers_would_refuse_are_sent_only_by_force(
    options: list[str], why: str, pipeline: Path, queue: Queue, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["enqueue", "--queue", queue.name, "--pipeline", str(pipeline), *options]
    assert main(line) == 2
    error = capsys.readouterr().err
    assert f"error: workers would refuse these boxes: boxes: {why}" in error
    assert "--force" in error
    assert main([*line, "--force"]) == 0
    told = capsys.readouterr()
    assert f"note: workers will refuse these boxes: boxes: {why}" in told.err
    assert "--force" not in told.err
    assert told.out.startswith("enqueued")


NOTHING = "path: there is no volume here"


@pytest.mark.parametrize(
    ("operator", "problem", "cure"),
    [
        ("load-precomputed, volume_path: {}/in", "the input {}/in: " + NOTHING, "check the path"),
        ("load-precomputed, volume_path: {}, mip: 2", "the input {}: mip: 2 does not exist",
         "the volume has mip 0 alone"),
        ("save-precomputed, volume_path: {}/out", "the output {}/out: " + NOTHING,
         "create-volume"),
        ("downsample-upload, volume_path: {}/out", "the output {}/out: " + NOTHING,
         "create-volume"),
        ("mask, volume_path: {}/mask", "the volume {}/mask: there is none here", "check the path"),
        ("inference, mask_volume_path: {}/mask", "the volume {}/mask: there is none here",
         "check the path"),
    ],
)  # fmt: skip
def test_volumes_that_are_not_there_are_found_before_anything_is_sent(
    operator: str,
    problem: str,
    cure: str,
    pipeline: Path,
    queue: Queue,
    take_all: Callable[[str], list[str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    place = f"file://{tmp_path}"
    with pipeline.open("a") as file:
        file.write(f"- {{op: {operator.format(place)}}}\n")
    ledger = ["--ledger", str(tmp_path / "log")]
    line = ["enqueue", "--queue", queue.name, "--pipeline", str(pipeline), *ledger]
    assert main(line) == 2
    error = capsys.readouterr().err
    assert problem.format(place) in error
    assert cure in error
    assert error.rstrip().endswith("; --force sends them all the same")
    assert take_all(queue.url) == []
    assert main([*line, "--force"]) == 0
    assert len(take_all(queue.url)) == 8


def test_a_volume_that_the_chain_creates_itself_is_not_missed(
    pipeline: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pipeline.open("a") as file:
        for op in ("create-info", "load-precomputed"):
            file.write(f"- {{op: {op}, volume_path: '{tmp_path}/made'}}\n")
    assert main(["enqueue", "--queue", "q", "--pipeline", str(pipeline), "--dry-run"]) == 0


def test_a_chain_whose_records_have_no_place_is_refused(
    pipeline: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline.write_text(pipeline.read_text().replace("save-precomputed, volume_path", "save-h5, f"))
    line = ["enqueue", "--queue", "q", "--pipeline", str(pipeline), "--dry-run"]
    assert main(line) == 2
    assert "give --ledger" in capsys.readouterr().err
    assert main([*line, "--ledger", str(tmp_path / "log")]) == 0
    assert main([*line, "--force"]) == 0


def test_a_whole_volume_is_not_one_task_by_accident(
    pipeline: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["enqueue", "--queue", "q", "-v", str(tmp_path), "--dry-run"]
    assert main(line) == 2
    error = capsys.readouterr().err
    assert f"all 96 voxels of {tmp_path} would be one task" in error
    assert "for one task, --chunk-size 6 4 4" in error
    assert main([*line, "-c", "6", "4", "4"]) == 0
    assert main([*line, "-b", "0-4_0-4_0-4"]) == 0, "a box that is named is one task"
    assert "2 tasks" not in capsys.readouterr().err


def test_a_job_without_records_is_pointed_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["enqueue", "--queue", "q", *GRID, "--dry-run"]
    assert main(line) == 0
    assert "note: without --pipeline or --ledger the job is not recorded" in capsys.readouterr().err
    assert main([*line, "--ledger", str(tmp_path / "log")]) == 0
    assert "note" not in capsys.readouterr().err


def test_a_dry_run_needs_no_queue(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    place = ["--queue", "q", "--job", "j", "--ledger", str(tmp_path / "log")]
    grid = ["-b", "-4-0_0-2_0-2", "-c", "2", "2", "2"]
    assert main(["enqueue", *place, *grid, "--dry-run"]) == 0
    assert capsys.readouterr().out == (
        "2 tasks of job j\nfirst -4--2_0-2_0-2\nlast  -2-0_0-2_0-2\nnothing was sent\n"
    )
    assert not (tmp_path / "log").exists()


def test_a_missing_queue_is_not_created(
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


def test_the_user_is_warned_of_boxes_that_are_done(
    queue: Queue, ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger.write(task_record("0-2_0-2_0-2"))
    assert main(["enqueue", "--queue", queue.name, "--ledger", ledger.path, *GRID]) == 0
    assert "count as done" in capsys.readouterr().err


def test_the_user_is_warned_when_a_job_is_sent_again(
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
        patched.setattr("producer.send.blocks.send", send)
        assert main([*line, "-i", "2"]) == 1
    error = capsys.readouterr().err
    assert "error: 6 messages were sent, then: SQS is tired" in error
    assert "to send the rest, repeat the command with --job j\n" in error
    assert main([*line, "-i", "2"]) == 0
    assert "job j: 3 of 6 messages were sent before" in capsys.readouterr().err
    assert [job.tasks for job in ledger.jobs()] == [6]
    assert main([*line, "-i", "2"]) == 0
    assert "were sent before" not in capsys.readouterr().err, "it is sent a second time"


def test_a_z_curve_is_resumed_in_its_order_and_sends_each_box_once(
    queue: Queue,
    ledger: Ledger,
    take_all: Callable[[str], list[str]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("producer.send.blocks.BLOCK", 4)
    monkeypatch.setattr("producer.send.tasks.DOUBT_SECONDS", 0)
    real, blocks = module.send, []

    def send(*given: Any, **more: Any) -> int:
        if len(blocks) == 2:
            raise KeyboardInterrupt  # the note says that the third block may have been sent
        blocks.append(given)
        return real(*given, **more)

    grid = ["-c", "2", "2", "2", "-g", "3", "3", "3"]
    line = ["enqueue", "--queue", queue.name, "--job", "j", "--ledger", ledger.path, *grid]
    with monkeypatch.context() as patched:
        patched.setattr(module, "send", send)
        assert main([*line, "--order", "z-curve"]) == 130
    first = {message.bbox for message in opened(take_all(queue.url), queue)}
    assert first == set(islice(ZCurve(ledger.jobs()[0].boxes()).texts(), 8))
    assert main(line) == 0
    assert "the rest is sent with --order z-curve" in capsys.readouterr().err
    rest = opened(take_all(queue.url), queue)
    boxes = [*first, *(message.bbox for message in rest)]
    assert sorted(boxes) == sorted(map(str, ledger.jobs()[0].boxes()))
    assert sum(message.attempts for message in rest) == 4, "a worker looks whether these are done"
    assert ledger.jobs()[0].order == "z-curve"


def test_a_z_curve_without_a_ledger_cannot_be_resumed(
    queue: Queue, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def send(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("producer.send.blocks.send", send)
    line = ["enqueue", "--queue", queue.name, "--job", "j", "--order", "z-curve"]
    assert main([*line, *GRID]) == 130
    assert "repeat the command with --job j to send them all again" in capsys.readouterr().err


def test_an_interrupt_ends_quietly_and_says_how_to_resume(
    queue: Queue, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def send(*_: Any, sent: Callable[[int], None], **__: Any) -> None:
        sent(4)
        raise KeyboardInterrupt

    monkeypatch.setattr("producer.send.blocks.send", send)
    assert main(["enqueue", "--queue", queue.name, "--job", "j", *GRID]) == 130
    error = capsys.readouterr().err
    assert "--job j --task-index-start 4" in error
    assert "Traceback" not in error


def test_skip_done_sends_what_is_not_done_or_lost_its_blocks(
    finished_job: FinishedJob, capsys: pytest.CaptureFixture[str]
) -> None:
    """Named defect of the peer: enqueueing again doubled every task."""
    job = finished_job
    assert job.enqueue("--skip-done", job="again") == 0
    assert "enqueued 0 of 2 tasks of job again" in capsys.readouterr().out
    assert job.work() == []
    (job.blocks / "16-24_8-16_4-8").unlink()
    assert job.enqueue("--skip-done", "--dry-run", job="again") == 0
    assert "2 tasks of job again, 1 of them already done" in capsys.readouterr().out
    assert job.ledger.is_done(SECOND)
    assert job.enqueue("--skip-done", job="again") == 0
    assert "enqueued 1 of 2 tasks of job again" in capsys.readouterr().out
    assert not job.ledger.is_done(SECOND)
    assert job.work() == [SECOND]
    job.write_pipeline({"op": "threshold", "threshold": 100.0})
    assert job.enqueue("--skip-done", job="other") == 0
    assert job.work() == [FIRST, SECOND], "another pipeline did them"


def test_skip_done_tells_what_it_cannot_call_done(
    finished_job: FinishedJob, capsys: pytest.CaptureFixture[str]
) -> None:
    """A block that was written again after the record may be right or not."""
    job = finished_job
    block = job.blocks / "16-24_8-16_4-8"
    after = block.stat().st_mtime + 5
    os.utime(block, (after, after))
    assert job.enqueue("--skip-done", "--dry-run", job="again") == 0
    said = capsys.readouterr()
    assert "2 tasks of job again, 1 of them already done" in said.out
    note = "the output of 1 box that the ledger has as done is not-checked: sent again"
    assert note in said.err
    assert f"for example {SECOND}: {job.root}/out: written again after the record" in said.err
    assert job.enqueue("--skip-done", "--trust-records", "--dry-run", job="again") == 0
    said = capsys.readouterr()
    assert "2 tasks of job again, 2 of them already done" in said.out
    assert "left out, as the records say" in said.err
    (job.blocks / "16-24_0-8_0-4").unlink()
    assert job.enqueue("--skip-done", "--trust-records", "--dry-run", job="again") == 0
    assert "1 of them already done" in capsys.readouterr().out, "a block is missing"


def test_boxes_where_a_mask_is_zero_are_not_sent_and_not_missed(
    queue: Queue,
    pipeline: Path,
    take_all: Callable[[str], list[str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    mask = str(tmp_path / "mask")
    size = BoundingBox.parse("0-4_0-4_0-4")
    voxel_size, block = (1, 1, 1), Vec3(4, 4, 4)
    create_volume(mask, bounds=size, voxel_size=voxel_size, block_size=block, dtype="uint8")
    voxels = np.zeros(size.size, np.uint8)
    voxels[0, 0, 0] = voxels[3, 3, 3] = 1
    open_volume(mask).write(size, voxels)
    place = ["--queue", queue.name, "--pipeline", str(pipeline), "--job", "j"]
    grid = ["-v", str(tmp_path), "-s", "0", "0", "0"]
    line = ["enqueue", *place, *grid, "--mask-volume-path", mask]
    assert main(line) == 0
    told = capsys.readouterr()
    assert told.out.startswith("enqueued 2 tasks of job j")
    assert "2 tasks, from 0-2_0-2_0-2 to 2-4_2-4_2-4; 6 other boxes are empty" in told.err
    bodies = take_all(queue.url)
    messages = [open_envelope(body, queue.name)[0] for body in bodies]
    assert sorted(message.bbox for message in messages) == ["0-2_0-2_0-2", "2-4_2-4_2-4"]
    Ledger(str(tmp_path / "log")).write(task_record("0-2_0-2_0-2"))
    main(["status", "--queue", queue.name, "--ledger", str(tmp_path / "log"), "--json"])
    status = json.loads(capsys.readouterr().out)
    assert (status["total"], status["done"], status["missing"]) == (2, 1, 1)


def test_options_of_a_mask_need_a_mask(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["enqueue", "--queue", "q", *GRID, "--mask-mip", "2"]) == 2
    assert "need mask_volume_path" in capsys.readouterr().err


def test_some_boxes_of_a_job_are_sent_again(
    queue: Queue,
    pipeline: Path,
    take_all: Callable[[str], list[str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    line = ["enqueue", "--queue", queue.name, "--pipeline", str(pipeline), "--job", "j"]
    assert main(line) == 0
    assert len(take_all(queue.url)) == 8
    file = tmp_path / "again.txt"
    file.write_text("2-4_2-4_2-4\n0-2_0-2_2-4\n")
    assert main([*line, "--boxes", str(file)]) == 0
    assert "enqueued 2 tasks of job j" in capsys.readouterr().out
    bodies = take_all(queue.url)
    messages = [open_envelope(body, queue.name)[0] for body in bodies]
    assert sorted(message.bbox for message in messages) == ["0-2_0-2_2-4", "2-4_2-4_2-4"]
    (job,) = Ledger(str(tmp_path / "log")).jobs()
    assert job.tasks == 8, "the job still has all its boxes"
    file.write_text("2-4_2-4_2-4\n0-2_0-2_1-3\n0-2\n")
    assert main([*line, "--boxes", str(file)]) == 2
    assert "line 3: '0-2' is not a box" in capsys.readouterr().err
    file.write_text("2-4_2-4_2-4\n0-2_0-2_1-3\n")
    assert main([*line, "--boxes", str(file)]) == 2
    assert "line 2: 0-2_0-2_1-3 is not a box of the job" in capsys.readouterr().err
    assert take_all(queue.url) == []
