"""Notices, received by a local web server and by SNS of the local AWS."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import boto3
import pytest
from moto import mock_aws

from chunkflow_worker.errors import ConfigError, StorageUnavailable
from producer.look import notify as module
from producer.look.notices import Notice
from producer.look.notify import Notifier, Topic, Webhook, open_channel
from producer.look.status import JobStatus
from tests.support.ports import free_port

SECRET, REGION = "B0123SECRET", "us-east-1"
STATUS = JobStatus("q", 1, 0, 0, 0, "em", done=2, failed=1, total=4)
NOTICE = Notice.of("progress", "half <!channel> & more", STATUS)


@dataclass
class Hook:
    """A webhook. answers: the statuses that it gives, the last one again and again."""

    url: str = ""
    answers: list[int] = field(default_factory=lambda: [200])
    location: str = ""
    got: list[Any] = field(default_factory=list)


@contextmanager
def serving(hook: Hook) -> Iterator[Hook]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            hook.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            status = hook.answers.pop(0) if len(hook.answers) > 1 else hook.answers[0]
            self.send_response(status)
            if hook.location:
                self.send_header("Location", hook.location)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hook.url = f"http://127.0.0.1:{server.server_address[1]}/services/{SECRET}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield hook
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def hook() -> Iterator[Hook]:
    with serving(Hook()) as made:
        yield made


@dataclass
class Sent:
    """What a notifier did beside sending."""

    notifier: Notifier
    warnings: list[str]
    pauses: list[float]


def to(*addresses: str) -> Sent:
    warnings: list[str] = []
    pauses: list[float] = []
    channels = tuple(map(open_channel, addresses))
    return Sent(Notifier(channels, warnings.append, pause=pauses.append), warnings, pauses)


def test_a_webhook_gets_all_fields_as_json(hook: Hook) -> None:
    sent = to(hook.url)
    sent.notifier.send(NOTICE)
    (got,) = hook.got
    assert got["text"] == "job em: half <!channel> & more"
    assert (got["kind"], got["done"], got["total"]) == ("progress", 2, 4)
    assert sent.warnings == sent.pauses == []


def test_slack_gets_its_own_format_and_no_mentions(
    hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SLACK", "127.0.0.1")
    to(hook.url).notifier.send(NOTICE)
    assert hook.got == [{"text": "job em: half &lt;!channel&gt; &amp; more"}]


def test_notices_show_the_map(hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = ["https://bucket.s3.amazonaws.com/map.png?signed", "/data/map.png"]
    sent = to(hook.url)
    notifier = replace(sent.notifier, draw=lambda: drawn[0])
    notifier.send(NOTICE)
    assert hook.got.pop()["map"] == drawn[0]
    monkeypatch.setattr(module, "_SLACK", "127.0.0.1")
    notifier.send(NOTICE)
    said, shown = hook.got.pop()["blocks"]
    assert "half" in said["text"]["text"]
    assert shown["image_url"] == drawn.pop(0)
    notifier.send(NOTICE)
    assert "blocks" not in hook.got.pop(), "Slack reads no local disk"


def test_a_notice_goes_without_a_map_that_cannot_be_drawn(hook: Hook) -> None:
    def draw() -> str:
        raise StorageUnavailable("s3://out: it does not answer")

    sent = to(hook.url)
    replace(sent.notifier, draw=draw).send(NOTICE)
    (got,) = hook.got
    assert "map" not in got
    assert "has no picture of the map: s3://out" in sent.warnings[0]


def test_what_fails_for_a_moment_is_sent_again(hook: Hook) -> None:
    hook.answers = [503, 429, 200]
    sent = to(hook.url)
    sent.notifier.send(NOTICE)
    assert len(hook.got) == 3
    assert sent.pauses == [1, 3]
    assert sent.warnings == []


@pytest.mark.parametrize(("answer", "tries"), [(500, 3), (404, 1), (403, 1)])
def test_what_is_not_taken_is_told_without_the_secret(hook: Hook, answer: int, tries: int) -> None:
    hook.answers = [answer]
    sent = to(hook.url)
    sent.notifier.send(NOTICE)
    assert len(hook.got) == tries
    (warning,) = sent.warnings
    assert warning == (
        "a notice (progress) was not sent to the webhook at 127.0.0.1: "
        f"it answers with status {answer}"
    )


@pytest.mark.parametrize("answer", [301, 302, 307, 308])
def test_redirects_are_not_followed(hook: Hook, answer: int) -> None:
    with serving(Hook()) as other:
        hook.answers, hook.location = [answer], other.url
        sent = to(hook.url)
        sent.notifier.send(NOTICE)
        assert other.got == []
    assert len(sent.warnings) == 1


def test_a_host_that_does_not_answer_is_told_in_words() -> None:
    sent = to(f"http://127.0.0.1:{free_port()}/{SECRET}")
    sent.notifier.send(NOTICE)
    (warning,) = sent.warnings
    assert warning.endswith("at 127.0.0.1: it does not answer: Connection refused")


def test_one_channel_that_fails_does_not_keep_the_notice_from_another(hook: Hook) -> None:
    to(f"http://127.0.0.1:{free_port()}/x", hook.url).notifier.send(NOTICE)
    assert len(hook.got) == 1


def test_a_job_is_followed_and_its_end_told_once(hook: Hook) -> None:
    statuses = [JobStatus("q", 1, 0, 0, 0, "em", done=n, total=4) for n in (0, 1, 2)]
    sent = to(hook.url)
    assert list(sent.notifier.following(statuses)) == statuses
    sent.notifier.end(statuses[-1], "no attempt is left")
    assert [got["kind"] for got in hook.got] == ["progress", "progress", "ended"]
    assert "no attempt is left; 2 of 4 boxes are done" in hook.got[-1]["text"]
    sent.notifier.end(JobStatus("q", 0, 0, 0, 0, "em", done=4, total=4), "x")
    sent.notifier.end(JobStatus("q", 0, 0, 0, 0, "em", total=4, state="paused"), "x")
    assert len(hook.got) == 3


@pytest.fixture
def mocked(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """SNS and SQS in this process: the local AWS has no SNS."""
    for name, value in {"ACCESS_KEY_ID": "x", "SECRET_ACCESS_KEY": "x", "REGION": REGION}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    with mock_aws():
        yield


def test_a_topic_passes_notices_on(mocked: None) -> None:
    sns, sqs = boto3.client("sns", REGION), boto3.client("sqs", REGION)
    arn = sns.create_topic(Name="news")["TopicArn"]
    url = sqs.create_queue(QueueName="news")["QueueUrl"]
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]
    sns.subscribe(TopicArn=arn, Protocol="sqs", Endpoint=attributes["QueueArn"])
    sent = to(f"sns:{arn}")
    sent.notifier.send(NOTICE)
    (message,) = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=5)["Messages"]
    body = json.loads(message["Body"])
    assert body["Message"] == body["Subject"] == NOTICE.text
    assert body["MessageAttributes"]["kind"]["Value"] == "progress"
    assert sent.warnings == []
    to_none = to(f"sns:{arn}-none")
    to_none.notifier.send(NOTICE)
    assert "was not sent to the topic" in to_none.warnings[0]


@pytest.mark.parametrize(
    "address",
    [
        "",
        SECRET,
        f"ftp://host/{SECRET}",
        f"https:///{SECRET}",
        f"https://user:{SECRET}@host/",
        f"https://host/{SECRET} x",
        f"https://host:99999/{SECRET}",
        f"file:///etc/{SECRET}",
        f"sns:{SECRET}",
        f"sns:arn:aws:sqs:us-east-1:1:{SECRET}",
    ],
)
def test_an_address_that_is_none_is_refused_and_not_shown(address: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        open_channel(address)
    assert SECRET not in str(refusal.value)
    assert "sns:arn:aws:sns:REGION:ACCOUNT:TOPIC" in str(refusal.value)


def test_channels_show_no_secret() -> None:
    hook = open_channel(f"https://hooks.slack.com/services/{SECRET}")
    assert isinstance(hook, Webhook)
    assert hook.name == "the webhook at hooks.slack.com"
    assert SECRET not in repr(hook)
    assert isinstance(open_channel("sns:arn:aws:sns:us-east-1:1:topic"), Topic)
