"""With --keep-going, a bad box costs no other box, and the ledger says what became of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from chunkflow_worker.cli.local import LocalOptions, run_here
from chunkflow_worker.errors import ConfigError, RetryableError, StorageRefused
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.pipeline.chain import Pipeline
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.volumes.precomputed.info import create_volume
from producer.cli import main as producer
from tests.cli.test_local import Chain, Check, Source, tasks

MAIN = "from chunkflow_worker.cli.chunkflow import main; main()"


def keep_going(work: object, made: list[Task], ledger: Path) -> None:
    options = LocalOptions(keep_going=True, ledger=str(ledger), job="mine")
    run_here(Chain(work, Source(made)), None, options)  # type: ignore[arg-type]


def test_a_box_that_fails_is_recorded_and_the_others_are_done(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def work(task: Task, check: Check) -> None:
        assert task.bbox is not None
        if task.bbox.start.z == 1:
            raise ValueError("broken")

    with pytest.raises(
        RetryableError, match=r"(?s)1 of 4 boxes failed here.*--ledger file:"
    ) as end:
        keep_going(work, tasks(4), tmp_path)
    assert "chunkflow-producer failures" in str(end.value)
    ledger = Ledger(str(tmp_path))
    states = [ledger.read(task.bbox) for task in tasks(4) if task.bbox]
    assert [(r.state, r.final, r.job) for r in states if r] == [
        ("done", False, "mine"),
        ("failed", True, "mine"),
        ("done", False, "mine"),
        ("done", False, "mine"),
    ]
    assert states[1] is not None
    assert states[1].error == "broken"
    assert any("ValueError: broken" in line for line in states[1].log)
    assert [(job.job, job.tasks, job.queue) for job in ledger.jobs()] == [("mine", 4, "")]
    assert "failed 1-2_0-100_0-100, attempt 1, no further attempt: broken" in caplog.text


def test_what_would_meet_all_boxes_ends_the_run(tmp_path: Path) -> None:
    def work(task: Task, check: Check) -> None:
        raise StorageRefused("no credentials")

    with pytest.raises(StorageRefused):
        keep_going(work, tasks(3), tmp_path)
    assert len(Ledger(str(tmp_path)).boxes()[1]) < 3


def test_failures_need_a_place() -> None:
    chain = Pipeline.parse({"operators": [{"op": "create-chunk"}]}, "p")
    with pytest.raises(ConfigError, match="give --ledger"):
        run_here(chain, None, LocalOptions(keep_going=True))


POISON, KILLED = "16-32_16-32_16-32", "32-48_0-16_0-16"
PLUGIN = f"""
import os, time
from pathlib import Path

def execute(chunk):
    box = str(chunk.bbox)
    with open("runs.txt", "a") as file:
        file.write(f"{{box}} {{os.getpid()}}\\n")
    if box == "{POISON}":
        raise ValueError("a poison box")
    if box == "{KILLED}" and not os.path.exists("killed"):
        Path("killed").write_text(str(os.getpid()))
        while not os.path.exists("released"):
            time.sleep(0.05)
    time.sleep(0.2)
    return chunk
"""


@pytest.fixture
def list_of_boxes(tmp_path: Path) -> Path:
    """A pipeline file whose ledger is at its default place, and 27 boxes in a file."""
    bounds = BoundingBox.parse("0-48_0-48_0-48")
    create_volume(
        f"file://{tmp_path}/out",
        bounds=bounds,
        voxel_size=(8, 8, 8),
        block_size=Vec3(16, 16, 16),
        dtype="uint8",
    )
    boxes = [
        str(BoundingBox.sized(Vec3(z, y, x), Vec3(16, 16, 16)))
        for z in (0, 16, 32)
        for y in (0, 16, 32)
        for x in (0, 16, 32)
    ]
    (tmp_path / "boxes.txt").write_text("\n".join(boxes))
    (tmp_path / "slow.py").write_text(PLUGIN)
    (tmp_path / "p.yaml").write_text(
        "operators:\n- {op: create-chunk}\n"
        f"- {{op: plugin, file: {tmp_path}/slow, input_names: chunk, output_names: chunk}}\n"
        f"- {{op: save-precomputed, volume_path: 'file://{tmp_path}/out'}}\n"
    )
    return tmp_path


@pytest.mark.slow
def test_three_processes_share_a_list_and_one_is_killed(
    list_of_boxes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each box is done once, but for the one that was killed, and the one that always fails."""
    folder = list_of_boxes
    line = ["--pipeline=p.yaml", "--keep-going", "--job=cells", "fetch-task-from-file"]
    line += ["-f", "boxes.txt", "--leases", "leases", "--lease-seconds", "5"]
    element = [sys.executable, "-c", MAIN, *line]
    elements = [subprocess.Popen(element, cwd=folder, stderr=subprocess.PIPE) for _ in range(3)]
    while not (folder / "killed").exists() or not (folder / "killed").read_text():
        assert any(one.poll() is None for one in elements)
        _wait(0.05)
    os.kill(int((folder / "killed").read_text()), signal.SIGKILL)
    texts = [one.communicate(timeout=120)[1].decode() for one in elements]
    statuses = [one.returncode for one in elements]
    assert sorted(statuses) == [-9, 0, 1], texts

    runs = [run.split()[0] for run in (folder / "runs.txt").read_text().splitlines()]
    often = {box: runs.count(box) for box in set(runs)}
    assert len(often) == 27
    in_the_killed = {box for box, count in often.items() if count > 1} - {POISON}
    assert KILLED in in_the_killed
    assert len(in_the_killed) <= 2, "no more than were in flight there"
    assert often[POISON] == 3

    place = ["--pipeline", str(folder / "p.yaml")]
    assert producer(["status", *place, "--json"]) == 0
    status = json.loads(capsys.readouterr().out)
    assert (status["queue"], status["waiting"], status["job"]) == ("", None, "cells")
    counts = [status[name] for name in ("total", "done", "failed", "dead", "missing", "twice")]
    assert counts == [27, 26, 1, 1, 0, 0]
    assert producer(["failures", "--ledger", f"{folder}/out/log"]) == 0
    failures = capsys.readouterr().out
    assert f"{POISON}, job cells, given up, 3 attempts, worker local-" in failures
    assert "ValueError: a poison box" in failures
    assert producer(["verify", *place]) == 1
    verified = capsys.readouterr().out
    assert "1 of 27 boxes of job cells are wrong" in verified
    assert "blocks read and compared: 26" in verified
    assert producer(["wait", *place]) == 1
    assert producer(["status", *place, "--watch"]) == 1


def _wait(seconds: float) -> None:
    signal.sigtimedwait([], seconds)
