"""The local SQS hands each message to one receiver, however many ask at the same time."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import boto3
import pytest
from botocore.exceptions import ClientError

from chunkflow_worker.errors import ConfigError
from chunkflow_worker.local_aws.serve import local_aws

MESSAGES, RECEIVERS = 60, 6


def receive_all(url: str, visibility: int) -> list[str]:
    sqs = boto3.client("sqs")
    found: list[str] = []
    while messages := sqs.receive_message(
        QueueUrl=url, MaxNumberOfMessages=1, WaitTimeSeconds=1, VisibilityTimeout=visibility
    ).get("Messages", []):
        found += [message["Body"] for message in messages]
    return found


def fill(sqs: Any, url: str) -> list[str]:
    for first in range(0, MESSAGES, 10):
        sqs.send_message_batch(
            QueueUrl=url, Entries=[{"Id": str(i), "MessageBody": str(first + i)} for i in range(10)]
        )
    return sorted(map(str, range(MESSAGES)))


def test_no_message_is_handed_out_twice(aws: dict[str, str], unique_name: str) -> None:
    sqs = boto3.client("sqs")
    url = sqs.create_queue(QueueName=unique_name)["QueueUrl"]
    sent = fill(sqs, url)
    with ThreadPoolExecutor(RECEIVERS) as pool:
        received = [
            body
            for part in pool.map(lambda _: receive_all(url, 600), range(RECEIVERS))
            for body in part
        ]
    assert sorted(received) == sent


def test_each_message_dies_once(aws: dict[str, str], unique_name: str) -> None:
    sqs = boto3.client("sqs")
    dead = sqs.create_queue(QueueName=f"{unique_name}-dead")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"][
        "QueueArn"
    ]
    policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 1})
    url = sqs.create_queue(QueueName=unique_name, Attributes={"RedrivePolicy": policy})["QueueUrl"]
    sent = fill(sqs, url)
    for _ in range(2):  # received, and visible again at once; then moved
        with ThreadPoolExecutor(RECEIVERS) as pool:
            list(pool.map(lambda _: receive_all(url, 0), range(RECEIVERS)))
    assert sorted(receive_all(dead, 600)) == sent


def test_a_long_poll_returns_when_a_message_comes(aws: dict[str, str], unique_name: str) -> None:
    sqs = boto3.client("sqs")
    url = sqs.create_queue(QueueName=unique_name)["QueueUrl"]
    timer = threading.Timer(0.5, lambda: sqs.send_message(QueueUrl=url, MessageBody="late"))
    timer.start()
    began = time.monotonic()
    (message,) = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=20)["Messages"]
    assert message["Body"] == "late"
    assert time.monotonic() - began < 15
    timer.join()


def test_it_listens_where_it_is_told(unique_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with local_aws(host="127.0.0.2") as variables:
        assert variables["AWS_ENDPOINT_URL"].startswith("http://127.0.0.2:")
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        assert "127.0.0.2" in boto3.client("sqs").create_queue(QueueName=unique_name)["QueueUrl"]


def test_an_address_where_another_server_listens_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with (
            pytest.raises(
                ConfigError,
                match=f"127.0.0.1:{port}: cannot listen on this address: Address already in use",
            ),
            local_aws(port),
        ):
            pass
    with pytest.raises(ConfigError, match="port must be 0-65535"), local_aws(99999):
        pass


def ask(url: str, method: str = "GET", **headers: str) -> tuple[int, str]:
    """The status of an answer and its body; an answer that a page could read fails the test."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        with urlopen(Request(url, headers=named, method=method), timeout=20) as answer:
            status, got, body = answer.status, answer.headers, answer.read().decode()
    except HTTPError as error:
        status, got, body = error.code, error.headers, error.read().decode()
    assert not [name for name in got if name.lower().startswith("access-control-")]
    return status, body


EVIL = "https://evil.example"


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": EVIL},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1.evil.example"},
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example:5000"},
        {"Host": "evil.example@127.0.0.1"},
        {"Host": "sqs.us-east-1.amazonaws.com"},
        {"Host": "8.8.8.8"},
        {"Host": "aws"},
        {"Host": "[::1"},
        {"Sec_Fetch_Site": "cross-site"},
    ],
    ids=str,
)
def test_web_pages_are_refused(aws: dict[str, str], headers: dict[str, str]) -> None:
    url = aws["AWS_ENDPOINT_URL"]
    queues = f"{url}/?Action=ListQueues&Version=2012-11-05"
    assert ask(queues)[0] == 200
    for method in ("GET", "POST", "PUT", "DELETE"):
        status, body = ask(queues, method, **headers)
        assert (status, body.partition(":")[0]) == (403, "refused")
    asked = {"Access_Control_Request_Method": "POST", **headers}
    assert ask(url, "OPTIONS", **asked) == (204, "")


@pytest.mark.parametrize(
    "headers", [{"Origin": EVIL}, {"Origin": "http://127.0.0.1:8888"}, {"Host": "evil.example"}]
)
def test_a_page_cannot_reset_it(
    aws: dict[str, str], unique_name: str, headers: dict[str, str]
) -> None:
    url = boto3.client("sqs").create_queue(QueueName=unique_name)["QueueUrl"]
    _, body = ask(f"{aws['AWS_ENDPOINT_URL']}/moto-api/reset", "POST", **headers)
    assert json.loads(body)["status"].startswith("refused: ")
    assert boto3.client("sqs").get_queue_url(QueueName=unique_name)["QueueUrl"] == url


OTHER_SERVICES: dict[str, Callable[[Any], object]] = {
    "sns": lambda client: client.create_topic(Name="t"),
    "lambda": lambda client: client.list_functions(),
    "cloudformation": lambda client: client.list_stacks(),
    "events": lambda client: client.list_rules(),
    "iam": lambda client: client.list_roles(),
}


def test_only_its_own_services_are_served() -> None:
    with local_aws() as variables:
        for service, call in OTHER_SERVICES.items():
            client = boto3.client(service, endpoint_url=variables["AWS_ENDPOINT_URL"])
            with pytest.raises(ClientError, match=r"AccessDenied|403"):
                call(client)
        sts = boto3.client("sts", endpoint_url=variables["AWS_ENDPOINT_URL"])
        assert sts.get_caller_identity()["Account"]


@pytest.mark.parametrize(
    "host", ["aws:5000", "aws.shop.svc", "aws.shop.svc.cluster.local", "10.1.2.3"]
)
def test_a_server_for_other_machines_knows_inner_names_only(host: str) -> None:
    with local_aws(host="0.0.0.0") as variables:
        url = f"{variables['AWS_ENDPOINT_URL']}/?Action=ListQueues&Version=2012-11-05"
        assert ask(url, Host=host)[0] != 403
        assert ask(url, Host=host, Origin=EVIL)[0] == 403
        assert ask(url, Host="rebound.evil.example")[0] == 403
