from __future__ import annotations

from typing import Any

import pytest

from producer.cli import main


def test_queues_are_created_and_deleted(
    client: Any, unique_name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["queue", "create", unique_name]) == 0
    urls = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [(url.rsplit("/", 1)[-1], what) for url, what in urls] == [
        (unique_name, "created"),
        (f"{unique_name}-dead", "created"),
    ]
    assert main(["queue", "create", unique_name, "--visibility", "30"]) == 0
    output = capsys.readouterr().out
    assert f"{unique_name} changed\n  VisibilityTimeout: 60 -> 30\n" in output
    assert f"{unique_name}-dead already exists" in output
    assert main(["queue", "delete", unique_name, "--yes"]) == 0
    assert main(["queue", "delete", unique_name, "--yes"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"deleted {unique_name} and {unique_name}-dead",
        f"there is no queue {unique_name}",
    ]


def test_the_options_are_the_queue_s_attributes(client: Any, unique_name: str) -> None:
    options = ["--max-receives", "7", "--visibility", "90", "--retention-days", "3"]
    assert main(["queue", "create", unique_name, *options]) == 0
    url = client.get_queue_url(QueueName=unique_name)["QueueUrl"]
    answer = client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
    attributes = answer["Attributes"]
    assert attributes["VisibilityTimeout"] == "90"
    assert attributes["MessageRetentionPeriod"] == str(3 * 86_400)
    assert '"maxReceiveCount": 7' in attributes["RedrivePolicy"]


def test_nothing_is_deleted_without_yes(
    client: Any, unique_name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["queue", "create", unique_name]) == 0
    assert main(["queue", "delete", unique_name]) == 2
    assert "dead-letter queue will be lost: add --yes" in capsys.readouterr().err
    assert client.get_queue_url(QueueName=unique_name)


def test_a_queue_for_high_priority_goes_with_its_queue(
    client: Any, unique_name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    high = f"{unique_name}-high"
    assert main(["queue", "create", unique_name]) == 0
    assert high not in capsys.readouterr().out
    assert main(["queue", "create", unique_name, "--high"]) == 0
    assert f"workers look for {high} when they start" in capsys.readouterr().out
    assert main(["queue", "create", unique_name, "--visibility", "90"]) == 0
    output = capsys.readouterr().out
    assert f"{high} changed\n  VisibilityTimeout: 60 -> 90\n" in output
    assert "workers look" not in output
    url = client.get_queue_url(QueueName=high)["QueueUrl"]
    client.send_message(QueueUrl=url, MessageBody="1")
    assert main(["queue", "purge", unique_name, "--yes"]) == 0
    assert f"of queue {unique_name} and {high}: 1, approx" in capsys.readouterr().out
    assert main(["queue", "delete", unique_name, "--yes"]) == 0
    with pytest.raises(client.exceptions.QueueDoesNotExist):
        client.get_queue_url(QueueName=high)
