"""The faults between a worker and AWS do what their names say, and only to their service."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tests.support.proxy import Fault, Proxy, fault_proxy

CONTENT = bytes(range(256)) * 512  # 128 kB: two seconds at the pace of a throttled answer


@pytest.fixture
def proxied(aws: dict[str, str], unique_name: str) -> Iterator[tuple[Proxy, Callable[[str], Any]]]:
    """The proxy, and a function that makes clients behind it. A bucket holds one object.

    The clients do not retry.
    """
    with fault_proxy(aws["AWS_ENDPOINT_URL"]) as (address, proxy):

        def client(service: str) -> Any:
            config = Config(
                retries={"total_max_attempts": 1}, read_timeout=5, s3={"addressing_style": "path"}
            )
            return boto3.client(service, endpoint_url=address, config=config)

        client("s3").create_bucket(Bucket=unique_name)
        client("s3").put_object(Bucket=unique_name, Key="x", Body=CONTENT)
        yield proxy, client


def read(client: Callable[[str], Any], bucket: str) -> bytes:
    content: bytes = client("s3").get_object(Bucket=bucket, Key="x")["Body"].read()
    return content


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("500", ClientError), ("503", ClientError), ("403", ClientError), ("400", ClientError),
        ("close", BotoCoreError), ("cut", BotoCoreError),
    ],
)  # fmt: skip
def test_a_fault_of_one_service_spares_the_others(
    proxied: tuple[Proxy, Callable[[str], Any]],
    unique_name: str,
    fault: Fault,
    error: type[Exception],
) -> None:
    proxy, client = proxied
    proxy.set("s3", fault)
    with pytest.raises(error):
        read(client, unique_name)
    assert "ResponseMetadata" in client("sqs").list_queues()
    assert "Metrics" in client("cloudwatch").list_metrics()
    assert proxy.faults == {"s3": 1}
    proxy.clear("s3")
    assert read(client, unique_name) == CONTENT


@pytest.mark.parametrize(
    ("service", "call"), [("sqs", "list_queues"), ("cloudwatch", "list_metrics")]
)
def test_sqs_and_cloudwatch_fail_by_themselves(
    proxied: tuple[Proxy, Callable[[str], Any]], unique_name: str, service: str, call: str
) -> None:
    proxy, client = proxied
    proxy.set("sqs" if service == "sqs" else "monitoring", "503")
    with pytest.raises(ClientError):
        getattr(client(service), call)()
    assert read(client, unique_name) == CONTENT


@pytest.mark.parametrize(("fault", "seconds"), [("delay", 1), ("throttle", 1.5)])
def test_slow_answers_are_whole(
    proxied: tuple[Proxy, Callable[[str], Any]], unique_name: str, fault: Fault, seconds: float
) -> None:
    proxy, client = proxied
    proxy.set("s3", fault)
    began = monotonic()
    assert read(client, unique_name) == CONTENT
    assert monotonic() - began >= seconds
