from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError, NoCredentialsError

from chunkflow_worker.errors import ConfigError, exit_status
from chunkflow_worker.job.sqs import (
    DAY_SECONDS,
    QueueRefused,
    QueueUnavailable,
    find_queue,
    make_client,
    move,
    sqs_errors,
)
from chunkflow_worker.local_aws.stub_sqs import StubSqs
from producer.send.queue import create_queue
from tests.support.proxy import Proxy, fault_proxy


@pytest.fixture
def client(aws: dict[str, str]) -> Any:
    return make_client("us-east-1")


def create(client: Any, name: str, max_receives: int | str = 3) -> tuple[str, str]:
    dead = client.create_queue(QueueName=f"{name}-dead")["QueueUrl"]
    arn = client.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"][
        "QueueArn"
    ]
    policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": max_receives})
    return client.create_queue(QueueName=name, Attributes={"RedrivePolicy": policy})[
        "QueueUrl"
    ], dead


def bodies(client: Any, url: str) -> list[str]:
    return [
        m["Body"]
        for m in client.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
    ]


@pytest.fixture
def proxied(aws: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Proxy, Any]]:
    """The proxy, and a client behind it that tries three times."""
    with fault_proxy(aws["AWS_ENDPOINT_URL"]) as (address, proxy):
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        yield proxy, make_client("us-east-1")


@pytest.mark.parametrize("operation", ["GetQueueUrl", "GetQueueAttributes"])
def test_an_answer_that_broke_off_is_asked_for_again(
    proxied: tuple[Proxy, Any], unique_name: str, operation: str
) -> None:
    proxy, client = proxied
    url, dead = create(client, unique_name)
    proxy.inject(operation, "cut", 2)
    queue = find_queue(client, unique_name)
    assert (queue.url, queue.dead_letter_url) == (url, dead)
    assert proxy.hit.is_set()


def test_answers_that_all_break_off_are_an_outage(
    proxied: tuple[Proxy, Any], unique_name: str
) -> None:
    proxy, client = proxied
    proxy.set("sqs", "cut")
    with pytest.raises(QueueUnavailable, match=r"was cut off after \d+ of \d+ bytes"):
        find_queue(client, unique_name)
    assert proxy.requests["GetQueueUrl"] == 3


def test_a_batch_whose_answer_broke_off_is_not_taken_for_sent(
    proxied: tuple[Proxy, Any], unique_name: str
) -> None:
    proxy, client = proxied
    url, _ = create(client, unique_name)
    proxy.inject("SendMessageBatch", "cut", 1)
    answer = client.send_message_batch(QueueUrl=url, Entries=[{"Id": "0", "MessageBody": "text"}])
    assert [entry["Id"] for entry in answer["Successful"]] == ["0"]
    assert proxy.requests["SendMessageBatch"] == 2


@pytest.mark.parametrize("max_receives", [3, "3"])
def test_a_queue_is_found_with_its_dead_letters(
    client: Any, unique_name: str, max_receives: int | str
) -> None:
    url, dead = create(client, unique_name, max_receives)
    queue = find_queue(client, unique_name)
    assert (queue.name, queue.url, queue.dead_letter_url, queue.max_receives) == (
        unique_name,
        url,
        dead,
        3,
    )


def test_a_queue_that_is_not_there_is_not_made(client: Any, unique_name: str) -> None:
    with pytest.raises(ConfigError, match=f"queue create {unique_name}"):
        find_queue(client, unique_name)
    assert "QueueUrls" not in client.list_queues(QueueNamePrefix=unique_name)


def test_a_queue_without_dead_letters_is_refused(client: Any, unique_name: str) -> None:
    client.create_queue(QueueName=unique_name)
    with pytest.raises(ConfigError, match="has no dead-letter queue"):
        find_queue(client, unique_name)


