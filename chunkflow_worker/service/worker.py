"""`Worker`: the tasks that one process has in hand: done, settled, watched, and given back when it must stop. No Celery in it."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from chunkflow_worker.config.settings import Settings
from chunkflow_worker.errors import (
    ConfigError,
    OutOfMemory,
    PermanentError,
    PipelineMismatch,
    Preempted,
    RetryableError,
    StorageOutage,
    TaskTooLong,
)
from chunkflow_worker.job.lease import Lease
from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.job.message import MAX_ATTEMPTS, TaskMessage, decode, encode
from chunkflow_worker.job.sqs import Queue, make_client
from chunkflow_worker.machine.cpu import cpu_name
from chunkflow_worker.machine.memory import cgroup_limit, resident_bytes
from chunkflow_worker.machine.spot import wait_for_notice
from chunkflow_worker.pipeline.chain import Pipeline
from chunkflow_worker.report.events import Subscriber
from chunkflow_worker.report.log import log_events
from chunkflow_worker.report.outage import Outage
from chunkflow_worker.service.handler import Handler
from chunkflow_worker.service.health import HealthFile
from chunkflow_worker.service.jobs import Jobs
from chunkflow_worker.service.patience import Patience
from chunkflow_worker.service.transport import poller

log = logging.getLogger("chunkflow_worker")

MAX_BACKOFF_SECONDS = 900
MAX_DEFAULT_LEASE_SECONDS = 120
ENDED_STANDING_STILL, ENDED_TASK_TOO_LONG, ENDED_MEMORY = 70, 71, 72  # exit statuses
MEMORY_SHARE = 0.95
_GUARD_SECONDS, _HEALTH_SECONDS, _FREEING_SECONDS, _RECORDING_SECONDS = 0.5, 2.0, 2.0, 10.0


@dataclass
class Running:
    """A task in hand. body: of the message that takes its place when it is given back. fault: why its next check must fail."""

    message: TaskMessage
    task_id: str
    receives: int
    body: str
    started: float
    fault: RetryableError | None = None


class Worker:
    """What one worker process holds while it runs."""

    def __init__(self, settings: Settings, pipeline: Pipeline, queue: Queue):
        self.settings, self.pipeline, self.queue = settings, pipeline, queue
        path = settings.ledger or pipeline.ledger_path
        if path is None:
            raise ConfigError.one(
                str(settings.pipeline),
                "ledger",
                "the chain saves no volume, so its ledger has no place",
                "set CHUNKFLOW_LEDGER",
            )
        self.ledger = Ledger(path)
        self.lease_seconds = settings.lease_seconds or min(
            max(queue.visibility_seconds, 3), MAX_DEFAULT_LEASE_SECONDS
        )
        self._open = ExitStack()
        self._leases: dict[Lease, Running] = {}
        self._lease_outage = Outage(f"queue {queue.name} (lease renewal)")
        self._heartbeat = make_client(
            settings.region, read_seconds=3, connections=settings.in_flight + 4, attempts=1
        )
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._stop_at = 0.0
        self._ending = threading.Event()
        self._memory: int | None = settings.memory_limit
        self._pressed: tuple[Lease, int] | None = None
        self._pressed_until = 0.0
        self._health = HealthFile(settings.health_folder)
        self._health_written = 0.0
        self._phase = "opening"
        self._metrics: Any = None

    def open(self) -> None:
        """Open volumes and models, before the first message is received."""
        self._memory = self._memory or cgroup_limit()
        threading.Thread(target=self._guard, name="guard", daemon=True).start()
        subscribers: list[Subscriber] = [log_events]
        if self.settings.metrics == "cloudwatch":
            from chunkflow_worker.report.cloudwatch import CloudWatch, make_client

            self._metrics = CloudWatch(
                make_client(self.settings.region), self.settings.metrics_namespace
            )
            subscribers.append(self._metrics)
        chain = self._open.enter_context(self.pipeline.open(tuple(subscribers), recorded=True))
        self.handler = Handler(
            chain,
            self.pipeline.digest,
            self.ledger,
            self.settings.worker_name,
            self.queue.max_receives,
            tuple(subscribers),
            Jobs(self.ledger),
            Patience(self.ledger.path, self.pipeline.volume_paths),
        )
        device = next(filter(None, (o.device() for o in self.pipeline.operators)), "") or cpu_name()
        log.info(
            "chunkflow-worker %s, queue %s, pipeline %s (%s), device %s, %d tasks in flight, lease %d s, ledger %s",
            version("chunkflow-worker"),
            self.queue.name,
            self.settings.pipeline,
            self.pipeline.digest,
            device,
            self.settings.in_flight,
            self.lease_seconds,
            self.ledger.path,
        )
        poller.last_turn = time.monotonic()  # opening volumes and models may have taken long
        self._phase = "running"
        self._health_written = 0.0
        if self.settings.spot_notice:
            notice = (self._interrupted, self._stopping)
            threading.Thread(
                target=wait_for_notice, args=notice, name="spot-notice", daemon=True
            ).start()

    def run(self, kwargs: dict[str, Any], task_id: str, receipt: str, receives: int) -> None:
        """Do one task under its lease and settle its message; never raises, since that would cost Celery a thread."""
        message = decode(kwargs)
        lease = Lease(
            poller.client,
            self.queue,
            receipt,
            self.lease_seconds,
            heartbeat=self._heartbeat,
            outage=self._lease_outage,
        )
        body = self._copy(message, task_id, min(message.attempts + receives - 1, MAX_ATTEMPTS))
        running = Running(message, task_id, receives, body, time.monotonic())
        with self._lock:
            self._leases[lease] = running
        try:
            with lease:
                self.handler.handle(
                    kwargs,
                    task_id,
                    receives,
                    lambda: self._check(lease),
                    lambda: self._waits(lease),
                )
                lease.check()
                lease.acknowledge()
        except BaseException as error:
            self._settle(lease, running, error)
        finally:
            with self._lock:
                self._leases.pop(lease, None)

    def _settle(self, lease: Lease, running: Running, error: BaseException) -> None:
        """Give a failed task's message its next place: another worker, the dead letters, or the queue after a delay."""
        attempts = running.message.attempts + running.receives
        exhausted = attempts >= self.queue.max_receives
        backoff = min(
            MAX_BACKOFF_SECONDS, self.settings.backoff_seconds * 2 ** min(attempts - 1, 16)
        )
        try:
            if isinstance(error, (Preempted, StorageOutage)):
                lease.give_back(running.body)
            elif isinstance(error, PipelineMismatch):
                log.critical("stopping: %s", error)
                lease.set_delay(backoff)
                self._ask_to_stop()
            elif isinstance(error, PermanentError) or (exhausted and running.message.attempts):
                # SQS counts the receives of this copy alone, so it would try on where earlier copies had their attempts.
                lease.dead_letter(self._copy(running.message, running.task_id, 0))
            else:
                lease.set_delay(
                    0 if exhausted else backoff
                )  # when exhausted, SQS moves it at the next receive
        except Exception as failure:
            log.warning("the message returns when its lease ends: %s", failure)

    def _copy(self, message: TaskMessage, task_id: str, attempts: int) -> str:
        return encode(message.model_copy(update={"attempts": attempts}), self.queue.name, task_id)

    def _check(self, lease: Lease) -> None:
        lease.check()
        if (fault := self._leases[lease].fault) is not None:
            raise fault
        if self._stopping.is_set() and self._grace_over():
            raise Preempted("the worker was told to stop")

    def _waits(self, lease: Lease) -> None:
        """For a task that waits for storage: that is none of its own time."""
        self._leases[lease].started = time.monotonic()
        self._check(lease)

    def _grace_over(self) -> bool:
        return time.monotonic() >= self._stop_at

    def _ask_to_stop(self) -> None:
        if (
            not self._stopping.is_set()
        ):  # a second signal would cut the grace of the tasks beside it
            os.kill(os.getpid(), signal.SIGTERM)

    def _interrupted(self, what: str) -> None:
        log.warning("EC2 takes this spot machine away (%s): draining", what)
        self._ask_to_stop()

    def stop(self) -> None:
        """Stop receiving; let tasks finish within the grace period, then give the rest back. A second call is impatient."""
        self._stop_at = time.monotonic() + (
            0 if self._stopping.is_set() else self.settings.grace_seconds
        )
        if not self._stopping.is_set():
            self._stopping.set()
            self._phase = "stopping"
            log.info(
                "stopping: %d tasks have %.0f s to finish",
                len(self._leases),
                self.settings.grace_seconds,
            )
            threading.Thread(target=self._drain, name="drain", daemon=True).start()

    def _drain(self) -> None:
        """Celery's threads pool cannot end a running task: give its message back, then end the process.

        When all tasks end within the grace period, Celery ends the process by itself, and this thread with it.
        """
        closing = threading.Thread(target=poller.close, name="sqs-close")
        closing.start()
        left: list[Lease] = []
        while not left:
            time.sleep(0.05)
            if self._grace_over():
                with self._lock:
                    left = list(self._leases)
        if self._ending.is_set():
            return  # with another status: see _end
        self._give_back(left)
        closing.join()
        self._exit(0)

    def _give_back(self, leases: Iterable[Lease]) -> None:
        count = 0
        for lease in leases:
            with self._lock:
                running = self._leases.get(lease)
            if running is None:
                continue
            try:
                lease.give_back(running.body)
                count += 1
            except Exception as error:
                log.warning("a message returns when its lease ends: %s", error)
        log.info("gave %d unfinished tasks back to the queue", count)

    def _exit(self, status: int) -> None:
        self.close()
        logging.shutdown()
        os._exit(status)

    def _end(self, status: int, failing: Mapping[Lease, RetryableError]) -> None:
        """End the process, since a thread can't be ended: the failing tasks count as failed, the others go back."""
        self._ending.set()
        self._stopping.set()
        self._phase = "stopping"
        closing = threading.Thread(target=poller.close, name="sqs-close", daemon=True)
        closing.start()

        def settle(lease: Lease, error: RetryableError) -> None:
            running = self._leases.get(lease)
            if running is None:
                return  # it ended meanwhile
            seconds = time.monotonic() - running.started
            self.handler.give_up(running.message, running.task_id, running.receives, seconds, error)
            self._settle(lease, running, error)

        settling = [
            threading.Thread(target=settle, args=item, daemon=True) for item in failing.items()
        ]
        for thread in settling:
            thread.start()
        self._give_back([lease for lease in list(self._leases) if lease not in failing])
        until = time.monotonic() + _RECORDING_SECONDS
        for thread in (*settling, closing):
            thread.join(max(0.0, until - time.monotonic()))
        log.critical("the worker ends with status %d", status)
        self._exit(status)

    def close(self) -> None:
        self._phase = "stopping"
        self._health.remove()
        if self._metrics is not None:
            self._metrics.close()

    def _guard(self) -> None:
        """Turns every half second: watchdog, time limit, memory, and the file that tells the worker's health."""
        while not self._ending.wait(_GUARD_SECONDS):
            if self._phase != "opening":
                self._watch_turns()
                self._watch_time()
                self._watch_memory()
            if time.monotonic() - self._health_written >= _HEALTH_SECONDS:
                self._tell_health()

    def _watch_turns(self) -> None:
        limit = self.settings.watchdog_seconds
        if not self._stopping.is_set() and time.monotonic() - poller.last_turn > limit:
            log.critical("the poll loop has stood still for %.0f s, ending the worker", limit)
            self._health.remove()
            logging.shutdown()
            os._exit(ENDED_STANDING_STILL)

    def _watch_time(self) -> None:
        limit = self.settings.task_time_limit
        if limit is None:
            return
        with self._lock:
            late = {
                lease: running
                for lease, running in self._leases.items()
                if time.monotonic() - running.started > limit
            }
        if late:
            for running in late.values():
                log.critical(
                    "task %s is over the limit of %.0f s, ending the worker",
                    running.message.bbox,
                    limit,
                )
            error = TaskTooLong(f"ended after {limit:.0f} s, the time limit of a task")
            self._end(ENDED_TASK_TOO_LONG, dict.fromkeys(late, error))

    def _watch_memory(self) -> None:
        """Fail the newest task when memory gets scarce; end the process when it grows on inside an operator."""
        if self._memory is None or (used := resident_bytes()) < MEMORY_SHARE * self._memory:
            return
        with self._lock:
            leases = dict(self._leases)
        if self._pressed is not None and self._pressed[0] in leases:
            lease, before = self._pressed
            if used <= before and used < self._memory:
                return
            log.critical("memory grows on, %s: ending the worker", _sizes(used, self._memory))
            self._end(
                ENDED_MEMORY, {lease: OutOfMemory(f"out of memory: {_sizes(used, self._memory)}")}
            )
        elif (
            self._pressed is not None
        ):  # that task is gone, and its memory needs a moment to be free
            self._pressed, self._pressed_until = None, time.monotonic() + _FREEING_SECONDS
        elif leases and time.monotonic() >= self._pressed_until:
            lease = max(leases, key=lambda held: leases[held].started)
            leases[lease].fault = OutOfMemory(f"out of memory: {_sizes(used, self._memory)}")
            self._pressed = lease, used
            log.error(
                "memory gets scarce, %s: task %s fails",
                _sizes(used, self._memory),
                leases[lease].message.bbox,
            )

    def _tell_health(self) -> None:
        now = time.monotonic()
        with self._lock:
            lost = [now - lease.lost_at for lease in self._leases if lease.lost_at is not None]
        first, self._health_written = not self._health_written, now
        try:
            self._health.write(
                name=self.settings.worker_name,
                phase=self._phase,
                turn_age=now - poller.last_turn,
                turn_limit=self.settings.watchdog_seconds,
                lost_seconds=max(lost, default=0.0),
                lease_seconds=self.lease_seconds,
                queue_answers=not poller.outage.is_on,
            )
        except OSError as error:
            if first:
                log.warning("probes will find no state of this worker: %s", error)


def _sizes(used: int, limit: int) -> str:
    return f"{used / 2**20:,.0f} MiB are used and the limit is {limit / 2**20:,.0f} MiB"
