from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from chunkflow_worker.errors import ConfigError
from chunkflow_worker.job.sqs import find_queue
from producer.send.queue import DAY, create_queue, delete_queue


def attributes(client: Any, url: str) -> dict[str, str]:
    present: dict[str, str] = client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])[
        "Attributes"
    ]
    return present


def test_a_queue_is_created_with_its_dead_letter_queue(client: Any, unique_name: str) -> None:
    """Named defect of the peer: it kept messages for 4 days, and then lost them silently."""
    main, dead = create_queue(
        client, unique_name, max_receives=7, visibility_seconds=90, retention_days=3
    )
    assert main.created
    assert dead.created
    assert dead.name == f"{unique_name}-dead"
    present = attributes(client, main.url)
    assert (present["VisibilityTimeout"], present["MessageRetentionPeriod"]) == ("90", str(3 * DAY))
    assert attributes(client, dead.url)["MessageRetentionPeriod"] == str(14 * DAY)
    queue = find_queue(client, unique_name)
    assert (queue.url, queue.dead_letter_url, queue.max_receives) == (main.url, dead.url, 7)


def test_creating_it_again_changes_the_attributes_that_differ(
    client: Any, unique_name: str
) -> None:
    create_queue(client, unique_name)
    same, dead = create_queue(client, unique_name)
    assert not same.created
    assert same.changed == dead.changed == {}
    main, dead = create_queue(client, unique_name, max_receives=2, visibility_seconds=30)
    assert main.changed["VisibilityTimeout"] == ("60", "30")
    assert set(main.changed) == {"VisibilityTimeout", "RedrivePolicy"}
    assert dead.changed == {}
    assert find_queue(client, unique_name).max_receives == 2
    assert attributes(client, main.url)["VisibilityTimeout"] == "30"


def test_a_queue_without_a_dead_letter_queue_gets_one(client: Any, unique_name: str) -> None:
    client.create_queue(QueueName=unique_name)
    main, dead = create_queue(client, unique_name)
    assert not main.created
    assert dead.created
    assert main.changed["RedrivePolicy"][0] == "none"
    assert find_queue(client, unique_name).dead_letter_url == dead.url


def test_a_policy_with_quoted_numbers_is_the_same(client: Any, unique_name: str) -> None:
    main, dead = create_queue(client, unique_name)
    policy = {
        "maxReceiveCount": "5",
        "deadLetterTargetArn": attributes(client, dead.url)["QueueArn"],
    }
    client.set_queue_attributes(QueueUrl=main.url, Attributes={"RedrivePolicy": json.dumps(policy)})
    assert create_queue(client, unique_name)[0].changed == {}


def test_both_queues_are_deleted(client: Any, unique_name: str) -> None:
    create_queue(client, unique_name)
    assert delete_queue(client, unique_name) == [unique_name, f"{unique_name}-dead"]
    assert delete_queue(client, unique_name) == []
    with pytest.raises(ConfigError):
        find_queue(client, unique_name)


@pytest.mark.parametrize("name", ["tasks.fifo", "", "a b", "x" * 76, "ä", "x\n"])
def test_names_that_a_queue_cannot_have_are_refused(name: str) -> None:
    for action in (create_queue, delete_queue):
        with pytest.raises(ConfigError):
            action(None, name)


def test_a_queue_is_created_and_deleted_by_its_url(client: Any, unique_name: str) -> None:
    url = f"{client.meta.endpoint_url}/123456789012/{unique_name}"
    assert create_queue(client, url)[0].url == url
    assert delete_queue(client, url) == [unique_name, f"{unique_name}-dead"]


@pytest.mark.parametrize("action", [create_queue, delete_queue])
def test_the_name_of_a_dead_letter_queue_is_refused(
    client: Any, unique_name: str, action: Callable[..., Any]
) -> None:
    create_queue(client, unique_name)
    with pytest.raises(ConfigError, match=f"give {unique_name}: both queues"):
        action(client, f"{unique_name}-dead")
    assert find_queue(client, unique_name)


def test_dead_letters_outlive_the_queue_by_default(client: Any, unique_name: str) -> None:
    """SQS counts from the first send, also after it moved a message to the dead letters."""
    create_queue(client, unique_name)
    queue = find_queue(client, unique_name)
    assert queue.retention_seconds == 10 * DAY
    assert queue.dead_letter_retention_seconds == 14 * DAY
    assert queue.expiry_warning == ""


def test_the_retention_is_not_shortened_while_the_queue_holds_messages(
    client: Any, unique_name: str
) -> None:
    main, _ = create_queue(client, unique_name, retention_days=13)
    client.send_message(QueueUrl=main.url, MessageBody="a")
    again, _ = create_queue(client, unique_name, visibility_seconds=77)
    assert set(again.changed) == {"VisibilityTimeout"}
    assert "kept at 1123200" in again.kept
    assert attributes(client, main.url)["MessageRetentionPeriod"] == str(13 * DAY)
    client.purge_queue(QueueUrl=main.url)
    again, _ = create_queue(client, unique_name, visibility_seconds=77)
    assert again.changed == {"MessageRetentionPeriod": (str(13 * DAY), str(10 * DAY))}
    assert again.kept == ""
