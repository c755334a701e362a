"""A worker survives faults of SQS that end kombu 5.7's own receive path, or make it deaf.

Each fault is put between a running worker and SQS. The worker must do the task that is sent after
it. With kombu's own transport (without `broker_transport` in app.py) the worker exits or never
receives again after each fault of ReceiveMessage, after the outage, and after the malformed
messages of test_failures.py. It survives a failing acknowledgement, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from chunkflow_worker.image.bbox import Vec3
from tests.support.forked import AnyWorker
from tests.support.proxy import Fault, Proxy, fault_proxy
from tests.support.service import Service

pytestmark = pytest.mark.e2e

Worker = tuple[Service, Proxy, AnyWorker]


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory, aws: dict[str, str]) -> Iterator[Worker]:
    """One worker behind the proxy, for all faults. A poll takes a second."""
    with fault_proxy(aws["AWS_ENDPOINT_URL"]) as (address, proxy):
        service = Service(tmp_path_factory.mktemp("faults"), "q-faults", aws)
        service.volumes(Vec3(16, 64, 64 * 20))
        service.chain()
        service.create_queue(visibility=5)
        service.environment["AWS_ENDPOINT_URL_SQS"] = address
        process = service.start_worker()
        del service.environment["AWS_ENDPOINT_URL_SQS"]
        service.wait(lambda: "in flight" in service.logs(), "the start line")
        yield service, proxy, process
        service.close()


_next_box = iter(range(20))


def send_one(service: Service) -> str:
    index = next(_next_box)
    service.enqueue(job=f"job-{index}", task_index_start=str(index), task_index_stop=str(index + 1))
    return f"0-16_0-64_{64 * index}-{64 * index + 64}"


@pytest.mark.parametrize(
    ("fault", "count"),
    [
        pytest.param("503", 1, id="503"),
        pytest.param("500", 1, id="500", marks=pytest.mark.long),
        pytest.param("503", 8, id="503-outlasting-retries"),
        pytest.param("close", 1, id="reset"),
        pytest.param("close", 8, id="resets", marks=pytest.mark.long),
        pytest.param("403", 3, id="expired-token"),
        pytest.param("400", 3, id="throttled", marks=pytest.mark.long),
        pytest.param("hang", 1, id="half-open"),
    ],
)
def test_worker_survives_a_fault_of_receive(worker: Worker, fault: Fault, count: int) -> None:
    service, proxy, process = worker
    proxy.inject("ReceiveMessage", fault, count)
    assert proxy.hit.wait(60)
    box = send_one(service)
    service.wait(lambda: service.ledger.is_done(box), f"{box} done after {fault}", 60)
    assert process.poll() is None


def test_worker_survives_a_failing_acknowledgement(worker: Worker) -> None:
    service, proxy, process = worker
    proxy.inject("DeleteMessage", "503", 6)
    box = send_one(service)
    service.wait(lambda: service.ledger.is_done(box), f"{box} done", 60)
    service.wait(
        lambda: service.messages() == (0, 0, 0), "the message deleted, on its second delivery", 60
    )
    (record,) = service.ledger.records([box])
    assert record.attempts == 1, "the second delivery found it done"
    other = send_one(service)
    service.wait(lambda: service.ledger.is_done(other), "a further task done", 60)
    assert process.poll() is None


def test_outage_of_all_of_sqs_while_a_task_ends(worker: Worker) -> None:
    service, proxy, process = worker
    box = send_one(service)
    proxy.inject("", "close", 10)
    assert proxy.hit.wait(120)
    service.wait(lambda: service.ledger.is_done(box), f"{box} done", 60)
    other = send_one(service)
    service.wait(lambda: service.ledger.is_done(other), "a further task done", 60)
    assert process.poll() is None
    assert service.logs().count("does not answer, retrying") < 12, (
        "said once for an outage, not in a flood"
    )


def test_watchdog_ends_a_worker_whose_poll_loop_stands_still(
    tmp_path: Path, aws: dict[str, str]
) -> None:
    with fault_proxy(aws["AWS_ENDPOINT_URL"]) as (address, proxy):
        service = Service(tmp_path, "q-watchdog", aws)
        service.volumes(Vec3(16, 64, 64))
        service.chain()
        service.create_queue()
        service.environment["AWS_ENDPOINT_URL_SQS"] = address
        process = service.start_worker(watchdog_seconds=2)
        service.wait(lambda: "in flight" in service.logs(), "the start line")
        polls = proxy.requests["ReceiveMessage"]
        service.wait(
            lambda: proxy.requests["ReceiveMessage"] >= polls + 4, "an idle worker left alone"
        )
        proxy.inject("ReceiveMessage", "hang", 100)
        assert process.wait(30) == 70
        assert "made no progress" in service.logs()
        service.close()