def test_a_queue_whose_dead_letters_are_gone_is_refused(client: Any, unique_name: str) -> None:
    _, dead = create(client, unique_name)
    client.delete_queue(QueueUrl=dead)
    with pytest.raises(ConfigError, match=f"{unique_name}-dead does not exist"):
        find_queue(client, unique_name)


@pytest.mark.parametrize("form", ["{url}", "{url}/", "arn:aws:sqs:us-east-1:{account}:{name}"])
def test_a_queue_is_found_by_its_url_and_its_arn(client: Any, unique_name: str, form: str) -> None:
    url, dead = create(client, unique_name)
    account = url.split("/")[-2]
    queue = find_queue(client, form.format(url=url, account=account, name=unique_name))
    assert (queue.name, queue.url, queue.dead_letter_url) == (unique_name, url, dead)


@pytest.mark.parametrize(
    ("form", "problem"),
    [
        (
            "arn:aws:sqs:eu-west-1:{account}:{name}",
            "in eu-west-1, and the region here is us-east-1",
        ),
        ("arn:aws:sqs:us-east-1:999999999999:{name}", "of account 999999999999, and .* {account}"),
        ("http://127.0.0.1:1/{account}/{name}", "at 127.0.0.1:1, and"),
        ("https://sqs.us-east-1.amazonaws.com/{account}/{name}", "at sqs.us-east-1"),
        ("{name}.fifo", "is a FIFO queue"),
    ],
)
def test_a_queue_of_another_place_is_refused(
    client: Any, unique_name: str, form: str, problem: str
) -> None:
    url, _ = create(client, unique_name)
    parts = {"account": url.split("/")[-2], "name": unique_name}
    with pytest.raises(ConfigError, match=problem.format(**parts)) as refused:
        find_queue(client, form.format(**parts))
    assert "queue create" not in str(refused.value)


def test_a_url_of_a_queue_that_is_not_there_is_not_created(client: Any, unique_name: str) -> None:
    url = f"{client.meta.endpoint_url}/123456789012/{unique_name}"
    with pytest.raises(ConfigError, match="not of account 123456789012") as refused:
        find_queue(client, url)
    assert f"queue create {unique_name}" in str(refused.value)


def test_a_queue_of_dead_letters_is_answered_with_the_queue_itself(
    client: Any, unique_name: str
) -> None:
    create(client, unique_name)
    with pytest.raises(ConfigError) as refused:
        find_queue(client, f"{unique_name}-dead")
    text = str(refused.value)
    assert f"is the dead-letter queue of {unique_name}\n" in text
    assert f"give {unique_name} as the queue" in text


def test_a_queue_that_is_named_like_one_of_dead_letters_is_answered_alike(
    client: Any, unique_name: str
) -> None:
    client.create_queue(QueueName=f"{unique_name}-dead")
    with pytest.raises(ConfigError, match=f"give {unique_name} as the queue"):
        find_queue(client, f"{unique_name}-dead")
    with pytest.raises(ConfigError, match=f"queue create {unique_name}$"):
        find_queue(client, unique_name)


def test_a_moved_message_is_in_one_queue_only(client: Any, unique_name: str) -> None:
    url, dead = create(client, unique_name)
    client.send_message(QueueUrl=url, MessageBody="text")
    receipt = client.receive_message(QueueUrl=url, VisibilityTimeout=0)["Messages"][0][
        "ReceiptHandle"
    ]
    move(client, "text", url, receipt, dead)
    assert bodies(client, dead) == ["text"]
    assert bodies(client, url) == []


def test_a_message_is_not_deleted_when_its_copy_was_not_sent(client: Any, unique_name: str) -> None:
    url, _ = create(client, unique_name)
    client.send_message(QueueUrl=url, MessageBody="text")
    receipt = client.receive_message(QueueUrl=url, VisibilityTimeout=0)["Messages"][0][
        "ReceiptHandle"
    ]
    with pytest.raises(ClientError):
        move(client, "text", url, receipt, f"{url}-elsewhere")
    assert bodies(client, url) == ["text"]


