from __future__ import annotations

from collections.abc import Iterator

import pytest

from chunkflow_worker.errors import StorageUnavailable
from producer.look.status import JobStatus
from producer.look.watch import MAX_FAILED_POLLS, watch


class Polls:
    """Gives prepared statuses and lets ten seconds pass with each pause."""

    def __init__(self, *answers: JobStatus | Exception):
        self.answers, self.now, self.samples = list(answers), 1000.0, list[int]()

    def __call__(self, sample: int) -> JobStatus:
        self.samples.append(sample)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def pause(self) -> None:
        self.now += 10

    def watch(self, settle: float = 30) -> Iterator[JobStatus]:
        return watch(self, self.pause, settle, lambda: self.now)


def state(done: int, waiting: int = 1, dead: int = 0, rate: float | None = None) -> JobStatus:
    return JobStatus("q", waiting, 0, 0, dead, "j", done, 0, 100, rate)


def test_a_watch_ends_when_all_is_done() -> None:
    polls = Polls(state(0), state(50), state(100), state(100))
    assert [s.done for s in polls.watch()] == [0, 50, 100]


def test_a_watch_of_a_job_that_is_done_ends_at_once() -> None:
    assert [s.complete for s in Polls(state(100, waiting=3, dead=2)).watch()] == [True]


def test_a_watch_ends_when_the_queue_stays_empty() -> None:
    empty = state(90, waiting=0, dead=10)
    statuses = list(Polls(*[empty] * 9).watch(settle=30))
    assert len(statuses) == 4
    assert not statuses[-1].complete
    assert statuses[-1].dead == 10


def test_a_queue_that_looks_empty_for_a_moment_does_not_end_a_watch() -> None:
    empty, busy = state(90, waiting=0), state(90)
    statuses = list(
        Polls(empty, empty, empty, busy, empty, empty, empty, state(100)).watch(settle=30)
    )
    assert len(statuses) == 8
    assert statuses[-1].complete


def test_a_watch_survives_some_failed_polls() -> None:
    away = StorageUnavailable("away")
    polls = Polls(
        *[away] * (MAX_FAILED_POLLS - 1), state(0), *[away] * (MAX_FAILED_POLLS - 1), state(100)
    )
    assert [s.done for s in polls.watch()] == [0, 100]
    with pytest.raises(StorageUnavailable):
        list(Polls(*[away] * MAX_FAILED_POLLS).watch())


def test_a_watch_measures_its_own_rate_after_the_first() -> None:
    polls = Polls(state(10, rate=0.5), state(10), state(30), state(100))
    statuses = list(polls.watch())
    assert [s.rate for s in statuses] == [0.5, 0.5, 1.0, 3.0]
    assert statuses[2].eta_seconds == 70
    assert statuses[3].eta_seconds == 0
    assert polls.samples == [100, 0, 0, 0]


@pytest.mark.parametrize(("done", "rate"), [(10, 0.5), (20, 1.0)])
def test_a_watch_forgets_the_rate_of_a_job_that_stands_still(done: int, rate: float) -> None:
    """Whether the rate was sampled from records, or measured: its time left would not move."""
    polls = Polls(state(10, rate=0.5), *[state(done)] * 9, state(100))
    statuses = list(polls.watch())
    assert statuses[1].rate == rate
    assert statuses[6].eta_seconds is not None
    assert [s.eta_seconds for s in statuses[8:-1]] == [None] * 2
    assert statuses[-1].eta_seconds == 0


def test_slow_tasks_are_waited_for() -> None:
    """At one task in 100 s, a job without news for two minutes does not stand still."""
    polls = Polls(state(10, rate=0.01), *[state(10)] * 35, state(100))
    rates = [s.rate for s in polls.watch()]
    assert rates[29] == 0.01
    assert rates[31] is None
