"""Workers that each reach S3 through a proxy of their own, which notes when they write what.

Between a look at the clock and the last byte of a write, a worker may stand still. So what a paused
worker had begun may still arrive: at most the blocks that are uploaded at a time, and no record.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import PurePosixPath

from chunkflow_worker.image.bbox import BoundingBox, Vec3
from tests.chaos.calm import place_on_s3
from tests.chaos.history import Event, history, is_ready, log_file
from tests.support.forked import AnyWorker
from tests.support.pauser import Pause
from tests.support.proxy import Proxy, Write, fault_proxy
from tests.support.service import Service

BLOCK = Vec3(8, 16, 16)
AT_A_TIME = 32  # blocks that a worker uploads before it looks again whether it may
SLOW = 0.3  # share of the requests to S3 that take a second, so that writes take a while


@dataclass(frozen=True)
class Lost:
    """A task that a worker held when it was paused for longer than the lease.

    blocks, records: that it wrote afterwards, before it started the task anew. told: whether it
    told that the lease is lost, or had ended the task before.
    """

    box: str
    pause: Pause
    blocks: int
    records: int
    told: bool


class Crew:
    """The workers of a service whose output is in an S3 bucket, and whose input is on disk.

    members: the processes, by their number. The proxies end with `stack`.
    """

    def __init__(self, service: Service, upstream: str, stack: ExitStack):
        self.service, self.members = service, dict[int, AnyWorker]()
        self._upstream, self._stack = upstream, stack
        self._proxies: dict[int, Proxy] = {}
        service.elsewhere["in"] = service.place
        place_on_s3(service, service.queue)

    def start(self, **settings: object) -> int:
        """Start one more worker; returns its number."""
        number = len(self.service.workers)
        served = fault_proxy(self._upstream, number)
        address, self._proxies[number] = self._stack.enter_context(served)
        self._proxies[number].set("s3", "delay", SLOW)
        self.service.environment["AWS_ENDPOINT_URL"] = address
        self.members[number] = self.service.start_worker(metrics="none", **settings)
        self.service.environment["AWS_ENDPOINT_URL"] = self._upstream
        return number

    def ready(self) -> dict[int, AnyWorker]:
        """Those that receive tasks."""
        root = self.service.root
        return {number: p for number, p in self.members.items() if is_ready(root, number)}

    def wait_for_block(self, number: int, seconds: float) -> bool:
        """Wait until a worker writes its next block; False when it does not."""
        writes = self._proxies[number].writes
        count, end = len(writes), time.monotonic() + seconds
        while not any(_block(write) for write in writes[count:]):
            if time.monotonic() > end:
                return False
            time.sleep(0.002)
        return True

    def lost(self, pauses: Sequence[Pause]) -> list[Lost]:
        """What became of the tasks that these pauses were too long for."""
        events = history(self.service.root, len(self.service.workers))
        return [lost for pause in pauses for lost in self._lost(pause, events)]

    def _lost(self, pause: Pause, events: Sequence[Event]) -> Iterator[Lost]:
        own = [event for event in events if event.worker == pause.victim]
        before = {event.box: event.starts for event in own if event.at <= pause.began}
        for box in (box for box, is_running in before.items() if is_running):
            later = [event for event in own if event.box == box and event.at > pause.ended]
            again = next((event.at for event in later if event.starts), float("inf"))
            writes = [
                write
                for write in self._proxies[pause.victim].writes
                if pause.ended < write.arrived < again
            ]
            is_done = any(event.kind == "done" and event.at < again for event in later)
            yield Lost(
                box,
                pause,
                sum(_is_within(write, BoundingBox.parse(box)) for write in writes),
                sum(write.path.endswith(f"/log/{box}.json") for write in writes),
                is_done or self._tells(pause, box),
            )

    def _tells(self, pause: Pause, box: str) -> bool:
        lines = log_file(self.service.root, pause.victim).read_text().splitlines()
        return any("lost" in line and box in line for line in lines)


def _block(write: Write) -> BoundingBox | None:
    """The box of a written block, whose name is x_y_z."""
    path = PurePosixPath(write.path)
    if path.parent.name == "log" or "_" not in path.name:
        return None
    return BoundingBox.parse("_".join(reversed(path.name.split("_"))))


def _is_within(write: Write, box: BoundingBox) -> bool:
    block = _block(write)
    return block is not None and box.contains(block)
