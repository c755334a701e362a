from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from chunkflow_worker.config.settings import Settings
from chunkflow_worker.errors import OutOfMemory, RetryableError, TaskTooLong
from chunkflow_worker.job.lease import Lease
from chunkflow_worker.job.sqs import Queue
from chunkflow_worker.local_aws.stub_sqs import StubSqs
from chunkflow_worker.service import guard as module
from chunkflow_worker.service.guard import (
    OUT_OF_MEMORY,
    POLL_LOOP_STANDS_STILL,
    TASK_TOO_LONG,
    Guard,
)
from chunkflow_worker.service.in_hand import Held, InHand
from chunkflow_worker.service.poller import Poller
from tests.support.queues import BOX, receive

LIMIT = 1000  # bytes


@dataclass
class Watched:
    """A guard, and what it looks at. ends: how the process was ended."""

    guard: Guard
    in_hand: InHand
    poller: Poller
    sqs: StubSqs
    queue: Queue
    folder: Path
    used: int = 0
    ends: list[tuple[int, dict[Held, RetryableError], bool]] = field(default_factory=list)

    def held(self) -> Held:
        delivery = receive(self.sqs, self.queue, BOX)
        lease = Lease(self.sqs, self.queue, delivery, 30, clock=self.sqs.clock)
        return Held(lease, started=self.sqs.clock())

    def after(self, seconds: float, used: int = 0) -> None:
        """A turn after that time, with that much memory in use."""
        self.sqs.clock.advance(seconds)
        self.used = used
        self.guard.turn()

    def health(self) -> dict[str, Any]:
        state: dict[str, Any] = json.loads(self.file.read_text())
        return state

    @property
    def file(self) -> Path:
        return self.folder / f"chunkflow-worker-{os.getpid()}.health"


@pytest.fixture
def watch(sqs: StubSqs, queue: Queue, poller: Poller, tmp_path: Path) -> Callable[..., Watched]:
    """Make a guard of a worker that runs: `watch(**settings)`."""

    def make(**settings: Any) -> Watched:
        in_hand = InHand()

        def end(
            status: int, failing: Mapping[Held, RetryableError], *, at_once: bool = False
        ) -> None:
            watched.ends.append((status, dict(failing), at_once))

        defaults = {"health_folder": str(tmp_path), "worker_name": "w", "memory_limit": LIMIT}
        guard = Guard(
            Settings(**defaults | settings),
            30,
            in_hand,
            poller,
            end,
            clock=sqs.clock,
            used_memory=lambda: watched.used,
        )
        watched = Watched(guard, in_hand, poller, sqs, queue, tmp_path)
        guard.running()
        return watched

    return make


def test_nothing_happens_while_all_is_well(watch: Callable[..., Watched]) -> None:
    watched = watch(watchdog_seconds=10, task_time_limit=5)
    with watched.in_hand.holding(watched.held()):
        watched.after(5, used=949)
    assert watched.ends == []


def test_a_poll_loop_that_stands_still_ends_the_process_at_once(
    watch: Callable[..., Watched],
) -> None:
    watched = watch(watchdog_seconds=10)
    with watched.in_hand.holding(watched.held()):
        watched.after(10)
        assert watched.ends == []
        watched.after(0.1)
    assert watched.ends == [(POLL_LOOP_STANDS_STILL, {}, True)]


def test_a_poll_loop_that_turns_or_stops_is_left_alone(watch: Callable[..., Watched]) -> None:
    watched = watch(watchdog_seconds=10)
    watched.sqs.clock.advance(9)
    watched.poller.touch()
    watched.after(9)
    watched.guard.stopping()
    watched.after(99)
    assert watched.ends == []


def test_only_the_tasks_over_their_time_fail(watch: Callable[..., Watched]) -> None:
    watched = watch(task_time_limit=5)
    early = watched.held()
    watched.sqs.clock.advance(3)
    with watched.in_hand.holding(early), watched.in_hand.holding(watched.held()):
        watched.after(2)
        assert watched.ends == []
        watched.after(0.5)
    ((status, failing, at_once),) = watched.ends
    assert (status, list(failing), at_once) == (TASK_TOO_LONG, [early], False)
    assert isinstance(failing[early], TaskTooLong)
    assert str(failing[early]) == "ended after 5 s, the time limit of a task"


def test_time_limits_hold_while_the_worker_stops(watch: Callable[..., Watched]) -> None:
    watched = watch(task_time_limit=5)
    with watched.in_hand.holding(watched.held()):
        watched.guard.stopping()
        watched.after(6)
    assert [status for status, _, _ in watched.ends] == [TASK_TOO_LONG]


