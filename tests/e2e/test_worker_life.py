"""What happens to tasks when workers are killed or stopped, or take long."""

from __future__ import annotations

import signal
import time

import numpy as np
import pytest

from chunkflow_worker.image.bbox import Vec3
from tests.support.service import Service

pytestmark = pytest.mark.e2e

LEASE_SECONDS = 4


def test_killed_worker_loses_nothing(service: Service) -> None:
    service.volumes(Vec3(16, 64, 128))
    service.chain({"op": "hold", "folder": str(service.root)})
    service.create_queue()
    service.enqueue()
    victim = service.start_worker()
    service.wait(lambda: service.starts(), "a task started")
    victim.kill()
    victim.wait()
    service.go()
    service.start_worker()
    service.wait_done(2)
    assert np.array_equal(service.output(), service.input())
    assert sorted(r.attempts for r in service.records()) == [1, 2]
    service.wait(lambda: service.messages() == (0, 0, 0), "empty queues")


def test_terminated_worker_gives_its_message_back_at_once(service: Service) -> None:
    """Named defect of the peer: SIGTERM was not handled."""
    service.volumes(Vec3(16, 64, 64))
    service.chain({"op": "hold", "folder": str(service.root)})
    service.create_queue(visibility=60)
    service.enqueue()
    worker = service.start_worker(grace_seconds=0, lease_seconds=60)
    service.wait(lambda: service.starts(), "a task started")
    assert service.messages() == (0, 1, 0)
    worker.send_signal(signal.SIGTERM)
    visible_after = service.wait(lambda: service.messages()[0] == 1, "the message visible again")
    assert visible_after < 2, f"{visible_after:.2f} s"
    assert worker.wait(20) == 0
    service.go()
    service.start_worker()
    service.wait_done(1)
    assert [r.attempts for r in service.records()] == [1], "being stopped costs no attempt"


def test_terminated_worker_finishes_within_its_grace(service: Service) -> None:
    service.volumes(Vec3(16, 64, 64))
    service.chain({"op": "hold", "folder": str(service.root)})
    service.create_queue(visibility=60)
    service.enqueue()
    worker = service.start_worker(grace_seconds=30)
    service.wait(lambda: service.starts(), "a task started")
    worker.send_signal(signal.SIGTERM)
    service.wait(lambda: "stopping: 1 tasks" in service.logs(), "the worker drains")
    service.go()
    assert worker.wait(20) == 0
    assert [r.state for r in service.records()] == ["done"]
    assert service.messages() == (0, 0, 0)


def test_task_that_ends_in_the_grace_is_acknowledged_at_once_and_a_running_one_stays_hidden(
    service: Service,
) -> None:
    service.volumes(Vec3(16, 64, 128))
    service.chain({"op": "hold", "folder": str(service.root)})
    service.create_queue(visibility=LEASE_SECONDS)
    service.enqueue()
    worker = service.start_worker(in_flight=2, grace_seconds=60)
    service.wait(lambda: len(service.starts()) == 2, "two tasks started")
    worker.send_signal(signal.SIGTERM)
    service.wait(lambda: "stopping: 2 tasks" in service.logs(), "the worker drains")
    (service.root / "go-0-16_0-64_0-64").touch()
    service.wait(lambda: service.messages() == (0, 1, 0), "one message deleted, one hidden")
    end = time.monotonic() + 2 * LEASE_SECONDS
    while time.monotonic() < end:
        assert service.messages() == (0, 1, 0)
        time.sleep(0.5)
    service.go()
    assert worker.wait(20) == 0
    assert service.messages() == (0, 0, 0)
    assert len(service.starts()) == 2


def test_second_signal_gives_back_at_once(service: Service) -> None:
    service.volumes(Vec3(16, 64, 64))
    service.chain({"op": "hold", "folder": str(service.root)})
    service.create_queue(visibility=60)
    service.enqueue()
    worker = service.start_worker(grace_seconds=600)
    service.wait(lambda: service.starts(), "a task started")
    worker.send_signal(signal.SIGTERM)
    service.wait(lambda: "stopping: 1 tasks" in service.logs(), "the worker drains")
    worker.send_signal(signal.SIGTERM)
    assert service.wait(lambda: service.messages()[0] == 1, "the message visible again") < 2
    assert worker.wait(20) == 0


def test_task_longer_than_the_visibility_timeout_runs_once(service: Service) -> None:
    service.volumes(Vec3(16, 64, 64))
    hold = {"op": "hold", "folder": str(service.root), "seconds": 3 * LEASE_SECONDS}
    service.chain(hold)
    service.create_queue(visibility=LEASE_SECONDS)
    service.enqueue()
    for _ in range(2):
        service.start_worker()
    service.wait_done(1)
    assert len(service.starts()) == 1
    assert [r.attempts for r in service.records()] == [1]
    service.wait(lambda: service.messages() == (0, 0, 0), "empty queues")


def test_a_worker_says_what_runs_and_an_idle_one_ends_on_sigterm(service: Service) -> None:
    service.volumes(Vec3(16, 64, 64))
    service.chain()
    service.create_queue()
    worker = service.start_command(in_flight=3)
    service.wait(lambda: "in flight" in service.logs(), "the start line")
    (line,) = [line for line in service.logs().splitlines() if "in flight" in line]
    for part in (
        "chunkflow-worker 0.1.0",
        service.queue,
        "pipeline.yaml",
        "device",
        "3 tasks in flight",
    ):
        assert part in line
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(20) == 0


def test_signals_that_come_while_it_leaves_do_not_change_its_status(service: Service) -> None:
    service.volumes(Vec3(16, 64, 64))
    service.chain({"op": "hold", "folder": str(service.root)})
    service.create_queue()
    service.enqueue()
    worker = service.start_command(grace_seconds=60)
    service.wait(lambda: service.starts(), "a task started")
    worker.send_signal(signal.SIGTERM)
    service.wait(lambda: "stopping" in service.logs(), "the worker drains")
    service.go()
    service.wait(lambda: "done 0-16" in service.logs(), "the task done")
    while worker.poll() is None:
        worker.send_signal(signal.SIGTERM)
        time.sleep(0.003)
    assert worker.returncode == 0
