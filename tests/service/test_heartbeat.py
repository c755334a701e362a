"""The heartbeat of a worker: what it says, and that nothing of it disturbs a task."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chunkflow_worker.config.settings import Settings
from chunkflow_worker.errors import ConfigError, StorageUnavailable
from chunkflow_worker.job.heartbeat import HEARTBEAT_SECONDS, Heartbeat, Heartbeats
from chunkflow_worker.job.sqs import Queue
from chunkflow_worker.local_aws.stub_sqs import StubSqs
from chunkflow_worker.machine.nvml import GpuFigures
from chunkflow_worker.pipeline.task import SkipTask, Task
from chunkflow_worker.report.events import OperatorFinished, OperatorStarted, publish
from chunkflow_worker.service import heartbeat as module
from chunkflow_worker.service.metrics import About
from chunkflow_worker.service.worker import Worker
from tests.service.stand_ins import Chain, Check, failing_with
from tests.support.queues import BOX, receive


@pytest.fixture
def beating(make_worker: Callable[..., Worker]) -> Iterator[Worker]:
    worker = make_worker(heartbeat_seconds=3600)
    yield worker
    worker.close()


def heart(worker: Worker) -> module.HeartbeatWriter:
    assert worker._heart is not None
    return worker._heart


def test_it_tells_the_box_in_hand_and_the_operator_that_runs(
    beating: Worker, chain: Chain, sqs: StubSqs, queue: Queue
) -> None:
    told: list[Heartbeat] = []

    def work(task: Task, check: Check) -> None:
        told.append(heart(beating).now())
        publish(OperatorStarted("inference", task.bbox), beating._subscribers)
        sqs.clock.advance(4)
        told.append(heart(beating).now())
        publish(OperatorFinished("inference", task.bbox, 4), beating._subscribers)
        told.append(heart(beating).now())

    chain.work = work
    beating.run(receive(sqs, queue, BOX))
    before, during, after = told
    assert [beat.in_hand[0].operator for beat in told] == ["", "inference", ""]
    (box,) = during.in_hand
    assert (box.job, box.bbox, box.attempt) == ("job", BOX, 1)
    assert box.seconds == box.operator_seconds == 4
    assert before.in_hand[0].lease - box.lease == 4
    assert (during.worker, during.queue, during.pipeline) == ("worker-1", "q", "d1")
    assert during.device
    assert during.memory > 10**6
    assert during.zone == ""
    assert after.phase == "running"
    assert heart(beating).now().in_hand == ()


def test_it_counts_what_became_of_boxes(
    beating: Worker, chain: Chain, sqs: StubSqs, queue: Queue
) -> None:
    beating.run(receive(sqs, queue, BOX))
    chain.work = failing_with(ValueError("no"))
    beating.run(receive(sqs, queue, "0-4_0-4_8-16"))
    chain.work = failing_with(SkipTask("empty"))
    beating.run(receive(sqs, queue, "0-4_0-4_16-24"))
    now = heart(beating).now()
    assert (now.done, now.failed, now.skipped) == (1, 1, 1)


def test_it_is_there_while_the_worker_runs(
    make_worker: Callable[..., Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    written = threading.Event()
    write = Heartbeats.write

    def and_tell(self: Heartbeats, heartbeat: Heartbeat) -> None:
        write(self, heartbeat)
        written.set()

    monkeypatch.setattr(Heartbeats, "write", and_tell)
    worker = make_worker(heartbeat_seconds=3600)
    assert written.wait(20)
    heartbeats = Heartbeats(worker.ledger.path)
    assert [beat.heartbeat.worker for beat in heartbeats.all()] == ["worker-1"]
    worker.close()
    assert heartbeats.all() == []


def test_storage_that_is_away_is_logged_once_and_fails_no_task(
    make_worker: Callable[..., Worker],
    sqs: StubSqs,
    queue: Queue,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    tries = threading.Semaphore(0)

    def away(*_: object) -> None:
        tries.release()
        raise StorageUnavailable("storage is away")

    for name in ("write", "delete", "forget_old"):
        monkeypatch.setattr(Heartbeats, name, away)
    worker = make_worker(heartbeat_seconds=1)
    for _ in range(3):
        assert tries.acquire(timeout=20)
    worker.run(receive(sqs, queue, BOX))
    assert worker.ledger.is_done(BOX)
    worker.close()
    (warning,) = [text for text in caplog.messages if "heartbeats" in text]
    assert "storage (heartbeats) does not answer, retrying: storage is away" in warning


def test_storage_that_hangs_does_not_keep_a_worker_from_ending(
    make_worker: Callable[..., Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs, go_on = threading.Event(), threading.Event()

    def hang(*_: object) -> None:
        hangs.set()
        go_on.wait(60)

    monkeypatch.setattr(Heartbeats, "write", hang)
    monkeypatch.setattr(module, "_CLOSING_SECONDS", 0.0)
    worker = make_worker(heartbeat_seconds=3600)
    assert hangs.wait(20)
    heart(worker).close(0.01)
    assert heart(worker)._thread.is_alive()
    go_on.set()
    heart(worker)._thread.join(20)


def test_plans_and_workers_have_the_same_interval() -> None:
    assert Settings.model_fields["heartbeat_seconds"].default == HEARTBEAT_SECONDS


def test_the_gpu_and_the_zone_are_told_where_they_are_known(
    beating: Worker, tmp_path: Path
) -> None:
    class Meter:
        def read(self) -> GpuFigures:
            return GpuFigures("A10", 5, 24, None)

    settings = Settings(spot_notice=True, heartbeat_seconds=3600, worker_name="w")
    heartbeats = Heartbeats(str(tmp_path / "other"))
    writer = module.HeartbeatWriter(
        settings,
        heartbeats,
        beating.in_hand,
        About("A10", "q", "d"),
        lambda: "running",
        gpu=Meter(),  # type: ignore[arg-type]
        find_zone=lambda: "us-east-1a",
    )
    deleted: list[Heartbeat] = []
    heartbeats.delete = lambda worker: deleted.extend(  # type: ignore[method-assign]
        beat.heartbeat for beat in heartbeats.all()
    )
    writer.start()
    writer.close(60)
    (beat,) = deleted
    assert beat.zone == "us-east-1a"
    assert beat.gpu is not None
    assert (beat.gpu.memory_total, beat.gpu.utilization) == (24, None)


def test_heartbeats_may_be_off_but_not_many_a_second(make_worker: Callable[..., Worker]) -> None:
    worker = make_worker(heartbeat_seconds=0)
    assert worker._heart is None
    with pytest.raises(ConfigError, match="at least 1"):
        Settings.load(heartbeat_seconds=0.5)
