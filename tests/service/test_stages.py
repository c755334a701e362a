"""A worker whose pipeline file has stages, over SQS in memory."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from chunkflow_worker.config.settings import Settings
from chunkflow_worker.errors import ConfigError
from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.job.message import open_envelope
from chunkflow_worker.job.sqs import Queue
from chunkflow_worker.job.stage import Stage
from chunkflow_worker.local_aws.stub_sqs import StubSqs
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.service.pool import Pool
from chunkflow_worker.service.worker import Worker
from tests.service.stand_ins import Chain, Check, Process, failing_with
from tests.support.queues import BOX, receive, send

MakeWorker = Callable[..., Worker]
STAGES = [Stage("net", []), Stage("masks", [], needs=("net",))]
OTHER_BOX = "0-4_0-4_8-16"


@pytest.fixture
def chains(tmp_path: Path) -> dict[str, Chain]:
    log = str(tmp_path / "log")
    net = Chain(digest="d0", ledger_path=log, models={"net.pt": "0" * 16})
    return {"net": net, "masks": Chain(digest="d1", ledger_path=log)}


def test_each_stage_has_its_ledger_and_a_net_leaves_memory_when_the_next_one_comes(
    make_worker: MakeWorker, chains: dict[str, Chain], sqs: StubSqs, queue: Queue, tmp_path: Path
) -> None:
    worker = make_worker(STAGES, chains)
    assert all(not chain.options for chain in chains.values()), "nothing is open yet"
    for stage, digest, closed in (("net", "d0", [0, 0]), ("masks", "d1", [1, 0])):
        send(sqs, queue, BOX, stage=stage, pipeline=digest)
        worker.run(receive(sqs, queue))
        assert [chain.closed for chain in chains.values()] == closed
        record = Ledger(f"{tmp_path}/log/stages/{stage}").read(BOX)
        assert record is not None
        assert record.pipeline == digest
    assert sqs.bodies(queue.url) == []
    worker.close()
    assert [chain.closed for chain in chains.values()] == [1, 1]
    assert worker.ledger.boxes() == (set(), set())


@pytest.mark.parametrize(("needs", "closed"), [((), [1, 0]), (("net",), [4, 3])])
def test_only_stages_that_run_at_the_same_time_leave_their_chains_open(
    make_worker: MakeWorker,
    chains: dict[str, Chain],
    sqs: StubSqs,
    queue: Queue,
    needs: tuple[str, ...],
    closed: list[int],
) -> None:
    worker = make_worker([Stage("net", []), Stage("masks", [], needs=needs)], chains)
    for _ in range(4):
        for stage, digest in (("net", "d0"), ("masks", "d1")):
            send(sqs, queue, BOX, stage=stage, pipeline=digest)
            worker.run(receive(sqs, queue))
    assert [chain.closed for chain in chains.values()] == closed


def test_a_chain_stays_open_while_a_task_of_it_runs(
    make_worker: MakeWorker, chains: dict[str, Chain], sqs: StubSqs, queue: Queue
) -> None:
    worker = make_worker(STAGES, chains)
    began, go_on = threading.Event(), threading.Event()

    def work(task: Task, check: Check) -> None:
        began.set()
        assert go_on.wait(10)

    chains["net"].work = work
    send(sqs, queue, BOX, stage="net")
    thread = threading.Thread(target=worker.run, args=(receive(sqs, queue),))
    thread.start()
    assert began.wait(10)
    send(sqs, queue, OTHER_BOX, stage="masks")
    worker.run(receive(sqs, queue))
    assert chains["net"].closed == 0
    go_on.set()
    thread.join(10)
    send(sqs, queue, BOX, stage="net")
    worker.run(receive(sqs, queue))
    assert chains["net"].closed == 0, "nothing else has to be opened"


def test_a_chain_that_does_not_open_fails_its_task_and_not_the_worker(
    make_worker: MakeWorker, chains: dict[str, Chain], sqs: StubSqs, queue: Queue, tmp_path: Path
) -> None:
    worker = make_worker(STAGES, chains)

    def no_open(*_: object, **__: object) -> None:
        raise ConfigError.one("em.yaml", "net", "there is no such file")

    chains["net"].open = no_open  # type: ignore[method-assign, assignment]
    send(sqs, queue, BOX, stage="net")
    worker.run(receive(sqs, queue))
    assert len(sqs.bodies(queue.dead_letter_url)) == 1
    record = Ledger(f"{tmp_path}/log/stages/net").read(BOX)
    assert record is not None
    assert "there is no such file" in record.error


def test_the_time_to_open_a_chain_is_not_that_of_its_task(
    make_worker: MakeWorker,
    chains: dict[str, Chain],
    process: Process,
    sqs: StubSqs,
    queue: Queue,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    worker = make_worker(STAGES, chains, task_time_limit=20)
    opened, started = Chain.open, list[float]()

    def open_slowly(self: Chain, *given: object, **options: object) -> object:
        sqs.clock.advance(25)
        worker.guard._watch_time()
        return opened(self, *given, **options)

    def work(task: Task, check: Check) -> None:
        started.extend(held.started for held in worker.in_hand.all())

    monkeypatch.setattr(Chain, "open", open_slowly)
    chains["net"].work = work
    send(sqs, queue, BOX, stage="net")
    worker.run(receive(sqs, queue))
    assert process.status is None
    assert started == [25]


@pytest.mark.parametrize("fields", [{"stage": "absent"}, {}, {"stage": "net", "pipeline": "d9"}])
def test_an_unknown_stage_stops_the_worker_as_a_wrong_digest_does(
    make_worker: MakeWorker,
    chains: dict[str, Chain],
    process: Process,
    sqs: StubSqs,
    queue: Queue,
    fields: dict[str, str],
) -> None:
    worker = make_worker(STAGES, chains, backoff_seconds=10)
    send(sqs, queue, BOX, **fields)
    worker.run(receive(sqs, queue))
    assert process.stops_asked_for == 1
    assert sqs.visible(queue.url) == []
    sqs.clock.advance(11)
    assert len(sqs.visible(queue.url)) == 1


def test_a_stage_of_other_workers_is_given_back_at_no_cost(
    make_worker: MakeWorker, chains: dict[str, Chain], sqs: StubSqs, queue: Queue
) -> None:
    chains["masks"].work = failing_with(AssertionError("it is not mine"))
    worker = make_worker(STAGES, chains, stages="net")
    send(sqs, queue, BOX, stage="masks")
    for _ in range(4):
        worker.run(receive(sqs, queue))
        sqs.clock.advance(6)
    (body,) = sqs.visible(queue.url)
    message, _ = open_envelope(body, queue.name)
    assert (message.stage, message.attempts) == ("masks", 0)
    assert receive(sqs, queue).attempt == 1
    assert sqs.bodies(queue.dead_letter_url) == []


def test_a_pool_has_one_queue(caplog: pytest.LogCaptureFixture) -> None:
    stages = [Stage("net", [], queue="gpu"), Stage("masks", []), Stage("mesh", [])]

    def pool(names: str) -> Pool:
        return Pool.of(Settings(queue="em", stages=names), stages)

    assert (pool("net").queue, pool("net").taken) == ("em-gpu", {"net"})
    assert (pool("masks, mesh").queue, pool("masks,mesh").taken) == ("em", {"masks", "mesh"})
    assert not caplog.messages
    assert (pool("").queue, pool("").taken) == ("em", {"net", "masks", "mesh"})
    assert {*caplog.messages} == {
        "tasks of stage net come through queue em-gpu: workers with --stages net take them"
    }
    with pytest.raises(ConfigError, match="2 queues: em, em-gpu"):
        pool("net,mesh")
    with pytest.raises(ConfigError, match="did you mean mesh"):
        pool("meshes")