def test_scarce_memory_fails_the_newest_task_at_its_next_check(
    watch: Callable[..., Watched],
) -> None:
    watched = watch()
    old = watched.held()
    watched.sqs.clock.advance(1)
    new = watched.held()
    with watched.in_hand.holding(new), watched.in_hand.holding(old):
        watched.after(1, used=949)
        assert new.fault is None
        watched.after(1, used=950)
        assert isinstance(new.fault, OutOfMemory)
        assert old.fault is None
        watched.after(1, used=950)
    assert watched.ends == []


def test_scarce_memory_spares_a_task_that_is_recorded(watch: Callable[..., Watched]) -> None:
    """It holds none, and its work would be lost."""
    watched = watch()
    watched.poller.places.reserve(1, 0)
    held = watched.held()
    watched.sqs.clock.advance(1)
    recorded = watched.held()
    with (
        watched.in_hand.holding(held),
        watched.in_hand.holding(recorded),
        watched.poller.places.taken() as place,
    ):
        recorded.place = place
        with place.working():
            pass
        watched.after(1, used=LIMIT - 1)
    assert isinstance(held.fault, OutOfMemory)
    assert recorded.fault is None


@pytest.mark.parametrize("used", [951, 1000])
def test_memory_that_still_grows_ends_the_process(watch: Callable[..., Watched], used: int) -> None:
    watched = watch()
    with watched.in_hand.holding(watched.held()) as held:
        watched.after(1, used=950)
        watched.after(1, used=used)
    ((status, failing, at_once),) = watched.ends
    assert (status, list(failing), at_once) == (OUT_OF_MEMORY, [held], False)
    assert isinstance(failing[held], OutOfMemory)


def test_a_task_that_has_ended_gets_a_moment_to_free_its_memory(
    watch: Callable[..., Watched],
) -> None:
    watched = watch()
    with watched.in_hand.holding(watched.held()):
        watched.after(1, used=950)
    with watched.in_hand.holding(watched.held()) as other:
        watched.after(1, used=990)
        watched.after(1.9, used=990)
        assert other.fault is None
        watched.after(0.2, used=990)
        assert other.fault is not None


def test_memory_is_of_no_concern_without_a_task_or_a_limit(
    watch: Callable[..., Watched], monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = watch()
    watched.after(1, used=10**6)
    monkeypatch.setattr(module, "cgroup_limit", lambda: None)
    unlimited = watch(memory_limit=None)
    with unlimited.in_hand.holding(unlimited.held()) as held:
        unlimited.after(1, used=10**12)
    assert held.fault is None
    assert watched.ends == unlimited.ends == []


def test_a_worker_that_opens_is_not_watched_but_writes_its_state(
    watch: Callable[..., Watched],
) -> None:
    watched = watch(watchdog_seconds=10, task_time_limit=5)
    watched.guard.phase = "opening"
    with watched.in_hand.holding(watched.held()):
        watched.after(100, used=10**6)
    assert watched.ends == []
    assert watched.health()["phase"] == "opening"
    watched.guard.running()
    watched.after(0.5)
    assert watched.health()["phase"] == "running"
    assert watched.health()["turn_age"] == 0.5


def test_the_state_is_written_every_two_seconds(watch: Callable[..., Watched]) -> None:
    watched = watch(watchdog_seconds=60)
    with watched.in_hand.holding(watched.held()) as held:
        watched.after(0)
        held.lease.lost_at = watched.sqs.clock()
        watched.after(1.9)
        assert watched.health()["lost_seconds"] == 0, "not yet written anew"
        watched.poller.outage.failed(OSError("away"))
        watched.after(0.1)
    state = watched.health()
    assert (state["name"], state["phase"], state["lease_seconds"]) == ("w", "running", 30)
    assert (state["turn_age"], state["turn_limit"]) == (2, 60)
    assert state["lost_seconds"] == 2
    assert state["queue_answers"] is False


def test_closing_removes_the_state_for_good(watch: Callable[..., Watched]) -> None:
    watched = watch()
    watched.after(0)
    assert watched.file.exists()
    watched.guard.close()
    assert not watched.file.exists()
    watched.guard.start()  # ends at once
    assert not watched.file.exists()


def test_a_state_that_cannot_be_written_is_logged_once(
    watch: Callable[..., Watched], caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    watched = watch(health_folder=str(tmp_path / "absent"))
    watched.after(0)
    watched.after(2)
    assert caplog.text.count("health probes will not find this worker") == 1


def test_the_thread_takes_turns_until_it_is_closed(
    watch: Callable[..., Watched], monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = watch()
    turns: list[int] = []

    def turn() -> None:
        turns.append(1)
        if len(turns) == 3:
            watched.guard.close()

    monkeypatch.setattr(module, "_TURN_SECONDS", 0.001)
    monkeypatch.setattr(watched.guard, "turn", turn)
    watched.guard._take_turns()
    assert len(turns) == 3
