"""`Notifier`: sends notices to a webhook or an SNS topic. Never raises, and never waits long.

The address of a webhook is a secret. It appears in no message; errors name its host.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from http.client import HTTPException
from time import sleep
from typing import Any, Protocol
from urllib.parse import urlsplit

from chunkflow_worker.errors import ConfigError, RetryableError
from chunkflow_worker.report.access import meaning
from chunkflow_worker.report.aws_session import aws_session
from producer.look.notices import Notice, Notices
from producer.look.status import JobStatus

_TIMEOUT_SECONDS = 5.0
_PAUSES = (1.0, 3.0)  # seconds between attempts
_SLACK = "hooks.slack.com"
_MOST_SUBJECT = 100  # characters, of SNS
_LEGAL = "legal: https://HOST/..., http://HOST/..., sns:arn:aws:sns:REGION:ACCOUNT:TOPIC"


class NotSent(Exception):
    """A notice was not taken. is_final: another attempt is of no use."""

    def __init__(self, why: str, *, is_final: bool = False):
        super().__init__(why)
        self.is_final = is_final


class Channel(Protocol):
    """Where notices go. name: what may be shown of it."""

    @property
    def name(self) -> str: ...

    def send(self, notice: Notice) -> None:
        """Raises NotSent."""
        ...


@dataclass(frozen=True)
class Webhook:
    """A URL that takes JSON by POST: Slack's format for its host, else all fields of a notice."""

    url: str = field(repr=False)

    @property
    def name(self) -> str:
        return f"the webhook at {urlsplit(self.url).hostname}"

    def send(self, notice: Notice) -> None:
        is_slack = urlsplit(self.url).hostname == _SLACK
        content = _for_slack(notice) if is_slack else notice.as_json()
        request = urllib.request.Request(
            self.url,
            json.dumps(content).encode(),
            {"Content-Type": "application/json", "User-Agent": "chunkflow-producer"},
            method="POST",
        )
        try:
            with _opener().open(request, timeout=_TIMEOUT_SECONDS):
                pass
        except urllib.error.HTTPError as error:
            with error:
                is_final = error.code < 500 and error.code not in (408, 429)
                raise NotSent(f"it answers with status {error.code}", is_final=is_final) from None
        except (OSError, HTTPException) as error:
            reason = getattr(error, "reason", error)
            what = getattr(reason, "strerror", None) or type(reason).__name__
            raise NotSent(f"it does not answer: {what}") from None


@dataclass(frozen=True)
class Topic:
    """A topic of SNS. client: of boto3."""

    arn: str
    client: Any

    @property
    def name(self) -> str:
        return f"the topic {self.arn}"

    def send(self, notice: Notice) -> None:
        attributes = {"kind": notice.kind, "job": notice.status.job or ""}
        try:
            self.client.publish(
                TopicArn=self.arn,
                Subject=notice.text.encode("ascii", "replace").decode()[:_MOST_SUBJECT],
                Message="\n".join(filter(None, (notice.text, notice.map))),
                MessageAttributes={
                    name: {"DataType": "String", "StringValue": value}
                    for name, value in attributes.items()
                    if value
                },
            )
        except Exception as error:  # the client has repeated it where that is of use
            raise NotSent(str(meaning(error)), is_final=True) from None


def open_channel(address: str) -> Channel:
    """Where `address` leads. Raises ConfigError, which does not show it."""
    if address.startswith("sns:"):
        arn = address.removeprefix("sns:")
        parts = arn.split(":")
        if len(parts) != 6 or parts[0] != "arn" or parts[2] != "sns" or not all(parts):
            raise _refused("is no ARN of an SNS topic")
        return Topic(arn, _sns(parts[3]))
    try:
        url = urlsplit(address)
        is_url = bool(url.scheme in ("https", "http") and url.hostname and url.port != 0)
    except ValueError:
        is_url = False
    if not is_url or not address.isascii() or any(c.isspace() or c < " " for c in address):
        raise _refused("is neither a URL nor a topic")
    if "@" in url.netloc:
        raise _refused("names a user in its URL, and webhooks have their secret in the path")
    return Webhook(address)


@dataclass(frozen=True)
class Notifier:
    """Sends the news of a job to channels.

    warn: shows a line about what was not sent.
    draw: makes the picture of the map, and returns its address; empty without one.
    """

    channels: tuple[Channel, ...]
    warn: Callable[[str], object]
    draw: Callable[[], str] = str
    pause: Callable[[float], object] = sleep

    def following(self, statuses: Iterable[JobStatus]) -> Iterator[JobStatus]:
        """The same statuses; before each one, its news is sent."""
        notices = Notices()
        for status in statuses:
            for notice in notices.of(status) if self.channels else ():
                self.send(notice)
            yield status

    def end(self, status: JobStatus, why: str) -> None:
        """Tell that a job has ended which is not done. Nothing where its state was told."""
        if not status.complete and status.state == "running":
            self.send(Notices.end(status, why))

    def send(self, notice: Notice) -> None:
        if not self.channels:
            return
        try:
            notice = replace(notice, map=self.draw())
        except (ConfigError, RetryableError) as error:
            self.warn(f"a notice has no picture of the map: {error}")
        for channel in self.channels:
            try:
                self._send(channel, notice)
            except NotSent as error:
                self.warn(f"a notice ({notice.kind}) was not sent to {channel.name}: {error}")

    def _send(self, channel: Channel, notice: Notice) -> None:
        for seconds in _PAUSES:
            try:
                return channel.send(notice)
            except NotSent as error:
                if error.is_final:
                    raise
            self.pause(seconds)
        channel.send(notice)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """The secret and the notice go to the host that was named, and to no other."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(_NoRedirects())


def _sns(region: str) -> Any:
    from botocore.config import Config

    retries = {"total_max_attempts": 3, "mode": "standard"}
    config = Config(
        connect_timeout=_TIMEOUT_SECONDS, read_timeout=_TIMEOUT_SECONDS, retries=retries
    )
    return aws_session().client("sns", region_name=region, config=config)


def _for_slack(notice: Notice) -> dict[str, Any]:
    """The text without what Slack takes for links or mentions; the picture if Slack can read it."""
    text = notice.text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    if not notice.map.startswith("https://"):
        return {"text": text}
    said = {"type": "section", "text": {"type": "mrkdwn", "text": text}}
    shown = {"type": "image", "image_url": notice.map, "alt_text": "the boxes, seen along z"}
    return {"text": text, "blocks": [said, shown]}


def _refused(problem: str) -> ConfigError:
    return ConfigError.one("options", "--notify", problem, _LEGAL)
