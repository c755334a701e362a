"""The application over SQS in memory: what it configures, and what it does on Celery's signals."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from celery import Celery, signals
from celery.concurrency.thread import TaskPool
from celery.worker import state

from chunkflow_worker.config.settings import Settings
from chunkflow_worker.errors import ConfigError, StorageUnavailable
from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.job.sqs import Queue, QueueUnavailable
from chunkflow_worker.local_aws.stub_sqs import StubSqs
from chunkflow_worker.machine.signals import STOP_SIGNALS
from chunkflow_worker.report.log import SafeFilter
from chunkflow_worker.service import app as module
from chunkflow_worker.service import worker as worker_module
from chunkflow_worker.service.app import make_app
from chunkflow_worker.service.worker import Worker
from tests.support.queues import BOX, receive, send

SIGNALS = (
    signals.setup_logging,
    signals.worker_init,
    signals.worker_ready,
    signals.worker_shutting_down,
    signals.worker_shutdown,
)


class Sender:
    """Stands for Celery's worker, which sends the signals."""

    def __init__(self, pool_cls: object, concurrency: int = 4):
        self.pool_cls, self.concurrency = pool_cls, concurrency


THREADS = Sender(TaskPool)  # of two tasks in flight, the default


@pytest.fixture(autouse=True)
def undone() -> Iterator[None]:
    """Handlers of signals, of Celery's signals and of the log are as before afterwards."""
    handlers = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    receivers = [list(each.receivers or ()) for each in SIGNALS]
    root = logging.getLogger()
    filters = {handler: list(handler.filters) for handler in root.handlers}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)
    for each, before in zip(SIGNALS, receivers, strict=True):
        each.receivers = before
        each.sender_receivers_cache.clear() if each.use_caching else None
    for handler, before_filters in filters.items():
        handler.filters = before_filters
    state.should_stop = None


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Worker]]:
    """The workers that are made; they are closed afterwards."""
    made: list[Worker] = []
    init = Worker.__init__

    def note(self: Worker, *arguments: Any, **options: Any) -> None:
        init(self, *arguments, **options)
        made.append(self)

    monkeypatch.setattr(Worker, "__init__", note)
    yield made
    for worker in made:
        worker._ending.set()
        worker.close()


@pytest.fixture
def make(
    sqs: StubSqs,
    queue: Queue,
    tmp_path: Path,
    workers: list[Worker],
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Celery]:
    """Make an application whose chain creates a chunk: `make(**settings)`."""
    chain = {"operators": [{"op": "create-chunk", "size": [4, 4, 8]}]}
    (tmp_path / "pipeline.yaml").write_text(yaml.safe_dump(chain))
    for each in (module, worker_module):
        monkeypatch.setattr(each, "make_client", lambda *_, **__: sqs)

    def make(**settings: Any) -> Celery:
        defaults = {
            "pipeline": tmp_path / "pipeline.yaml",
            "queue": queue.name,
            "ledger": str(tmp_path / "log"),
            "metrics": "none",
            "spot_notice": False,
            "health_folder": str(tmp_path),
            "poll_seconds": 1,
        }
        return make_app(Settings(**defaults | settings))

    return make


def test_the_application_has_a_place_for_each_task_in_flight(
    make: Callable[..., Celery], queue: Queue
) -> None:
    app = make(in_flight=3)
    assert app.conf.worker_pool == "threads"
    poller = app.conf.broker_transport_options["poller"]
    assert poller.places.free == 3
    threads, limit = app.conf.worker_concurrency, app.conf.worker_prefetch_multiplier
    assert (threads, limit) == (6, 0), "3 tasks may be worked on while 3 are recorded"
    assert app.conf.accept_content == ["json"]
    assert app.conf.task_acks_late
    assert not app.conf.worker_enable_remote_control
    options = app.conf.broker_transport_options
    assert options["predefined_queues"] == {"q": {"url": queue.url}}
    assert options["poller"].queue == queue
    assert [q.name for q in app.conf.task_queues] == ["q"]


def test_two_applications_share_nothing(make: Callable[..., Celery]) -> None:
    first, second = (make().conf.broker_transport_options["poller"] for _ in range(2))
    assert first is not second


