"""A producer that is killed while it sends, and run again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from chunkflow_worker.job.delivery import Delivery
from chunkflow_worker.job.grid import Grid
from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.job.sqs import Queue, receive
from chunkflow_worker.pipeline.chain import Pipeline
from chunkflow_worker.service.handler import Handler
from tests.support.aws_sqs import SqsServer, aws_sqs
from tests.support.queues import make_queue

BOXES = 600
_RUN = """
import sys
import producer.send.blocks as blocks
import producer.send.tasks as tasks
from producer.cli import main
blocks.BLOCK, tasks.DOUBT_SECONDS = 200, 1
if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def sqs() -> Iterator[SqsServer]:
    with aws_sqs() as server:
        yield server


@pytest.fixture
def queue(sqs: SqsServer) -> Queue:
    return make_queue(sqs.stub)


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    path = tmp_path / "chain.yaml"
    grid = {"op": "generate-tasks", "chunk_size": [1, 1, 1], "grid_size": [1, 1, BOXES]}
    path.write_text(yaml.safe_dump({"tasks": grid, "operators": [{"op": "create-chunk"}]}))
    return path


class HeldBack:
    """Lets so many batches through, does the next, and gives no more answers."""

    def __init__(self, sqs: SqsServer, batches: int):
        self._send, self._left = sqs.stub.send_message_batch, batches
        self.reached = threading.Event()
        self._lock = threading.Lock()
        self._sqs = sqs
        sqs.stub.send_message_batch = self  # type: ignore[method-assign,assignment]

    def __call__(self, **arguments: Any) -> Any:
        answer = self._send(**arguments)
        with self._lock:
            self._left -= 1
            is_held = self._left < 0
        if is_held:
            self.reached.set()
            self._sqs.stopped.wait(60)
        return answer

    def end(self) -> None:
        self._sqs.stub.send_message_batch = self._send  # type: ignore[method-assign]


def start(sqs: SqsServer, pipeline: Path, ledger: Ledger, *options: str) -> subprocess.Popen[str]:
    script = pipeline.with_name("run.py")
    script.write_text(_RUN)
    line = ["enqueue", "--queue", "q", "--job", "j", "--pipeline", str(pipeline)]
    return subprocess.Popen(
        [sys.executable, str(script), *line, "--ledger", ledger.path, "--threads", "4", *options],
        env=os.environ | sqs.variables | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stderr=subprocess.PIPE,
        text=True,
    )


def work(sqs: SqsServer, queue: Queue, pipeline: Path, ledger: Ledger) -> None:
    """Do all tasks in the queue as a worker does them, those too that come later."""
    chain = Pipeline.load(pipeline)
    with chain.open(recorded=True) as opened:
        handler = Handler(opened, chain.digest, ledger, "worker", 3)
        while sqs.stub.bodies(queue.url):
            for message in receive(sqs.stub, queue.url, 10, 1):
                handler.handle(Delivery.open(message, "q"))
                sqs.stub.delete_message(queue.url, message["ReceiptHandle"])


@pytest.mark.parametrize("processes", ["1", pytest.param("2", marks=pytest.mark.long)])
def test_after_a_kill_the_rest_is_sent_and_each_box_is_done_once(
    processes: str, sqs: SqsServer, queue: Queue, pipeline: Path, ledger: Ledger
) -> None:
    held = HeldBack(sqs, 33)
    first = start(sqs, pipeline, ledger, "--processes", processes)
    assert held.reached.wait(60)
    first.send_signal(signal.SIGKILL)
    first.communicate(timeout=60)
    held.end()
    before = len(sqs.stub.bodies(queue.url))
    assert 330 < before < BOXES
    second = start(sqs, pipeline, ledger, "--processes", processes)
    error = second.communicate(timeout=60)[1]
    assert second.returncode == 0, error
    assert f"of {BOXES} messages were sent before; the rest follows" in error
    doubled = len(sqs.stub.bodies(queue.url)) - BOXES
    assert 0 < doubled < BOXES
    work(sqs, queue, pipeline, ledger)
    listing = ledger.listing()
    boxes = Grid.model_validate(ledger.jobs()[0].grid).boxes()
    assert listing.done == {str(box) for box in boxes}
    assert listing.again == set(), "no box was done twice"
    assert sqs.stub.bodies(queue.url) == []
