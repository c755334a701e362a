"""Small cases that are computed by hand, and what holds for every job."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from itertools import chain, repeat

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chunkflow_worker.errors import ConfigError
from producer.simulate.assumptions import Assumptions
from producer.simulate.result import Result
from producer.simulate.run import run, simulate

_CALM = Assumptions(
    overhead_seconds=0,
    startup_seconds=100,
    replacement_seconds=20,
    notice_seconds=0,
    drain=False,
    lease_seconds=60,
    in_flight=1,
)


def of(
    tasks: int | Iterable[float], lives: Iterable[float] = (), workers: int = 1, **changes: object
) -> Result:
    """A run of tasks of ten seconds, or of these times; machines live for ever after `lives`."""
    seconds = [10.0] * tasks if isinstance(tasks, int) else list(tasks)
    assumed = Assumptions.model_validate(_CALM.model_dump() | changes)
    return run(assumed, workers, np.array(seconds), chain(lives, repeat(math.inf)))


@pytest.mark.parametrize(
    ("tasks", "workers", "places"), [(1, 1, 1), (7, 1, 1), (7, 2, 1), (7, 1, 3), (7, 2, 3)]
)
def test_without_interruptions_places_take_rounds(tasks: int, workers: int, places: int) -> None:
    result = of(tasks, workers=workers, in_flight=places)
    assert result.makespan_seconds == 100 + 10 * math.ceil(tasks / (workers * places))
    assert result.machine_seconds == workers * result.makespan_seconds
    assert result.starting_seconds == 100 * workers
    assert (result.done, result.dead, result.lost_seconds) == (tasks, 0, 0)
    assert result.peak_in_flight == min(tasks, workers * places)


def test_each_task_takes_its_own_time_and_its_overhead() -> None:
    result = of([5, 7, 11], overhead_seconds=1)
    assert result.makespan_seconds == 100 + 6 + 8 + 12
    assert result.useful_seconds == 26
    assert result.waste == pytest.approx(100 / 126)


@pytest.mark.parametrize(
    ("killed_at", "visible_after"),
    [
        (3, 57),  # not renewed yet: 60 s from the receive
        (20, 60),  # just renewed, at 20 s
        (35, 45),  # renewed at 20 s: until 80 s
    ],
)
def test_a_killed_worker_s_message_comes_back_when_its_lease_ends(
    killed_at: float, visible_after: float
) -> None:
    # Another machine is launched 20 s after the kill, and is ready after 100 s: too late to matter
    # for a second worker, which is ready at the same time as the first and has nothing to do.
    result = of([100.0], [100 + killed_at], workers=2)
    assert result.cut == result.interrupted == 1
    assert result.lost_seconds == killed_at
    assert result.makespan_seconds == 100 + killed_at + visible_after + 100
    assert result.received == 2


def test_a_lost_machine_is_replaced_and_only_its_life_is_paid() -> None:
    result = of([100.0], [130])
    assert result.makespan_seconds == 130 + 20 + 100 + 100
    assert result.machine_seconds == 130 + 200
    assert result.starting_seconds == 200
    assert result.idle_seconds == 0


def test_a_machine_that_is_lost_while_it_starts_does_nothing() -> None:
    result = of(1, [40])
    assert result.makespan_seconds == 40 + 20 + 100 + 10
    assert (result.interrupted, result.cut, result.received) == (1, 0, 1)


def test_a_drained_worker_gives_back_what_does_not_end_in_the_grace_period() -> None:
    # The notice comes 5 s after the receive of both tasks: one of 12 s ends within 8 s, the other
    # one is given back at 113 s, and the second worker takes it at once, as its first attempt.
    changes = {"notice_seconds": 120, "drain": True, "grace_seconds": 8, "max_receives": 1}
    result = of([12.0, 50.0], [105, math.inf], workers=2, in_flight=2, **changes)
    assert result.cut == 1
    assert result.lost_seconds == 13
    assert result.makespan_seconds == 113 + 50
    assert (result.done, result.dead, result.received) == (2, 0, 3)


def test_a_drained_worker_takes_no_more_tasks() -> None:
    changes = {"notice_seconds": 120, "drain": True, "grace_seconds": 60}
    result = of([10.0, 10.0], [105], **changes)
    assert result.lost_seconds == 0
    assert result.makespan_seconds == 105 + 120 + 20 + 100 + 10
    assert result.machine_seconds == 225 + 110


def test_without_draining_a_worker_takes_tasks_until_the_machine_ends() -> None:
    result = of(12, [101], notice_seconds=120)
    assert (result.interrupted, result.cut) == (1, 0)
    assert result.makespan_seconds == 220


def test_kills_spend_the_receives_of_a_message() -> None:
    result = of([50.0], [110, 110], max_receives=2, lease_seconds=30)
    assert (result.done, result.dead, result.cut, result.received) == (0, 1, 2, 2)
    # Both kills come 10 s after the receive. The third machine is ready long after the last lease.
    assert result.makespan_seconds == 110 + 20 + 110 + 20 + 100
    assert result.waste == 1


def test_attempts_that_fail_wait_twice_as_long_each_time_and_end_as_dead_letters() -> None:
    result = of(1, failures=1 - 1e-12, max_receives=4)
    assert (result.done, result.dead, result.received) == (0, 1, 4)
    assert result.makespan_seconds == 100 + 4 * 10 + 10 + 20 + 40
    assert result.failed_seconds == 40


def test_no_more_messages_than_the_limit_are_in_flight() -> None:
    result = of(12, workers=2, in_flight=3, in_flight_limit=4)
    assert result.was_full
    assert result.peak_in_flight == 4
    assert result.makespan_seconds == 100 + 3 * 10


def test_long_waits_for_the_next_attempt_are_not_in_flight() -> None:
    calm = {"failures": 1 - 1e-12, "max_receives": 2, "in_flight_limit": 1, "backoff_seconds": 59}
    assert of(2, **calm).makespan_seconds == 100 + 2 * (10 + 59 + 10)
    copies = calm | {"backoff_seconds": 60}
    assert of(2, **copies).makespan_seconds == 100 + 10 + 60 + 10 + 10


def test_machines_come_as_fast_as_the_cloud_gives_them() -> None:
    result = of(3, workers=3, launches_a_minute=1)
    assert result.makespan_seconds == 130
    assert result.machine_seconds == 130 + 70 + 10


def test_idle_places_poll() -> None:
    result = of([100.0], workers=3, poll_seconds=5)
    assert result.empty_polls == 2 * 20
    assert of([100.0], workers=1, in_flight=2, poll_seconds=5).empty_polls == 20


def test_the_same_seed_gives_the_same_run() -> None:
    assumed = Assumptions(tasks=500, task_seconds=60)
    one, same = (simulate(assumed, 5, 0.2) for _ in range(2))
    other = simulate(assumed.model_copy(update={"seed": 2}), 5, 0.2)
    assert one == same != other


def test_times_are_drawn_from_records() -> None:
    assumed = Assumptions(tasks=200, overhead_seconds=0)
    result = simulate(assumed, 1, records=[30.0, 40.0])
    assert 200 * 30 < result.useful_seconds < 200 * 40
    assert result.useful_seconds % 10 == 0


def test_a_job_that_would_not_end_is_refused() -> None:
    assumed = Assumptions(tasks=10, task_seconds=20_000)
    with pytest.raises(ConfigError, match="the job would not end"):
        simulate(assumed, 1, 0.9)
    assert simulate(assumed, 1, 0.2).done == 10


def test_without_simpy_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "simpy", None)
    with pytest.raises(ConfigError, match=r"chunkflow-worker\[simulate\]"):
        of(1)


@settings(max_examples=200)
@given(
    seconds=st.lists(st.floats(0.1, 200), min_size=1, max_size=40),
    lives=st.lists(st.floats(1, 900), max_size=30),
    workers=st.integers(1, 5),
    places=st.integers(1, 4),
    limit=st.integers(1, 8),
    max_receives=st.integers(1, 4),
    failures=st.sampled_from([0, 0.3]),
    drain=st.booleans(),
    notice=st.floats(0, 120),
    grace=st.floats(0, 1),
)
def test_every_task_is_done_or_dead_and_all_paid_time_is_accounted_for(
    seconds: list[float],
    lives: list[float],
    workers: int,
    places: int,
    limit: int,
    max_receives: int,
    failures: float,
    drain: bool,
    notice: float,
    grace: float,
) -> None:
    result = of(
        seconds,
        lives,
        workers,
        in_flight=places,
        in_flight_limit=limit,
        max_receives=max_receives,
        failures=failures,
        drain=drain,
        notice_seconds=notice,
        grace_seconds=grace * notice,
    )
    assert result.done + result.dead == result.tasks == len(seconds)
    assert result.received >= result.done
    assert result.dead == 0 or failures or (result.cut and not drain)
    assert result.cut <= result.interrupted * places
    assert result.peak_in_flight <= limit
    assert result.useful_seconds <= sum(seconds) + 1e-6
    work = result.useful_seconds + result.lost_seconds + result.failed_seconds
    assert result.makespan_seconds >= 100 + work / (workers * places) - 1e-6
    assert result.machine_seconds * places >= result.useful_seconds
    assert result.machine_seconds <= workers * result.makespan_seconds + 1e-6
    assert result.idle_seconds >= -1e-6
    assert 0 <= result.waste <= 1
    if result.dead == 0:
        assert result.useful_seconds == pytest.approx(sum(seconds))
