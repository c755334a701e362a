"""Composition root: settings, pipeline, queue and worker become one Celery application.

Only this file uses Celery.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import warnings
from time import sleep
from typing import Any

from celery import Celery, Task, signals
from celery.worker import state
from kombu.entity import Queue as KombuQueue

from chunkflow_worker.config.settings import Settings
from chunkflow_worker.errors import ChunkflowError, ConfigError, exit_status
from chunkflow_worker.job.inbox import Inbox
from chunkflow_worker.job.message import TASK_NAME
from chunkflow_worker.job.sqs import Queue, QueueUnavailable, find_queue, make_client
from chunkflow_worker.job.stages import load_stages, split_stage
from chunkflow_worker.machine.signals import STOP_SIGNALS, active_stop_signals
from chunkflow_worker.pipeline.chain import Pipeline
from chunkflow_worker.report.log import set_up_log
from chunkflow_worker.report.outage import Outage
from chunkflow_worker.report.say import say_text
from chunkflow_worker.report.unavailable import is_overload
from chunkflow_worker.service.outputs import refuse_lost_outputs
from chunkflow_worker.service.places import Places
from chunkflow_worker.service.poller import Poller
from chunkflow_worker.service.pool import Pool
from chunkflow_worker.service.transport import POLLER
from chunkflow_worker.service.worker import Worker

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0  # seconds between two looks for the queue
_ANSWER_SECONDS = 5  # that SQS may take beyond the length of a long poll


def make_app(settings: Settings | None = None) -> Celery:
    """The Celery application of a worker.

    Raises ConfigError when settings, pipeline or queue are wrong, QueueUnavailable when SQS can't
    be reached.
    """
    settings = settings or Settings.load()
    _set_up_logging(settings)
    if settings.pipeline is None:
        raise ConfigError.one(
            "settings",
            "CHUNKFLOW_PIPELINE",
            "is not set",
            "give the path of a pipeline file, by --pipeline or here",
        )
    loaded = load_stages(split_stage(settings.pipeline)[0], Pipeline.parse)
    refuse_lost_outputs(settings, loaded)
    chains = {stage.name: chain for stage, chain in loaded}
    pool = Pool.of(settings, [stage for stage, _ in loaded])
    places = Places(settings.in_flight)
    poller = Poller(_inbox(settings, pool.queue, places.most_tasks), places)
    worker = Worker(settings, chains, poller, pool)
    app = Celery("chunkflow_worker", set_as_current=False)
    app.conf.update(_configuration(settings, poller))

    @app.task(name=TASK_NAME, bind=True, acks_late=True, ignore_result=True, shared=False)
    def task(self: Task, **kwargs: Any) -> None:
        worker.run(self.request.properties["delivery_info"]["sqs_message"]["Delivery"])

    _connect_signals(worker)
    return app


def _inbox(settings: Settings, name: str, connections: int) -> Inbox:
    client = make_client(settings.region, connections=connections)
    receiver = make_client(settings.region, read_seconds=settings.poll_seconds + _ANSWER_SECONDS)
    queue = _find_queue(client, name)
    if queue.expiry_warning:
        logging.getLogger(__name__).warning(queue.expiry_warning)
    lease_seconds = settings.lease_seconds or queue.lease_seconds
    return Inbox(client, receiver, queue, settings.poll_seconds, lease_seconds)


def _find_queue(client: Any, name: str) -> Queue:
    """Look up the queue; while SQS answers that it is overloaded, wait.

    All workers of a fleet may start at once. Raises what `find_queue` does, at once where SQS does
    not answer, since the address may be wrong.
    """
    outage, pause = Outage(f"queue {name}"), _FIRST_PAUSE
    while True:
        try:
            queue = find_queue(client, name)
        except QueueUnavailable as error:
            is_answer = isinstance(getattr(error.__cause__, "response", None), dict)
            if not (is_answer and is_overload(error)):
                raise
            outage.failed(error)
            sleep(pause)
            pause = min(_LONGEST_PAUSE, 2 * pause)
        else:
            outage.answered()
            return queue


def _configuration(settings: Settings, poller: Poller) -> dict[str, Any]:
    queue = poller.queue
    return {
        "broker_url": "sqs://",
        "broker_transport": "chunkflow_worker.service.transport:Transport",
        "broker_transport_options": {
            "region": settings.region,
            "predefined_queues": {queue.name: {"url": queue.url}},
            POLLER: poller,
        },
        "broker_connection_retry_on_startup": True,
        "task_queues": [KombuQueue(queue.name)],
        "task_default_queue": queue.name,
        "task_create_missing_queues": False,
        "task_acks_late": True,
        "task_acks_on_failure_or_timeout": False,
        "task_ignore_result": True,
        "accept_content": ["json"],
        "result_backend": None,
        "worker_pool": "threads",
        "worker_concurrency": poller.places.most_tasks,
        "worker_prefetch_multiplier": 0,  # no limit but that of the places
        "worker_enable_remote_control": False,
        "worker_send_task_events": False,
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
    }


def _set_up_logging(settings: Settings) -> None:
    is_named = "worker_name" in settings.model_fields_set
    name = settings.worker_name.replace("%", "%%") + " " if is_named else ""
    libraries = "INFO" if settings.log_level == "DEBUG" else settings.log_level
    set_up_log(settings.log_level, libraries, f"%(asctime)s %(levelname)s {name}%(message)s")
    for logger in ("celery", "kombu"):
        logging.getLogger(logger).setLevel(logging.WARNING)
    # Celery warns root about pickle, and JSON is the only content accepted here.
    warnings.filterwarnings("ignore", message="You're running the worker with superuser")


def _connect_signals(worker: Worker) -> None:
    active = active_stop_signals()

    @signals.setup_logging.connect(weak=False)
    def keep_our_logging(**_: Any) -> None:
        """Being connected keeps Celery from setting up logging of its own."""

    @signals.worker_init.connect(weak=False)
    def open_worker(sender: Any, **_: Any) -> None:
        _check_pool(sender, worker.poller.places.most_tasks)

        def leave(*_: Any) -> None:
            """Until the worker is ready, there is nothing to give back.

            SystemExit would be taken for an error of an operator.
            """
            worker.close()
            os._exit(0)

        for number in active:
            signal.signal(number, leave)
        try:
            worker.open()
        except ChunkflowError as error:  # Celery would log it and go on
            say_text(f"error: {error}", err=True)
            sys.exit(exit_status(error))

    @signals.worker_ready.connect(weak=False)
    def drain_on_every_signal(**_: Any) -> None:
        """Celery's own restart the worker on SIGHUP, and fail in the threads pool on SIGQUIT."""

        def drain(*_: Any) -> None:
            worker.stop()
            state.should_stop = 0

        for number in STOP_SIGNALS:
            signal.signal(number, drain if number in active else signal.SIG_IGN)

    @signals.worker_shutting_down.connect(weak=False)
    def stop_worker(**_: Any) -> None:
        worker.stop()

    @signals.worker_shutdown.connect(weak=False)
    def close_worker(**_: Any) -> None:
        worker.poller.close()
        worker.close()
        # Nothing is left to give back, and while Python ends, a late signal would be fatal.
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)


def _check_pool(sender: Any, threads: int) -> None:
    pool = getattr(sender.pool_cls, "__module__", str(sender.pool_cls))
    if "thread" not in pool:
        raise SystemExit(
            f"error: chunkflow-worker runs only in Celery's threads pool, not in {pool}; "
            "remove --pool"
        )
    if sender.concurrency != threads:
        raise SystemExit(
            "error: CHUNKFLOW_IN_FLIGHT says how many tasks are in progress at the same time; "
            "remove --concurrency"
        )