def test_settings_come_from_the_environment(
    make: Callable[..., Celery], tmp_path: Path, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHUNKFLOW_QUEUE", queue.name)
    monkeypatch.delenv("CHUNKFLOW_PIPELINE", raising=False)
    with pytest.raises(ConfigError, match="CHUNKFLOW_PIPELINE"):
        make_app()


def test_a_queue_that_does_not_exist_is_refused(make: Callable[..., Celery]) -> None:
    with pytest.raises(ConfigError, match="there is no such queue"):
        make(queue="other")


def test_a_queue_whose_dead_letters_expire_first_gives_a_warning(
    make: Callable[..., Celery],
    sqs: StubSqs,
    queue: Queue,
    caplog: pytest.LogCaptureFixture,
) -> None:
    sqs.set_queue_attributes(queue.url, {"MessageRetentionPeriod": str(14 * 86_400)})
    make()
    assert "queue q: SQS keeps messages for 14 days and dead letters for 14 days" in caplog.text


def test_an_outage_of_sqs_is_an_error_of_its_own(make: Callable[..., Celery], sqs: StubSqs) -> None:
    sqs.fail["get_queue_url"] = OSError("reset")
    with pytest.raises(QueueUnavailable):
        make()


def test_secrets_do_not_reach_the_log_and_chatty_libraries_are_quiet(
    make: Callable[..., Celery],
) -> None:
    make(worker_name="100%")
    root = logging.getLogger()
    assert root.handlers
    for handler in root.handlers:
        assert any(isinstance(f, SafeFilter) for f in handler.filters)
    assert logging.getLogger("kombu").level == logging.WARNING


def test_the_task_runs_the_delivery_that_the_poller_opened(
    make: Callable[..., Celery], workers: list[Worker], sqs: StubSqs, queue: Queue, tmp_path: Path
) -> None:
    app = make()
    signals.worker_init.send(sender=THREADS)
    task = app.tasks["chunkflow.task"]
    delivery = receive(sqs, queue, BOX)
    info = {"sqs_message": {"Delivery": delivery}}
    task.push_request(id="id", properties={"delivery_info": info})
    task.run(v=1, job="forged", bbox="0-1_0-1_0-1")
    assert Ledger(str(tmp_path / "log")).is_done(BOX, "id")
    assert sqs.bodies(queue.url) == []


def test_only_the_threads_pool_is_accepted(make: Callable[..., Celery]) -> None:
    make()
    prefork = Sender("prefork")
    with pytest.raises(SystemExit, match="only in Celery's threads pool, not in prefork"):
        signals.worker_init.send(sender=prefork)


def test_only_the_setting_says_how_many_tasks_are_in_flight(make: Callable[..., Celery]) -> None:
    """With fewer threads of Celery's, received messages would wait without a renewal."""
    make()
    with pytest.raises(SystemExit, match="remove --concurrency"):
        signals.worker_init.send(sender=Sender(TaskPool, concurrency=1))


@pytest.mark.parametrize(
    ("error", "status"),
    [(ConfigError.one("a", "b", "wrong"), 2), (StorageUnavailable("s3: away"), 1)],
)
def test_what_cannot_be_opened_ends_the_process_with_one_line(
    make: Callable[..., Celery],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    status: int,
) -> None:
    make()

    def fail(self: Worker) -> None:
        raise error

    monkeypatch.setattr(Worker, "open", fail)
    with pytest.raises(SystemExit) as ended:
        signals.worker_init.send(sender=THREADS)
    assert ended.value.code == status
    assert capsys.readouterr().err == f"error: {error}\n"


class Left(BaseException):
    """Stands for the end of the process."""


def test_a_signal_while_the_worker_opens_ends_it_without_an_error(
    make: Callable[..., Celery], workers: list[Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    make()

    def leave(status: int) -> None:
        raise Left(status)

    def open_slowly(self: Worker) -> None:
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(module.os, "_exit", leave)
    monkeypatch.setattr(Worker, "open", open_slowly)
    with pytest.raises(Left, match="0"):
        signals.worker_init.send(sender=THREADS)
    assert workers[0].guard.phase == "stopping"


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_every_stop_signal_drains_a_worker_that_is_ready(
    make: Callable[..., Celery],
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
) -> None:
    for each in STOP_SIGNALS:
        signal.signal(each, signal.SIG_DFL)
    make()
    stops: list[Worker] = []
    monkeypatch.setattr(Worker, "stop", lambda self: stops.append(self))
    signals.worker_ready.send(sender=THREADS)
    signal.raise_signal(number)
    assert len(stops) == 1
    assert state.should_stop == 0


def test_signals_that_the_process_was_started_to_ignore_stay_ignored(
    make: Callable[..., Celery], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by nohup."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    make()
    stops: list[Worker] = []
    monkeypatch.setattr(Worker, "stop", lambda self: stops.append(self))
    signals.worker_ready.send(sender=THREADS)
    signal.raise_signal(signal.SIGHUP)
    assert stops == []


def test_a_shutdown_of_celery_stops_and_closes_the_worker(
    make: Callable[..., Celery], workers: list[Worker], sqs: StubSqs, queue: Queue
) -> None:
    app = make()
    signals.worker_init.send(sender=THREADS)
    poller = app.conf.broker_transport_options["poller"]
    send(sqs, queue)
    assert len(poller.poll(1)) == 1
    signals.worker_shutting_down.send(sender=THREADS)
    assert workers[0].guard.phase == "stopping"
    signals.worker_shutdown.send(sender=THREADS)
    assert len(sqs.visible(queue.url)) == 1, "what no task has taken is released"
    assert {signal.getsignal(number) for number in STOP_SIGNALS} == {signal.SIG_IGN}


def test_celery_itself_does_the_tasks_and_stops(
    make: Callable[..., Celery], workers: list[Worker], sqs: StubSqs, queue: Queue, tmp_path: Path
) -> None:
    """A whole worker of Celery in this thread, until all tasks are done."""
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("Celery sets signal handlers, which Python allows in the main thread only")
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    boxes = [f"0-4_0-4_{x}-{x + 8}" for x in (0, 8, 16)]
    for i, box in enumerate(boxes):
        send(sqs, queue, box, task_id=f"id-{i}")
    sqs.send_message(queue.url, "junk")
    delete, deleted = sqs.delete_message, threading.Semaphore(0)

    def note(**arguments: Any) -> None:
        delete(**arguments)
        deleted.release()

    def stop_when_done() -> None:
        for _ in range(4):
            deleted.acquire(timeout=30)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)

    sqs.delete_message = note  # type: ignore[method-assign]
    app = make(worker_name="w")
    stopping = threading.Thread(target=stop_when_done)
    stopping.start()
    celery_worker = app.Worker(quiet=True)
    celery_worker.start()
    stopping.join(10)
    assert celery_worker.exitcode in (0, None)
    assert Ledger(str(tmp_path / "log")).boxes() == (set(boxes), set())
    assert sqs.bodies(queue.url) == []
    assert sqs.bodies(queue.dead_letter_url) == ["junk"]
