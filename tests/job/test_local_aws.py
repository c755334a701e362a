"""The local SQS hands each message to one receiver, however many ask at the same time."""

from __future__ import annotations

import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import pytest

from chunkflow_worker.errors import ConfigError
from chunkflow_worker.job.local_aws import local_aws

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
