"""`Worker`: runs the tasks of one process, settles their messages, and stops. No Celery in it."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from functools import partial
from importlib.metadata import version
from time import monotonic

from chunkflow_worker.config.settings import Settings
from chunkflow_worker.errors import (
    JobPaused,
    LeaseLost,
    PermanentError,
    PipelineMismatch,
    Preempted,
    RetryableError,
    StageElsewhere,
    StorageOutage,
    TaskHeld,
)
from chunkflow_worker.job.deleter import Deleter
from chunkflow_worker.job.delivery import Delivery
from chunkflow_worker.job.heartbeat import Heartbeats
from chunkflow_worker.job.lease import Lease
from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.job.message import pipeline_digest
from chunkflow_worker.job.sqs import Queue, make_client
from chunkflow_worker.job.stage import PLAIN, Stage
from chunkflow_worker.job.stages import not_beside
from chunkflow_worker.job.volumes import no_ledger
from chunkflow_worker.machine.clock import elapsed
from chunkflow_worker.machine.cpu import cpu_name
from chunkflow_worker.machine.gce import wait_for_preemption
from chunkflow_worker.machine.spot import wait_for_notice
from chunkflow_worker.pipeline.chain import Pipeline
from chunkflow_worker.pipeline.estimate import Plannable
from chunkflow_worker.report.access import meaning
from chunkflow_worker.report.events import Subscriber
from chunkflow_worker.report.log import log_events
from chunkflow_worker.report.outage import Outage
from chunkflow_worker.service.guard import Guard
from chunkflow_worker.service.handler import Handler
from chunkflow_worker.service.heartbeat import HeartbeatWriter
from chunkflow_worker.service.in_hand import Held, InHand
from chunkflow_worker.service.metrics import About, open_metrics
from chunkflow_worker.service.open_chains import OpenChains
from chunkflow_worker.service.poller import Poller
from chunkflow_worker.service.pool import Pool
from chunkflow_worker.service.stage_work import StageWork
from chunkflow_worker.storage.fence import Fence

log = logging.getLogger("chunkflow_worker")

MAX_BACKOFF_SECONDS = 900
MUST_BE_MENDED = 2  # the exit status when a person must act
_RECORDING_SECONDS = 10.0  # to settle messages and record failures before the process ends
_CLOSING_SECONDS = 10.0  # to close what operators opened
_DRAIN_TURN_SECONDS = 0.05


class Worker:
    """What one worker process holds while it runs.

    exit_process: ends the process with a status, whatever its threads do.
    ask_to_stop: makes Celery shut down in its own way.
    """

    def __init__(
        self,
        settings: Settings,
        chains: Mapping[str, Pipeline],
        poller: Poller,
        pool: Pool = Pool((PLAIN,), frozenset({""}), ""),
        *,
        clock: Callable[[], float] = elapsed,
        exit_process: Callable[[int], object] = os._exit,
        ask_to_stop: Callable[[], object] = lambda: os.kill(os.getpid(), signal.SIGTERM),
    ):
        self.settings, self.chains, self.poller, self.pool = settings, chains, poller, pool
        self.ledger = Ledger(_ledger_path(settings, chains.values()), to_write=True)
        self.lease_seconds = settings.lease_seconds or self.queue.lease_seconds
        self.in_hand = InHand()
        self.guard = Guard(
            settings, self.lease_seconds, self.in_hand, poller, self.end, clock=clock
        )
        self._deleters = {url: Deleter(poller.client, url) for url in self.queue.urls}
        self._heartbeat = make_client(
            settings.region,
            # One that hangs must not outlast the lease.
            read_seconds=min(3, self.lease_seconds / 4),
            connections=poller.places.most_tasks + 4,
            attempts=1,
        )
        self._lease_outage = Outage(f"queue {self.queue.name} (lease renewal)")
        self._open_chains, self._reports = OpenChains(chains), ExitStack()
        self._works: dict[str, StageWork] = {}
        self._heart: HeartbeatWriter | None = None
        self._subscribers: tuple[Subscriber, ...] = (log_events,)
        self._stopping, self._ending = threading.Event(), threading.Event()
        self._stop_at = 0.0
        self._clock, self._exit_process, self._ask = clock, exit_process, ask_to_stop

    @property
    def queue(self) -> Queue:
        return self.poller.queue

    def open(self) -> None:
        """Open volumes and models, before the first message is received.

        Those of a stage are opened by its first task. Raises ConfigError, PermanentError and
        RetryableError as operators do.
        """
        self.guard.start()
        self.poller.denied = self._must_be_mended
        digests = [chain.digest for chain in self.chains.values()]
        digest = digests[0] if len(digests) == 1 else pipeline_digest(digests)
        about = About(self._device(), self.queue.name, digest)
        self._subscribers += tuple(open_metrics(self.settings, about, self.in_hand, self._reports))
        if self.settings.heartbeat_seconds:
            self._open_heartbeat(about)
        opening = partial(self.in_hand.opening, self._clock)
        apart = partial(not_beside, self.pool.stages)
        self._open_chains = OpenChains(self.chains, self._subscribers, opening, apart)
        if PLAIN.name in self.chains:
            self._open_chains.open(PLAIN.name)
        self._works = {stage.name: self._work(stage) for stage in self.pool.stages}
        self._log_start()
        self.guard.running()
        if self._heart is not None:
            self._heart.start()
        if self.settings.spot_notice:
            for name, wait in (("EC2", wait_for_notice), ("Google", wait_for_preemption)):
                notice = (partial(self._interrupted, name), self._stopping)
                threading.Thread(
                    target=wait, args=notice, name=f"{name}-notice", daemon=True
                ).start()

    def run(self, delivery: Delivery) -> None:
        """Do one task under its lease and settle its message.

        Never raises: an exception would cost Celery a thread.
        """
        work = self._works.get(delivery.message.stage)
        lease = Lease(
            self.poller.client,
            self.queue,
            delivery,
            self.lease_seconds,
            delete=self._deleters[delivery.source or self.queue.url].delete,
            heartbeat=self._heartbeat,
            outage=self._lease_outage,
            hold=partial(work.holds.write, delivery.message.bbox) if work else None,
            denied=self._must_be_mended,
            clock=self._clock,
        )
        held = Held(lease, self._clock())
        held.fence = Fence(lambda: self._check(held))
        check_waiting = partial(self._check_waiting, held)
        with self.in_hand.holding(held), self.poller.places.taken(check_waiting) as place:
            held.place = place
            try:
                with lease:
                    self._handler(delivery).handle(
                        delivery,
                        held.fence.check,
                        check_waiting,
                        held.fence,
                        place.working,
                    )
                    held.is_recorded = True
                    lease.check()
                    lease.acknowledge()
            except BaseException as error:
                self._settle(held, error)
                self.poller.note(put_aside=isinstance(error, JobPaused | StageElsewhere))
            else:
                self.poller.note(put_aside=False)
            if lease.was_held and work:
                work.remove_hold(delivery.message.bbox)

    def stop(self) -> None:
        """Stop receiving; tasks may finish within the grace period, then the rest is given back.

        A second call ends the grace period.
        """
        grace = 0.0 if self._stopping.is_set() else self.settings.grace_seconds
        self._stop_at = self._clock() + grace
        if not self._stopping.is_set():
            self._stopping.set()
            self.guard.stopping()
            log.info("stopping: %d tasks have %.0f s to finish", len(self.in_hand), grace)
            threading.Thread(target=self._drain, name="drain", daemon=True).start()

    def end(
        self, status: int, failing: Mapping[Held, RetryableError], *, at_once: bool = False
    ) -> None:
        """End the process, since a thread can't be ended.

        The failing tasks count as failed, the others are given back. at_once: settle nothing.
        """
        self._ending.set()
        self._stopping.set()
        if at_once:
            self.guard.close()
            logging.shutdown()
            self._exit_process(status)
            return
        self.guard.stopping()
        closing = _in_thread(self.poller.close)
        settling = [_in_thread(self._fail, held, error) for held, error in failing.items()]
        self._give_back(held for held in self.in_hand.all() if held not in failing)
        until = monotonic() + _RECORDING_SECONDS
        for thread in (*settling, closing):
            thread.join(max(0.0, until - monotonic()))
        log.critical("the worker exits with status %d", status)
        self._exit(status)

    def close(self) -> None:
        """End what `open` began. What operators opened stays open where tasks still use it."""
        self.guard.close()
        if len(self.in_hand) == 0:
            _in_thread(self._open_chains.close).join(_CLOSING_SECONDS)
        self._reports.close()

    def _open_heartbeat(self, about: About) -> None:
        heartbeats, phase = Heartbeats(self.ledger.path), lambda: self.guard.phase
        self._heart = HeartbeatWriter(
            self.settings, heartbeats, self.in_hand, about, phase, clock=self._clock
        )
        self._reports.callback(self._heart.close)
        self._subscribers += (self._heart,)

    def _work(self, stage: Stage) -> StageWork:
        path = stage.ledger_in(self.ledger.path)
        return StageWork.of(
            self._open_chains.of(stage.name),
            self.chains[stage.name],
            self.ledger if path == self.ledger.path else Ledger(path, to_write=True),
            self.settings,
            self.queue.max_receives,
            self._subscribers,
            self._clock,
        )

    def _handler(self, delivery: Delivery) -> Handler:
        """The handler of its stage. Raises StageElsewhere and PipelineMismatch."""
        self.pool.check(delivery.message)
        return self._works[delivery.message.stage].handler

    def _device(self) -> str:
        operators = (o for chain in self.chains.values() for o in chain.operators)
        devices = (o.device() for o in operators if isinstance(o, Plannable))
        return next(filter(None, devices), "") or cpu_name()

    def _log_start(self) -> None:
        log.info(
            "chunkflow-worker %s, queue %s, pipeline %s (%s), device %s, %d tasks in flight, "
            "lease %d s, ledger %s",
            version("chunkflow-worker"),
            " and ".join(self.queue.at(url).place for url in self.queue.urls),
            self.settings.pipeline,
            ", ".join(f"{name} {chain.digest}".strip() for name, chain in self.chains.items()),
            self._device(),
            self.settings.in_flight,
            self.lease_seconds,
            self.ledger.path,
        )

    def _settle(self, held: Held, error: BaseException) -> None:
        """Decide where the message of a failed task goes."""
        lease, delivery = held.lease, held.delivery
        is_last = delivery.is_last(self.queue.max_receives)
        try:
            if isinstance(error, (Preempted, StorageOutage)):
                lease.give_back()
            elif isinstance(error, TaskHeld):
                log.info("%s: looking again after %d s", error, error.seconds)
                lease.give_back(error.seconds)
            elif isinstance(error, JobPaused | StageElsewhere):
                lease.give_back(error.seconds)
            elif isinstance(error, PipelineMismatch):
                log.critical("stopping: %s", error)
                lease.set_delay(self._backoff(delivery))
                self._ask_to_stop()
            elif isinstance(error, PermanentError) or (is_last and delivery.is_copy):
                # SQS counts only the receives of this copy, and would go on trying.
                lease.dead_letter()
            elif is_last:
                lease.set_delay(0)  # SQS moves it to the dead-letter queue at the next receive
            else:
                lease.retry_later(self._backoff(delivery))
        except Exception as failure:
            log.warning("the message becomes visible again when its lease expires: %s", failure)

    def _backoff(self, delivery: Delivery) -> int:
        """Seconds until the next attempt."""
        doublings = min(delivery.attempt - 1, 16)
        backoff: int = self.settings.backoff_seconds * 2**doublings
        return min(MAX_BACKOFF_SECONDS, backoff)

    def _check(self, held: Held) -> None:
        """Raises when the task must stop."""
        held.lease.check()
        if held.fault is not None:
            raise held.fault
        if self._stopping.is_set() and self._grace_is_over():
            raise Preempted("the worker is being stopped")

    def _check_waiting(self, held: Held) -> None:
        """The same for a task that waits for storage, which does not count as its time."""
        held.started = self._clock()
        self._check(held)

    def _grace_is_over(self) -> bool:
        return self._clock() >= self._stop_at

    def _must_be_mended(self, error: Exception) -> None:
        """The role lacks a permission, without which tasks would be done again and again."""
        if not self._ending.is_set():
            self._ending.set()
            cause = error.__cause__ if isinstance(error, RetryableError) else error
            log.critical("stopping: queue %s: %s", self.queue.name, meaning(cause or error))
            _in_thread(self.end, MUST_BE_MENDED, {})  # it waits for the thread that asks

    def _ask_to_stop(self) -> None:
        if not self._stopping.is_set():  # a second signal would end the grace of other tasks
            self._ask()

    def _interrupted(self, cloud: str, what: str) -> None:
        log.warning("%s will interrupt this spot machine (%s): draining", cloud, what)
        self._ask_to_stop()

    def _drain(self) -> None:
        """Give back the tasks that do not end within the grace period, then end the process.

        Celery's threads pool cannot end a running task. When all tasks end in time, Celery ends
        the process by itself, and this thread with it.
        """
        closing = _in_thread(self.poller.close)
        while not (self._grace_is_over() and len(self.in_hand)):
            if self._ending.wait(_DRAIN_TURN_SECONDS):
                return  # the process ends with another status: see `end`
        self._give_back(self.in_hand.all())
        closing.join()
        self._exit(0)

    def _give_back(self, left: Iterable[Held]) -> None:
        count = 0
        for held in left:
            if held not in self.in_hand or held.lease.is_over:
                continue  # it has ended meanwhile, or the message is another worker's
            if held.is_recorded:
                continue  # a fresh copy would be done again, which a second receive is not
            try:
                held.lease.give_back()
                count += 1
            except Exception as error:
                log.warning("a message becomes visible again when its lease expires: %s", error)
        log.info("gave %d unfinished tasks back to the queue", count)

    def _fail(self, held: Held, error: RetryableError) -> None:
        """Record and settle the failure of a task whose thread does not come back."""
        if held in self.in_hand:
            self._handler(held.delivery).give_up(held.delivery, self._clock() - held.started, error)
            self._settle(held, error)

    def _note_late_writes(self) -> None:
        """Of tasks that end with the process, and were writing when their lease ended."""
        for held in self.in_hand.all():
            try:
                held.lease.check()
            except LeaseLost as error:
                if held.fence.writes:
                    self._handler(held.delivery).note_late(held.delivery, error)

    def _exit(self, status: int) -> None:
        _in_thread(self._note_late_writes).join(_RECORDING_SECONDS)
        self.close()
        logging.shutdown()
        self._exit_process(status)


def _ledger_path(settings: Settings, chains: Iterable[Pipeline]) -> str:
    """That of the whole file, by default beside what its last stage saves."""
    own = [chain.ledger_path for chain in chains if chain.ledger_path]
    path = settings.ledger or (own[-1] if own else None)
    if path is None:
        raise no_ledger(str(settings.pipeline))
    return path


def _in_thread(work: Callable[..., object], *arguments: object) -> threading.Thread:
    thread = threading.Thread(target=work, args=arguments, daemon=True)
    thread.start()
    return thread
