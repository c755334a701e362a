"""`Looks`: looks of a page at a live job, each compared with what ledger and queue say."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from producer.page.snapshot import Snapshot
from tests.support.served_page import ServedPage
from tests.support.service import Service


class Truth(NamedTuple):
    """Done and failed boxes in the ledger; messages that are visible, hidden and dead."""

    done: int
    failed: int
    visible: int
    hidden: int
    dead: int


class Looks:
    """Makes the page look, now or again and again, and keeps what was wrong with a look.

    count: of looks. A look while the job moves must lie between what was true before and after it.
    """

    def __init__(self, page: ServedPage, service: Service):
        self._page, self._service = page, service
        self._lock, self._ended = threading.Lock(), threading.Event()
        self.count, self.faults = 0, list[str]()

    def truth(self) -> Truth:
        done, failed = self._service.ledger.boxes()
        return Truth(len(done), len(failed - done), *self._service.messages())

    def settled(self) -> tuple[Snapshot, Truth]:
        """A look, and what is true while nothing moves."""
        with self._lock:
            return self._look(), self.truth()

    @contextmanager
    def going_on(self, pause: float = 0.3) -> Iterator[None]:
        thread = threading.Thread(target=self._run, args=(pause,))
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join()

    def _run(self, pause: float) -> None:
        while not self._ended.wait(pause):
            with self._lock:
                self._check()

    def _check(self) -> None:
        before = self.truth()
        snapshot = self._look()
        after, status, total = self.truth(), snapshot.status, len(snapshot.states)
        counts = snapshot.to_send()["counts"]
        done = counts["done"] + counts["slow"] + counts["skipped"]
        right = {
            "done": before.done <= status.done <= after.done,
            "the map's done": done == status.done,
            "the sum": sum(counts.values()) == total,
            "failed and missing": status.done + status.failed + status.missing == total,
            "percent": 0 <= (status.percent or 0) <= 100,
            "messages": status.messages + status.dead <= total + 1,  # one may be in two queues
        }
        self.faults += [
            f"{name}: {before}, {counts}, {after}" for name, ok in right.items() if not ok
        ]

    def _look(self) -> Snapshot:
        self._page.feed.look()
        self.count += 1
        return self._page.feed.snapshot
