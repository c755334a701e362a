"""Jobs of several stages, by the real commands and workers."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.job.ledger import Ledger
from producer.cli import main as run_producer
from tests.support.forked import Forked
from tests.support.run_command import Finished, run_command
from tests.support.service import BLOCK, Service

pytestmark = pytest.mark.e2e

SIZE = Vec3(16, 128, 192)  # 1 x 2 x 3 boxes: waves of 2 and of 1 region
WAVES = ["0-16_0-128_0-128", "0-16_0-128_128-192", "0-16_0-128_0-192"]
FAILS = "0-16_64-128_64-128"


def grid(service: Service) -> dict[str, Any]:
    return {"op": "generate-tasks", "volume_path": service.path("in"), "chunk_size": [*BLOCK]}


def write(service: Service, middle: dict[str, Any]) -> None:
    """Threshold by box, gather in a tree, and save once more; verify what was saved first."""

    def load(name: str) -> dict[str, Any]:
        return {"op": "load-precomputed", "volume_path": service.path(name)}

    def save(name: str) -> dict[str, Any]:
        return {"op": "save-precomputed", "volume_path": service.path(name)}

    gathered = {"op": "save-npy", "file_name": f"{service.root}/gathered/"}
    stages = [
        {"name": "masks", "operators": [load("in"), middle, save("out")]},
        {"name": "gather", "tasks": {"tree_of": "masks"}, "operators": [load("out"), gathered]},
        {"name": "copy", "operators": [load("out"), save("whole")], "needs": ["gather"]},
    ]
    stages[0] |= {"verify": True}
    made = [{"tasks": grid(service)} | stage for stage in stages]
    service.pipeline.write_text(yaml.safe_dump({"stages": made}))


def ledger(service: Service, stage: str) -> Ledger:
    return Ledger(f"{service.path('whole')}/log/stages/{stage}")


def line(service: Service, *options: str) -> list[str]:
    quick = ["--interval", "0.2", "--settle", "3"]
    return ["run", str(service.pipeline), "--queue", service.queue, *quick, *options]


def run(service: Service, *options: str) -> Finished:
    """Run the command in this process."""
    words = line(service, *options)
    return run_command(lambda: run_producer(words), environment=service.environment)


def start(service: Service, name: str) -> tuple[Forked, Path]:
    """Run the command in another process; also returns the file of its output."""
    log = service.root / name
    return Forked(service.environment, log, "chunkflow-producer", *line(service)), log


def attempts(service: Service, *stages: str) -> Counter[int]:
    """How many attempts the boxes of stages took, also those of boxes that were done again."""
    made: Counter[int] = Counter()
    for stage in stages:
        records = ledger(service, stage)
        made.update(record.attempts for record in records.records(records.listing().done))
        assert records.listing().again == set()
    return made


def test_a_job_of_three_stages_is_brought_to_its_end_by_two_who_run_it(service: Service) -> None:
    service.volumes(SIZE)
    write(service, {"op": "threshold", "threshold": 128})
    service.create_queue()
    service.start_worker(in_flight=2)
    for process, log in [start(service, name) for name in ("first.log", "second.log")]:
        assert process.wait(120) == 0, log.read_text()
        *_, masks, gather, copy, shown = log.read_text().splitlines()
        assert shown.startswith("view: chunkflow look ")
        assert [masks, gather, copy] == [
            "stage masks: done, 6 of 6 boxes done",
            "stage gather: done, 3 of 3 boxes done",
            "stage copy: done, 6 of 6 boxes done",
        ]
    assert attempts(service, "masks", "gather", "copy") == {1: 15}, "nothing was sent twice"
    assert service.messages() == (0, 0, 0)
    expected = (service.input() > 128).astype(np.uint8)
    np.testing.assert_array_equal(service.read("whole"), expected)
    for box in map(BoundingBox.parse, WAVES):
        found = np.load(f"{service.root}/gathered/{box}.npy")
        np.testing.assert_array_equal(found.squeeze(), expected[box.slices()])
    records = ledger(service, "gather")
    before = max(record.finished for record in records.records(WAVES[:2]))
    after = min(record.started for record in records.records(WAVES[2:]))
    assert before <= after, "a wave begins when the one before is complete"
    again = run(service)
    assert again.status == 0
    assert "sends" not in again.stderr
    place = ["--pipeline", str(service.pipeline)]
    said = service.producer("verify", *place)
    jobs = ["masks", "gather.1", "gather.2", "copy"]
    assert [f"job pipeline.{job} are done: nothing is wrong" in said for job in jobs] == [True] * 4
    assert "== stage gather, pipeline.gather.2 ==" in service.producer("status", *place)
    one = service.producer("status", *place, "--stage", "copy", "--json")
    assert json.loads(one)["job"] == "pipeline.copy"


def test_a_stage_that_fails_stops_those_that_need_it_until_it_is_redriven(
    service: Service,
) -> None:
    service.volumes(SIZE)
    failing = service.root / "failing"
    failing.write_text(FAILS)
    write(service, {"op": "fail", "file": str(failing), "words": "no luck"})
    service.create_queue(max_receives=2)
    service.start_worker()
    failed = run(service)
    assert failed.status == 1, failed.stderr
    assert "stage masks: failed, 5 of 6 boxes done, 1 box not done, 1 given up" in failed.stdout
    assert "stage gather: waits for masks (failed)" in failed.stdout
    assert "no luck" in failed.stdout
    assert not ledger(service, "gather").has_jobs()
    (cure,) = (said for said in failed.stdout.splitlines() if "redrive" in said)
    failing.write_text("")
    words = shlex.split(cure.partition("chunkflow-producer ")[2])
    assert "sent 1 dead letters back" in service.producer(*words)
    done = run(service)
    assert done.status == 0, done.stderr + done.stdout
    assert attempts(service, "gather", "copy") == {1: 9}
    np.testing.assert_array_equal(service.read("whole"), service.input())


@pytest.mark.slow
def test_each_pool_of_workers_gets_only_the_tasks_of_its_stages(service: Service) -> None:
    service.volumes(SIZE)
    write(service, {"op": "threshold", "threshold": 128})
    content = yaml.safe_load(service.pipeline.read_text())
    content["stages"][0]["queue"] = "gpu"
    service.pipeline.write_text(yaml.safe_dump(content))
    service.create_queue()
    service.producer("queue", "create", f"{service.queue}-gpu")
    service.start_worker(stages="masks", worker_name="gpu")
    service.start_worker(worker_name="cpu")
    done = run(service)
    assert done.status == 0, done.stderr + done.stdout
    for stage, pool in (("masks", "gpu"), ("gather", "cpu"), ("copy", "cpu")):
        records = ledger(service, stage)
        workers = {record.worker for record in records.records(records.listing().done)}
        assert workers == {pool}
    assert "stage gather" not in (service.root / "worker-0.log").read_text()


@pytest.mark.slow
def test_a_stage_is_verified_again_when_boxes_of_it_were_done_again(service: Service) -> None:
    service.volumes(SIZE)
    write(service, {"op": "threshold", "threshold": 128})
    service.create_queue()
    service.start_worker()
    assert run(service, "--only", "masks").status == 0
    assert "verifies" not in run(service, "--only", "masks").stderr, "it is noted"
    (block,) = service.root.glob("out/8_8_40/0-64_0-64_0-16*")
    block.unlink()
    place = ["--pipeline", str(service.pipeline), "--stage", "masks"]
    service.producer("verify", *place, "--enqueue")
    again = run(service, "--only", "masks")
    assert again.status == 0, again.stderr + again.stdout
    assert "stage masks: verifies, 6 of 6 boxes done" in again.stderr


@pytest.mark.long
def test_run_goes_on_after_a_kill_wherever_it_was(service: Service) -> None:
    service.volumes(SIZE)
    write(service, {"op": "hold", "folder": str(service.root)})
    service.create_queue()
    service.start_worker()
    killed, _ = start(service, "killed.log")
    service.wait(lambda: service.starts(), "a task has begun")
    killed.kill()
    killed.wait(30)
    service.go()
    assert run(service, "--until", "masks").status == 0
    assert not ledger(service, "gather").has_jobs()
    done = run(service)
    assert done.status == 0, done.stderr
    assert attempts(service, "masks", "gather", "copy") == {1: 15}
    assert Path(f"{service.root}/gathered/{WAVES[2]}.npy").exists()


@pytest.mark.slow
def test_a_stage_whose_chain_has_changed_is_done_again_with_those_that_need_it(
    service: Service,
) -> None:
    service.volumes(SIZE)
    write(service, {"op": "threshold", "threshold": 128})
    service.create_queue()
    worker = service.start_worker()
    assert run(service).status == 0
    text = service.pipeline.read_text()
    worker.terminate()
    worker.wait(30)
    content = yaml.safe_load(text)
    content["stages"][1]["operators"].insert(1, {"op": "threshold", "threshold": 0})
    service.pipeline.write_text(yaml.safe_dump(content))
    service.start_worker()
    changed = run(service)
    assert changed.status == 2
    assert "--redo gather" in changed.stderr
    again = run(service, "--redo", "gather", "--yes")
    assert again.status == 0, again.stderr
    assert "forgot what was done of gather, copy" in again.stderr
    assert "stage masks: sends" not in again.stderr
