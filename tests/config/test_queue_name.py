"""Queues as users name them. The forms of URLs and ARNs are those of the SQS developer guide."""

from __future__ import annotations

import pytest

from chunkflow_worker.config.queue_name import QueueName, check_queue_name
from chunkflow_worker.errors import Mistake

ACCOUNT = "123456789012"
AWS = "https://sqs.us-east-1.amazonaws.com"


@pytest.mark.parametrize(
    ("text", "region", "account"),
    [
        ("jobs", "", ""),
        (f"arn:aws:sqs:us-east-1:{ACCOUNT}:jobs", "us-east-1", ACCOUNT),
        (f"arn:aws-cn:sqs:cn-north-1:{ACCOUNT}:jobs", "cn-north-1", ACCOUNT),
        (f"arn:aws-us-gov:sqs:us-gov-west-1:{ACCOUNT}:jobs", "us-gov-west-1", ACCOUNT),
        (f"{AWS}/{ACCOUNT}/jobs", "us-east-1", ACCOUNT),
        (f"{AWS}/{ACCOUNT}/jobs/", "us-east-1", ACCOUNT),
        (f"sqs.us-east-1.amazonaws.com/{ACCOUNT}/jobs", "us-east-1", ACCOUNT),
        (f"https://sqs.cn-north-1.amazonaws.com.cn/{ACCOUNT}/jobs", "cn-north-1", ACCOUNT),
        (f"https://us-west-2.queue.amazonaws.com/{ACCOUNT}/jobs", "us-west-2", ACCOUNT),
        (f"https://queue.amazonaws.com/{ACCOUNT}/jobs", "", ACCOUNT),
        (f"https://sqs-fips.us-east-2.amazonaws.com/{ACCOUNT}/jobs", "us-east-2", ACCOUNT),
        (f"https://sqs.eu-west-1.api.aws/{ACCOUNT}/jobs", "eu-west-1", ACCOUNT),
        (f"https://vpce-1-2.sqs.us-east-1.vpce.amazonaws.com/{ACCOUNT}/jobs", "us-east-1", ACCOUNT),
        (f"http://127.0.0.1:5000/{ACCOUNT}/jobs", "", ACCOUNT),
        ("http://localhost:9324/queue/jobs", "", ""),
        (
            "https://us-east-1.console.aws.amazon.com/sqs/v3/home?region=us-east-1#/queues/"
            f"https%3A%2F%2Fsqs.us-east-1.amazonaws.com%2F{ACCOUNT}%2Fjobs",
            "us-east-1",
            ACCOUNT,
        ),
    ],
)
def test_a_queue_has_one_name_however_it_is_written(text: str, region: str, account: str) -> None:
    found = QueueName.parse(text)
    assert (found.name, found.region, found.account) == ("jobs", region, account)
    assert check_queue_name(text) == text


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("jobs.fifo", "is a FIFO queue: use a standard queue"),
        (f"{AWS}/{ACCOUNT}/jobs.fifo", "is a FIFO queue"),
        (f"arn:aws:sqs:us-east-1:{ACCOUNT}:jobs.fifo", "is a FIFO queue"),
        (f"arn:aws:sns:us-east-1:{ACCOUNT}:jobs", "is not the ARN of a queue"),
        ("arn:aws:sqs:jobs", "is not the ARN of a queue"),
        ("sqs://jobs", "is not the URL of a queue"),
        (f"{AWS}/", "is not a queue name"),
        ("my jobs", "is not a queue name: use up to 75 letters"),
        ("", "is not a queue name"),
        ("x" * 76, "is not a queue name"),
    ],
)
def test_what_is_no_standard_queue_is_refused(text: str, problem: str) -> None:
    with pytest.raises(Mistake, match=problem):
        QueueName.parse(text)


@pytest.mark.parametrize(
    ("text", "region", "endpoint"),
    [
        ("jobs", "eu-west-1", "https://sqs.eu-west-1.amazonaws.com"),
        (f"{AWS}/{ACCOUNT}/jobs", "us-east-1", AWS),
        (f"https://queue.amazonaws.com/{ACCOUNT}/jobs", "us-east-1", AWS),
        (f"arn:aws:sqs:us-east-1:{ACCOUNT}:jobs", "us-east-1", "http://127.0.0.1:5000"),
        (f"http://aws:5000/{ACCOUNT}/jobs", "us-east-1", "http://127.0.0.1:5000"),
    ],
)
def test_a_queue_is_reached(text: str, region: str, endpoint: str) -> None:
    QueueName.parse(text).check_reached(region, endpoint)


@pytest.mark.parametrize(
    ("text", "endpoint", "cure"),
    [
        (f"https://sqs.eu-west-1.amazonaws.com/{ACCOUNT}/jobs", AWS, "set AWS_REGION=eu-west-1"),
        (f"arn:aws:sqs:eu-west-1:{ACCOUNT}:jobs", AWS, "set AWS_REGION=eu-west-1"),
        (f"{AWS}/{ACCOUNT}/jobs", "http://127.0.0.1:5000", "correct AWS_ENDPOINT_URL"),
        (f"http://127.0.0.1:5000/{ACCOUNT}/jobs", AWS, "correct AWS_ENDPOINT_URL"),
        (f"http://127.0.0.1:5000/{ACCOUNT}/jobs", "http://127.0.0.1:6000", "AWS_ENDPOINT_URL"),
    ],
)
def test_a_queue_of_another_place_is_told(text: str, endpoint: str, cure: str) -> None:
    with pytest.raises(Mistake) as refused:
        QueueName.parse(text).check_reached("us-east-1", endpoint)
    assert cure in refused.value.cure


def test_a_queue_of_another_account_is_told() -> None:
    queue = QueueName.parse(f"{AWS}/{ACCOUNT}/jobs")
    queue.check_account(f"{AWS}/{ACCOUNT}/jobs")
    QueueName.parse("jobs").check_account(f"{AWS}/{ACCOUNT}/jobs")
    with pytest.raises(Mistake, match=f"of account {ACCOUNT}, and the credentials here are of 9"):
        queue.check_account(f"{AWS}/999999999999/jobs")


def test_a_queue_and_its_dead_letters_know_their_names() -> None:
    assert QueueName("jobs").dead_name == "jobs-dead"
    assert (QueueName("jobs-dead").main_name, QueueName("-dead").main_name) == ("jobs", "-dead")
