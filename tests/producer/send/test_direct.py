from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from http.client import HTTPConnection
from typing import Any

import boto3
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import ClientError

from chunkflow_worker.job.sqs import Queue, make_client
from producer.send.batches import send
from producer.send.direct import Direct
from tests.support.aws_sqs import AWAY, DENIED, SqsServer, aws_sqs
from tests.support.queues import make_queue

ENTRIES = [{"Id": str(i), "MessageBody": f'{{"box": "{i} é"}}'} for i in range(3)]


@pytest.fixture
def sqs(monkeypatch: pytest.MonkeyPatch) -> Iterator[SqsServer]:
    with aws_sqs() as server:
        monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
        for name, value in server.variables.items():
            monkeypatch.setenv(name, value)
        yield server


@pytest.fixture
def queue(sqs: SqsServer) -> Queue:
    return make_queue(sqs.stub)


@pytest.fixture
def by_boto(sqs: SqsServer) -> list[str]:
    """Grows by one for each request of boto3's."""
    return []


@pytest.fixture
def client(sqs: SqsServer, by_boto: list[str]) -> Any:
    client = make_client("us-east-1", attempts=1)

    def note(request: Any, **_: Any) -> None:
        by_boto.append(request.url)

    client.meta.events.register_first("before-send.sqs.SendMessageBatch", note)
    return client


@pytest.fixture
def direct(client: Any) -> Iterator[Direct]:
    with closing(Direct(client)) as direct:
        yield direct


def post(direct: Direct, queue: Queue, times: int = 1) -> dict[str, Any]:
    for _ in range(times):
        answer = direct.send_message_batch(QueueUrl=queue.url, Entries=ENTRIES)
    return answer


def test_boto_sends_the_first_batch_alone(
    direct: Direct, queue: Queue, sqs: SqsServer, by_boto: list[str]
) -> None:
    answer = post(direct, queue, times=4)
    assert [entry["Id"] for entry in answer["Successful"]] == ["0", "1", "2"]
    assert len(by_boto) == 1
    assert sqs.requests["SendMessageBatch"] == 4
    assert sqs.stub.bodies(queue.url) == [entry["MessageBody"] for entry in ENTRIES] * 4


def test_what_got_through_is_not_sent_again_if_the_other_end_closes_the_connection(
    direct: Direct,
    queue: Queue,
    sqs: SqsServer,
    by_boto: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    post(direct, queue)
    monkeypatch.setattr("http.client.HTTPResponse._check_close", lambda response: True)
    assert len(post(direct, queue, times=2)["Successful"]) == len(ENTRIES)
    assert len(by_boto) == 1
    assert len(sqs.stub.bodies(queue.url)) == 3 * len(ENTRIES)


@pytest.mark.parametrize("token", ["local", ""])
def test_a_request_is_signed_like_those_of_boto(
    token: str,
    sqs: SqsServer,
    queue: Queue,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: list[tuple[str, str, bytes, dict[str, str]]] = []
    request = HTTPConnection.request

    def note(self: HTTPConnection, method: str, path: str, body: bytes, headers: Any) -> None:
        sent.append((method, path, body, headers))
        request(self, method, path, body, headers)

    monkeypatch.setenv("AWS_SESSION_TOKEN", token)
    with closing(Direct(make_client("us-east-1"))) as direct:
        post(direct, queue)
        monkeypatch.setattr("http.client.HTTPConnection.request", note)
        post(direct, queue)
    ((method, path, body, headers),) = sent
    names = ("X-Amz-Target",)
    wanted = AWSRequest(method, f"{sqs.url}{path}", {n: headers[n] for n in names}, body)
    time = datetime.strptime(headers["x-amz-date"], "%Y%m%dT%H%M%SZ")
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: time)
    keys = boto3.DEFAULT_SESSION.get_credentials()
    SigV4Auth(keys, "sqs", "us-east-1").add_auth(wanted)
    assert headers["Authorization"] == wanted.headers["Authorization"]
    assert headers.get("x-amz-security-token", "") == token
    assert json.loads(body) == {"QueueUrl": queue.url, "Entries": ENTRIES}


@pytest.mark.parametrize("fault", [AWAY, "close"])
def test_what_did_not_get_through_is_sent_by_boto(
    fault: Any, direct: Direct, queue: Queue, sqs: SqsServer, by_boto: list[str]
) -> None:
    post(direct, queue)
    sqs.set(fault, "SendMessageBatch", count=1)
    assert not post(direct, queue).get("Failed")
    assert len(by_boto) == 2
    post(direct, queue)
    assert len(by_boto) == 2
    assert len(sqs.stub.bodies(queue.url)) == 9


def test_errors_are_those_of_boto(direct: Direct, queue: Queue, sqs: SqsServer) -> None:
    post(direct, queue)
    sqs.set(DENIED)
    with pytest.raises(ClientError, match="AccessDenied"):
        post(direct, queue)


def test_an_answer_that_is_none_counts_for_none(
    direct: Direct,
    queue: Queue,
    sqs: SqsServer,
    by_boto: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    post(direct, queue)
    send_batch = sqs.stub.send_message_batch
    answers: list[Any] = [["no answer"]]

    def answer(**arguments: Any) -> Any:
        return answers.pop() if answers else send_batch(**arguments)

    monkeypatch.setattr(sqs.stub, "send_message_batch", answer)
    assert "Successful" in post(direct, queue)
    assert len(by_boto) == 2


def test_through_a_proxy_boto_sends_all(
    direct: Direct,
    queue: Queue,
    by_boto: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def proxies(url: str) -> dict[str, str]:
        return {"http": "http://127.0.0.1:1"}

    monkeypatch.setattr("botocore.utils.get_environ_proxies", proxies)
    post(direct, queue, times=3)
    assert len(by_boto) == 3


def test_a_path_that_a_signature_would_change_is_left_to_boto(
    sqs: SqsServer, queue: Queue, by_boto: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", f"{sqs.url}/a%20b//c")
    client = make_client("us-east-1")
    with closing(Direct(client)) as direct:
        post(direct, queue, times=2)
        assert direct._learned is None


def test_many_threads_share_the_connections(
    direct: Direct, queue: Queue, sqs: SqsServer, by_boto: list[str]
) -> None:
    post(direct, queue)
    bodies = [f"message {i}" for i in range(500)]
    assert send(direct, queue.url, bodies, threads=8) == 500
    assert sorted(sqs.stub.bodies(queue.url)[3:]) == sorted(bodies)
    assert len(by_boto) == 1
    assert len(direct._idle) <= 8
