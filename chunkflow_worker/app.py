"""Composition root: settings, pipeline, queue, ledger and metrics become one Celery worker. Only this file uses Celery."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
import warnings
from contextlib import ExitStack
from importlib.metadata import version
from typing import Any

from celery import Celery, Task, signals
from kombu.entity import Queue as KombuQueue

from chunkflow_worker.errors import ChunkflowError, ConfigError, PermanentError, PipelineMismatch, Preempted
from chunkflow_worker.events import Subscriber
from chunkflow_worker.handler import Handler
from chunkflow_worker.inference.host import cpu_name
from chunkflow_worker.lease import Lease
from chunkflow_worker.ledger import Ledger
from chunkflow_worker.message import MAX_ATTEMPTS, TASK_NAME, TaskMessage, decode, encode
from chunkflow_worker.metrics.log import log_events
from chunkflow_worker.pipeline import Pipeline
from chunkflow_worker.settings import Settings
from chunkflow_worker.sqs import Queue, find_queue, make_client
from chunkflow_worker.transport import poller

log = logging.getLogger("chunkflow_worker")

MAX_BACKOFF_SECONDS = 900
MAX_DEFAULT_LEASE_SECONDS = 120


class Worker:
    """What one worker process holds while it runs."""

    def __init__(self, settings: Settings, pipeline: Pipeline, queue: Queue):
        self.settings, self.pipeline, self.queue = settings, pipeline, queue
        path = settings.ledger or pipeline.ledger_path
        if path is None:
            raise ConfigError.one(
                str(settings.pipeline), "ledger", "the chain saves no volume, so its ledger has no place", "set CHUNKFLOW_LEDGER"
            )
        self.ledger = Ledger(path)
        self.lease_seconds = settings.lease_seconds or min(max(queue.visibility_seconds, 3), MAX_DEFAULT_LEASE_SECONDS)
        self._open = ExitStack()
        self._leases: dict[Lease, str] = {}
        self._heartbeat = make_client(settings.region, read_seconds=3, connections=settings.in_flight + 4, attempts=1)
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._stop_at = 0.0
        self._metrics: Any = None

    def open(self) -> None:
        """Open volumes and models, before the first message is received."""
        subscribers: list[Subscriber] = [log_events]
        if self.settings.metrics == "cloudwatch":
            from chunkflow_worker.metrics.cloudwatch import CloudWatch, make_client

            self._metrics = CloudWatch(make_client(self.settings.region), self.settings.metrics_namespace)
            subscribers.append(self._metrics)
        chain = self._open.enter_context(self.pipeline.open(tuple(subscribers), recorded=True))
        self.handler = Handler(
            chain, self.pipeline.digest, self.ledger, self.settings.worker_name, self.queue.max_receives, tuple(subscribers)
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
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def run(self, kwargs: dict[str, Any], task_id: str, receipt: str, receives: int) -> None:
        """Do one task under its lease and settle its message; never raises, since that would cost Celery a thread."""
        message = decode(kwargs)
        lease = Lease(poller.client, self.queue, receipt, self.lease_seconds, heartbeat=self._heartbeat)
        with self._lock:
            self._leases[lease] = self._copy(message, task_id, min(message.attempts + receives - 1, MAX_ATTEMPTS))
        try:
            with lease:
                self.handler.handle(kwargs, task_id, receives, check=lambda: self._check(lease))
                lease.check()
                lease.acknowledge()
        except BaseException as error:
            self._settle(lease, error, message, task_id, receives)
        finally:
            with self._lock:
                self._leases.pop(lease, None)

    def _settle(self, lease: Lease, error: BaseException, message: TaskMessage, task_id: str, receives: int) -> None:
        """Give a failed task's message its next place: another worker, the dead letters, or the queue after a delay."""
        attempts = message.attempts + receives
        exhausted = attempts >= self.queue.max_receives
        backoff = min(MAX_BACKOFF_SECONDS, self.settings.backoff_seconds * 2 ** min(attempts - 1, 16))
        try:
            if isinstance(error, Preempted):
                lease.give_back(self._leases[lease])
            elif isinstance(error, PipelineMismatch):
                log.critical("stopping: %s", error)
                lease.set_delay(backoff)
                if not self._stopping.is_set():  # a second signal would cut the grace of the tasks beside it
                    os.kill(os.getpid(), signal.SIGTERM)
            elif isinstance(error, PermanentError) or (exhausted and message.attempts):
                # SQS counts the receives of this copy alone, so it would try on where earlier copies had their attempts.
                lease.dead_letter(self._copy(message, task_id, 0))
            else:
                lease.set_delay(0 if exhausted else backoff)  # when exhausted, SQS moves it at the next receive
        except Exception as failure:
            log.warning("the message returns when its lease ends: %s", failure)

    def _copy(self, message: TaskMessage, task_id: str, attempts: int) -> str:
        return encode(message.model_copy(update={"attempts": attempts}), self.queue.name, task_id)

    def _check(self, lease: Lease) -> None:
        lease.check()
        if self._stopping.is_set() and self._grace_over():
            raise Preempted("the worker was told to stop")

    def _grace_over(self) -> bool:
        return time.monotonic() >= self._stop_at

    def stop(self) -> None:
        """Stop receiving; let tasks finish within the grace period, then give the rest back. A second call is impatient."""
        self._stop_at = time.monotonic() + (0 if self._stopping.is_set() else self.settings.grace_seconds)
        if not self._stopping.is_set():
            self._stopping.set()
            log.info("stopping: %d tasks have %.0f s to finish", len(self._leases), self.settings.grace_seconds)
            threading.Thread(target=self._drain, name="drain", daemon=True).start()

    def _drain(self) -> None:
        """Celery's threads pool cannot end a running task: give its message back, then end the process.

        When all tasks end within the grace period, Celery ends the process by itself, and this thread with it.
        """
        closing = threading.Thread(target=poller.close, name="sqs-close")
        closing.start()
        left: list[tuple[Lease, str]] = []
        while not left:
            time.sleep(0.05)
            if self._grace_over():
                with self._lock:
                    left = list(self._leases.items())
        for lease, body in left:
            try:
                lease.give_back(body)
            except Exception as error:
                log.warning("a message returns when its lease ends: %s", error)
        log.info("gave %d unfinished tasks back to the queue", len(left))
        self.close()
        closing.join()
        logging.shutdown()
        os._exit(0)

    def close(self) -> None:
        if self._metrics is not None:
            self._metrics.close()

    def _watch(self) -> None:
        limit = self.settings.watchdog_seconds
        poller.last_turn = time.monotonic()  # opening volumes and models may have taken long
        while not self._stopping.wait(min(limit / 4, 10)):
            if time.monotonic() - poller.last_turn > limit:
                log.critical("the poll loop has stood still for %.0f s, ending the worker", limit)
                logging.shutdown()
                os._exit(70)


