"""`Feed`: looks again and again, and tells every open page what changed."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from chunkflow_worker.errors import ChunkflowError
from chunkflow_worker.report.scrub import scrub
from producer.page.box_states import changed_runs, packed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from producer.page.snapshot import Snapshot

log = logging.getLogger(__name__)

MOST_PAGES = 50  # that are open at the same time
_WAITING = 8  # events of a page that does not read them; then it starts anew
_ALIVE_SECONDS = 15.0  # after which a page without news gets a comment


class Feed:
    """A thread looks every few seconds. Events are JSON, ready to be sent.

    look: one look. interval: seconds between two.
    """

    def __init__(self, look: Callable[[], Snapshot], interval: float):
        self._look, self._interval = look, interval
        self._closed, self._at_once = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._pages: list[tuple[asyncio.AbstractEventLoop, asyncio.Queue[str | None]]] = []
        self._snapshot: Snapshot | None = None
        self._packed: tuple[int, bytes] = (0, b"")
        self.problem = ""

    @property
    def snapshot(self) -> Snapshot:
        """The last one. There is one before the first page is served."""
        assert self._snapshot is not None
        return self._snapshot

    @property
    def is_full(self) -> bool:
        """So many pages are open that no other is served."""
        return len(self._pages) >= MOST_PAGES

    def look(self) -> None:
        """Look now, and tell the pages. Raises what `look` raises."""
        before, after = self._snapshot, self._look()
        self._snapshot, self.problem = after, ""
        runs = changed_runs(before.states, after.states) if before is not None else None
        self._tell("look", after.to_send() | {"runs": runs})

    @contextmanager
    def running(self) -> Iterator[None]:
        """Looks until the end of the context. The first look is made before."""
        if self._snapshot is None:
            self.look()
        thread = threading.Thread(target=self._run, name="looks", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._closed.set()
            self._at_once.set()
            thread.join()

    def look_soon(self) -> None:
        """Do not wait for the next look until its time has come."""
        self._at_once.set()

    def packed_states(self) -> tuple[Snapshot, bytes]:
        """A snapshot, and its states as they are sent; packed once for all pages."""
        snapshot = self.snapshot
        with self._lock:
            if self._packed[0] != snapshot.number:
                self._packed = (snapshot.number, packed(snapshot.states))
            return snapshot, self._packed[1]

    async def events(self) -> AsyncIterator[str]:
        """What changes from now on, as server-sent events."""
        page = (asyncio.get_running_loop(), asyncio.Queue[str | None](_WAITING))
        with self._lock:
            self._pages.append(page)
        try:
            yield ": connected\n\n"
            while True:
                try:
                    event = await asyncio.wait_for(page[1].get(), _ALIVE_SECONDS)
                except TimeoutError:
                    event = ": no news\n\n"
                if event is None:
                    return
                yield event
        finally:
            with self._lock:
                self._pages.remove(page)

    def _run(self) -> None:
        while True:
            self._at_once.wait(self._interval)
            self._at_once.clear()
            if self._closed.is_set():
                return
            try:
                self.look()
            except ChunkflowError as error:
                self.problem = scrub(str(error))
                self._tell("problem", {"text": self.problem})
            except Exception as error:
                log.exception("a look at the job failed")
                self.problem = f"this look failed: {type(error).__name__}"
                self._tell("problem", {"text": self.problem})

    def _tell(self, kind: str, content: dict[str, Any]) -> None:
        event = f"event: {kind}\ndata: {json.dumps(content)}\n\n"
        with self._lock:
            pages = list(self._pages)
        for loop, waiting in pages:
            loop.call_soon_threadsafe(_put, waiting, event)


def _put(waiting: asyncio.Queue[str | None], event: str) -> None:
    """An event for a page; one that is behind is closed, and its browser connects again."""
    if waiting.full():
        while not waiting.empty():
            waiting.get_nowait()
        waiting.put_nowait(None)
        return
    waiting.put_nowait(event)
