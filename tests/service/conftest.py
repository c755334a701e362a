"""A poller and a worker on a queue in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from chunkflow_worker.config.settings import Settings
from chunkflow_worker.job.inbox import Inbox
from chunkflow_worker.job.sqs import Queue
from chunkflow_worker.job.stage import PLAIN, Stage
from chunkflow_worker.local_aws.stub_sqs import StubSqs
from chunkflow_worker.service import worker as worker_module
from chunkflow_worker.service.places import Places
from chunkflow_worker.service.poller import Poller
from chunkflow_worker.service.pool import Pool
from chunkflow_worker.service.worker import Worker
from tests.service.stand_ins import Chain, Process


@pytest.fixture
def poller(sqs: StubSqs, queue: Queue) -> Iterator[Poller]:
    made = Poller(Inbox(sqs, sqs, queue, wait_seconds=5), Places(2), clock=sqs.clock)
    yield made
    made.close()


@pytest.fixture
def chain(tmp_path: Path) -> Chain:
    return Chain(ledger_path=str(tmp_path / "log"))


@pytest.fixture
def process() -> Process:
    return Process()


@pytest.fixture
def make_worker(
    sqs: StubSqs,
    poller: Poller,
    chain: Chain,
    process: Process,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[..., Worker]]:
    """Make a worker that is open: `make_worker(**settings)`.

    of_file, chains: the stages of its pipeline file; `chain` alone when not given.
    """
    monkeypatch.setattr(worker_module, "make_client", lambda *_, **__: sqs)
    monkeypatch.setattr(worker_module.logging, "shutdown", lambda: None)
    made: list[Worker] = []

    def make(
        of_file: Sequence[Stage] = (PLAIN,), chains: dict[str, Chain] | None = None, **settings: Any
    ) -> Worker:
        defaults = {
            "metrics": "none",
            "heartbeat_seconds": 0,
            "worker_name": "worker-1",
            "spot_notice": False,
            "health_folder": str(tmp_path),
            "grace_seconds": 0,
        }
        given = Settings(**defaults | settings)
        worker = Worker(
            given,
            chains or {"": chain},  # type: ignore[arg-type]
            poller,
            Pool.of(given, of_file),
            clock=sqs.clock,
            exit_process=process.exit,
            ask_to_stop=process.ask_to_stop,
        )
        made.append(worker)
        worker.open()
        return worker

    yield make
    for worker in made:
        worker._ending.set()
        worker.close()