def make_app(settings: Settings | None = None) -> Celery:
    """The Celery application of a worker.

    Raises ConfigError when settings, pipeline or queue are wrong, QueueUnavailable when SQS can't be reached.
    """
    settings = settings or Settings.load()
    _set_up_logging(settings)
    if settings.pipeline is None:
        raise ConfigError.one("settings", "CHUNKFLOW_PIPELINE", "is not set", "give the path of a pipeline file")
    pipeline = Pipeline.load(settings.pipeline)
    queue = find_queue(make_client(settings.region), settings.queue)
    worker = Worker(settings, pipeline, queue)
    app = Celery("chunkflow_worker", set_as_current=False)
    app.conf.update(
        broker_url="sqs://",
        broker_transport="chunkflow_worker.transport:Transport",
        broker_transport_options={
            "region": settings.region,
            "predefined_queues": {queue.name: {"url": queue.url}},
        },
        broker_connection_retry_on_startup=True,
        task_queues=[KombuQueue(queue.name)],
        task_default_queue=queue.name,
        task_create_missing_queues=False,
        task_acks_late=True,
        task_acks_on_failure_or_timeout=False,
        task_ignore_result=True,
        accept_content=["json"],
        result_backend=None,
        worker_pool="threads",
        worker_concurrency=settings.in_flight,
        worker_prefetch_multiplier=1,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
    )

    @app.task(name=TASK_NAME, bind=True, acks_late=True, ignore_result=True)
    def task(self: Task, **kwargs: Any) -> None:
        message = self.request.properties["delivery_info"]["sqs_message"]
        worker.run(kwargs, self.request.id, message["ReceiptHandle"], int(message["Attributes"]["ApproximateReceiveCount"]))

    _connect_signals(worker, settings, queue)
    return app


def _set_up_logging(settings: Settings) -> None:
    who = settings.worker_name.replace("%", "%%") + " " if "worker_name" in settings.model_fields_set else ""
    logging.basicConfig(level=settings.log_level, format=f"%(asctime)s %(levelname)s {who}%(message)s")
    for name in ("celery", "kombu", "boto3", "botocore", "urllib3", "google", "cloudfiles"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # Celery warns root about pickle, and JSON is the only content accepted here.
    warnings.filterwarnings("ignore", message="You're running the worker with superuser")


def _connect_signals(worker: Worker, settings: Settings, queue: Queue) -> None:
    @signals.setup_logging.connect(weak=False)
    def keep_our_logging(**_: Any) -> None:
        """Being connected keeps Celery from setting up logging of its own."""

    @signals.worker_init.connect(weak=False)
    def open_worker(sender: Any, **_: Any) -> None:
        pool = getattr(sender.pool_cls, "__module__", str(sender.pool_cls))
        if "thread" not in pool:
            raise SystemExit(f"error: chunkflow-worker runs in Celery's threads pool only, not in {pool}; leave out --pool")
        # Until Celery sets its own handlers there is nothing to give back.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        poller.configure(queue, settings.region, settings.poll_seconds)
        try:
            worker.open()
        except ChunkflowError as error:  # Celery would log it and go on
            sys.stderr.write(f"error: {error}\n")
            sys.exit(2 if isinstance(error, ConfigError) else 1)

    @signals.worker_shutting_down.connect(weak=False)
    def stop_worker(**_: Any) -> None:
        worker.stop()

    @signals.worker_shutdown.connect(weak=False)
    def close_worker(**_: Any) -> None:
        poller.close()
        worker.close()