def test_no_endpoint_is_one_clear_error(
    monkeypatch: pytest.MonkeyPatch, aws: dict[str, str]
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(QueueUnavailable, match=r"^queue q: 127\.0\.0\.1:1 cannot be reached\n"):
        find_queue(make_client("us-east-1"), "q")


def test_an_environment_that_boto3_refuses_is_a_configuration_error(
    monkeypatch: pytest.MonkeyPatch, aws: dict[str, str]
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "localhost:5000")
    with pytest.raises(ConfigError, match="localhost:5000"):
        make_client("us-east-1")
    monkeypatch.setenv("AWS_PROFILE", "no-such-profile")
    with pytest.raises(ConfigError, match="no-such-profile"):
        make_client("us-east-1")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            NoCredentialsError(),
            r"^subject: no AWS credentials were found\n    set AWS_PROFILE, .*\n?.* local-aws",
        ),
        (ConnectTimeoutError(endpoint_url="http://x"), "^subject: x cannot be reached"),
        (
            ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "SendMessage"),
            "^subject: access denied: the credentials in use may not sqs:SendMessage",
        ),
        (OSError("reset"), "^subject: reset"),
    ],
)
def test_what_boto3_raises_becomes_queue_unavailable(error: Exception, text: str) -> None:
    with pytest.raises(QueueUnavailable, match=text), sqs_errors("subject"):
        raise error


@pytest.mark.parametrize(
    ("error", "is_refused"),
    [
        (NoCredentialsError(), True),
        (ClientError({"Error": {"Code": "ExpiredToken"}}, "ReceiveMessage"), True),
        (ClientError({"Error": {"Code": "AccessDenied"}}, "ReceiveMessage"), True),
        (ClientError({"Error": {"Code": "ServiceUnavailable"}}, "ReceiveMessage"), False),
        (ConnectTimeoutError(endpoint_url="http://x"), False),
    ],
)
def test_it_is_known_whether_a_person_must_act(error: Exception, is_refused: bool) -> None:
    with pytest.raises(QueueUnavailable) as caught, sqs_errors("subject"):
        raise error
    assert isinstance(caught.value, QueueRefused) == is_refused
    assert exit_status(caught.value) == (2 if is_refused else 1)


@pytest.mark.parametrize(
    ("retention", "dead", "warning"),
    [
        (10, 14, ""),
        (14, 14, "SQS keeps messages for 14 days and dead letters for 14 days"),
        (13, 4, "SQS keeps messages for 13 days and dead letters for 4 days"),
    ],
)
def test_a_queue_whose_dead_letters_expire_first_is_told(
    client: Any, unique_name: str, retention: int, dead: int, warning: str
) -> None:
    for created, days in zip(create_queue(client, unique_name), (retention, dead), strict=True):
        attributes = {"MessageRetentionPeriod": str(days * DAY_SECONDS)}
        client.set_queue_attributes(QueueUrl=created.url, Attributes=attributes)
    found = find_queue(client, unique_name).expiry_warning
    assert found.startswith(f"queue {unique_name}: {warning}") if warning else not found
    assert found == "" or f"run: chunkflow-producer queue create {unique_name}" in found


def test_what_a_role_may_not_ask_of_the_dead_letters_was_not_checked() -> None:
    denial = {"Code": "AccessDenied", "Message": "not authorized to perform: sqs:x"}

    class MayNotAsk(StubSqs):
        closed = False

        def get_queue_attributes(self, QueueUrl: str, **asked: Any) -> dict[str, dict[str, str]]:
            if QueueUrl.endswith("-dead") and self.closed:
                raise ClientError({"Error": denial}, "GetQueueAttributes")
            return super().get_queue_attributes(QueueUrl, **asked)

    sqs = MayNotAsk()
    create_queue(sqs, "q")
    sqs.closed = True
    assert "was not checked; allow sqs:GetQueueAttributes" in find_queue(sqs, "q").expiry_warning
