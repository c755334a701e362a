"""`HeartbeatWriter`: writes what a worker does to the ledger every few seconds."""

from __future__ import annotations

import logging
import socket
import threading
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version

from chunkflow_worker.config.settings import Settings
from chunkflow_worker.job.heartbeat import GpuUse, Heartbeat, Heartbeats, InHandBox, Phase
from chunkflow_worker.machine.clock import elapsed
from chunkflow_worker.machine.memory import resident_bytes
from chunkflow_worker.machine.nvml import GpuMeter
from chunkflow_worker.machine.zone import zone
from chunkflow_worker.report.events import (
    Event,
    OperatorFinished,
    OperatorStarted,
    TaskFailed,
    TaskFinished,
)
from chunkflow_worker.report.outage import Outage
from chunkflow_worker.service.in_hand import Held, InHand
from chunkflow_worker.service.metrics import About

log = logging.getLogger(__name__)

_CLOSING_SECONDS = 3.0  # to delete the heartbeat


class HeartbeatWriter:
    """A subscriber that counts boxes, and a thread that writes heartbeats until `close`.

    It fails and delays no task: while storage is away, heartbeats are missed, which is logged once.

    phase: tells what the worker is doing. gpu: reads the figures of its GPU.
    find_zone: tells where the machine is; called once, by the thread.
    """

    def __init__(
        self,
        settings: Settings,
        heartbeats: Heartbeats,
        in_hand: InHand,
        about: About,
        phase: Callable[[], Phase],
        *,
        gpu: GpuMeter | None = None,
        find_zone: Callable[[], str] = zone,
        clock: Callable[[], float] = elapsed,
    ):
        self._settings, self._heartbeats, self._about = settings, heartbeats, about
        self._in_hand, self._phase, self._clock = in_hand, phase, clock
        self._gpu, self._find_zone, self._zone = gpu or GpuMeter(), find_zone, ""
        self._started = datetime.now(UTC)
        self._counts: Counter[str] = Counter()
        self._counting = threading.Lock()
        self._outage = Outage("storage (heartbeats)")
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def __call__(self, event: Event) -> None:
        """Note what a task does; called in its thread."""
        match event:
            case OperatorStarted(name=name):
                self._note_operator((name, self._clock()))
            case OperatorFinished():
                self._note_operator(None)
            case TaskFinished(state=state):
                self._count(state)
            case TaskFailed():
                self._count("failed")

    def start(self) -> None:
        self._thread.start()

    def close(self, seconds: float = _CLOSING_SECONDS) -> None:
        """Delete the heartbeat; gives up after `seconds`, and readers then tell by its age."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(seconds)

    def now(self) -> Heartbeat:
        """The heartbeat of this moment."""
        settings, figures = self._settings, self._gpu.read()
        with self._counting:
            counts = dict(self._counts)
        return Heartbeat(
            worker=settings.worker_name,
            host=socket.gethostname(),
            zone=self._zone,
            device=self._about.device,
            queue=self._about.queue,
            pipeline=self._about.pipeline,
            version=version("chunkflow-worker"),
            phase=self._phase(),
            in_flight=settings.in_flight,
            in_hand=tuple(self._box(held) for held in self._in_hand.all()),
            **counts,
            memory=resident_bytes(),
            gpu=GpuUse(**figures._asdict()) if figures else None,
            interval=settings.heartbeat_seconds,
            started=self._started,
            at=datetime.now(UTC),
        )

    def _run(self) -> None:
        if self._settings.spot_notice:
            self._zone = self._find_zone()
        self._tell(self._heartbeats.forget_old)
        while True:
            self._tell(lambda: self._heartbeats.write(self.now()))
            if self._closing.wait(self._settings.heartbeat_seconds):
                break
        self._tell(lambda: self._heartbeats.delete(self._settings.worker_name))

    def _tell(self, work: Callable[[], object]) -> None:
        try:
            work()
        except Exception as error:  # nothing of this may end the thread
            self._outage.failed(error)
        else:
            self._outage.answered()

    def _box(self, held: Held) -> InHandBox:
        message, now, operator = held.delivery.message, self._clock(), held.operator
        return InHandBox(
            job=message.job,
            bbox=message.bbox,
            attempt=held.delivery.attempt,
            seconds=max(0.0, now - held.taken),
            operator=operator[0] if operator else "",
            operator_seconds=max(0.0, now - operator[1]) if operator else 0.0,
            lease=held.lease.seconds_left,
        )

    def _note_operator(self, operator: tuple[str, float] | None) -> None:
        held = self._in_hand.of_this_thread()
        if held is not None:
            held.operator = operator

    def _count(self, what: str) -> None:
        self._note_operator(None)
        with self._counting:
            self._counts[what] += 1
