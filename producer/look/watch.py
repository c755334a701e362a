"""`watch`: the status of a job again and again, until the job ends."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from time import monotonic

from chunkflow_worker.errors import RetryableError
from producer.look.status import SAMPLE, JobStatus

RATE_SECONDS = 600  # the rate is measured over this time
STILL_SECONDS = 60  # a job without news stands still after this time, or that of three tasks
MAX_FAILED_POLLS = 5


def watch(
    poll: Callable[[int], JobStatus],
    pause: Callable[[], None],
    settle_seconds: float = 60,
    clock: Callable[[], float] = monotonic,
) -> Iterator[JobStatus]:
    """Yield the status after every poll, until all boxes are done or the queue stays empty.

    poll: gets the status, and reads the given number of records for the rate.
    pause: waits between two polls.
    settle_seconds: an unfinished job ends when the queue looks empty for so long. SQS counts only
        approximately, so one look is not enough.
    Raises what `poll` raises; a RetryableError only when 5 polls in a row raise it.
    """
    rate = Rate(clock())
    idle_since: float | None = None
    failures = 0
    while True:
        try:
            status = poll(0 if rate.has_sample else SAMPLE)
        except RetryableError:
            failures += 1
            if failures == MAX_FAILED_POLLS:
                raise
            pause()
            continue
        failures, now = 0, clock()
        status = replace(status, rate=rate.update(now, status))
        yield status
        if not status.idle:
            idle_since = None
        elif idle_since is None:
            idle_since = now
        if status.complete or (idle_since is not None and now - idle_since >= settle_seconds):
            return
        pause()


class Rate:
    """Tasks per second over the last ten minutes, measured by the numbers of done tasks.

    Until they grow, it is the rate of the first status. A job that stands still has no rate: its
    time left would not move.
    """

    def __init__(self, began: float):
        self._last_news = began
        self._sampled: float | None = None
        self._counts: deque[tuple[float, int]] = deque()

    @property
    def has_sample(self) -> bool:
        return bool(self._counts)

    def update(self, now: float, status: JobStatus) -> float | None:
        if not self.has_sample:
            self._sampled, self._last_news = status.rate, now
        elif status.done > self._counts[-1][1]:
            self._last_news = now
        self._counts.append((now, status.done))
        while now - self._counts[0][0] > RATE_SECONDS:
            self._counts.popleft()
        earlier, done_earlier = self._counts[0]
        rate = self._sampled
        if status.done > done_earlier:
            rate = (status.done - done_earlier) / (now - earlier)
        if not rate or now - self._last_news > max(STILL_SECONDS, 3 / rate):
            return None
        return rate
