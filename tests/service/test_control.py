from __future__ import annotations

import threading
from itertools import pairwise

import pytest

from chunkflow_worker.errors import StorageUnavailable
from chunkflow_worker.job.state import RUNNING, JobState, JobStates
from chunkflow_worker.local_aws.stub_sqs import ManualClock
from chunkflow_worker.service import control as module
from chunkflow_worker.service.control import APART_SECONDS, Control

PAUSED = JobState.now("paused", "me", "a look")


class States:
    """Stands for the states of a ledger. reads: which were read."""

    def __init__(self) -> None:
        self.states: dict[str, JobState] = {}
        self.reads: list[str] = []
        self.error: Exception | None = None

    def read(self, job: str) -> JobState:
        self.reads.append(job)
        if self.error is not None:
            raise self.error
        return self.states.get(job, RUNNING)

    def write(self, job: str, state: JobState) -> None:
        self.states[job] = state


@pytest.fixture
def states() -> States:
    return States()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def control(states: States, clock: ManualClock) -> Control:
    return Control(states, 10, clock, clock.advance)  # type: ignore[arg-type]


def test_a_state_is_read_once_in_ten_seconds_and_its_change_is_told(
    control: Control, states: States, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(5):
        assert control.state("j") == RUNNING
    states.states["j"] = PAUSED
    assert control.state("j") == RUNNING
    clock.advance(10)
    for _ in range(5):
        assert control.state("j") == PAUSED
    assert states.reads == ["j", "j"]
    assert caplog.messages == ["job j is paused: a look (by me)"]


def test_while_storage_is_away_the_last_known_state_counts(
    control: Control, states: States, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    states.states["j"] = PAUSED
    assert control.state("j") == PAUSED
    states.error = StorageUnavailable("away")
    for _ in range(3):
        clock.advance(10)
        assert control.state("j") == PAUSED
        assert control.state("unknown") == RUNNING
    assert sum("does not answer" in line for line in caplog.messages) == 1


def test_names_of_strangers_take_bounded_memory(
    control: Control, states: States, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_JOBS", 10)
    times: list[float] = []
    for i in range(100):
        control.state(f"hostile-{i}")
        times.append(clock())
    assert len(control._known) == 10
    assert all(b - a >= APART_SECONDS for a, b in pairwise(times)), "and few reads"
    assert len(states.reads) == 100


def test_who_knows_a_state_does_not_wait_for_a_slow_read(
    states: States, clock: ManualClock
) -> None:
    reading, go_on = threading.Event(), threading.Event()

    class Slow(States):
        def read(self, job: str) -> JobState:
            if job == "slow":
                reading.set()
                go_on.wait(30)
            return super().read(job)

    control = Control(Slow(), 10, clock, clock.advance)  # type: ignore[arg-type]
    control.state("j")
    clock.advance(20)  # its state is old, and is read again later
    slow = threading.Thread(target=control.state, args=("slow",))
    slow.start()
    assert reading.wait(30)
    assert control.state("j") == RUNNING
    go_on.set()
    slow.join(30)


def test_a_job_is_paused_only_while_it_runs(control: Control, states: States) -> None:
    assert control.pause("j", PAUSED)
    assert control.state("j") == states.states["j"] == PAUSED
    assert not control.pause("j", JobState.now("paused", "another"))
    states.states["k"] = JobState.now("cancelled", "me")
    assert not control.pause("k", PAUSED), "though this worker has not read it before"
    assert states.states["k"].state == "cancelled"


def test_what_cannot_be_read_is_not_replaced(control: Control, states: States) -> None:
    states.states["j"] = JobState.now("cancelled", "me")
    states.error = StorageUnavailable("away")
    with pytest.raises(StorageUnavailable):
        control.pause("j", PAUSED)
    assert states.states["j"].state == "cancelled"


def test_dropped_messages_are_told_in_powers_of_ten(
    control: Control, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="chunkflow_worker")
    for _ in range(1234):
        clock.advance(1)
        control.state("j")
        control.note_dropped("j")
    assert [line.rsplit(" ", 1)[-1] for line in caplog.messages] == ["1", "10", "100", "1000"]


def test_it_reads_what_commands_write(path: str, clock: ManualClock) -> None:
    control = Control(JobStates(path), 10, clock)
    assert control.state("j") == RUNNING
    JobStates(path).write("j", PAUSED)
    clock.advance(10)
    assert control.state("j") == PAUSED
