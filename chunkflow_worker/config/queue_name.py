"""`QueueName`: a queue as users name it: by its name, its URL or its ARN."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit

from chunkflow_worker.errors import Mistake

_NAME = re.compile(r"[A-Za-z0-9_-]{1,75}")
_ARN = re.compile(
    r"arn:[\w-]+:(?P<service>[\w-]*):(?P<region>[\w-]*):(?P<account>\d*):(?P<name>.+)"
)
_AWS_HOST = re.compile(r"(^|\.)(amazonaws\.com(\.cn)?|api\.aws)$")
_REGION = re.compile(r"(?<![a-z0-9-])([a-z]{2}(?:-[a-z]+)+-\d)(?![a-z0-9-])")
_DEAD, _HIGH = "-dead", "-high"


@dataclass(frozen=True)
class QueueName:
    """What a user wrote about a queue; a part is empty if the user did not write it.

    name: without its account and region. host: of its URL, with the port.
    """

    name: str
    region: str = ""
    account: str = ""
    host: str = ""

    @classmethod
    def parse(cls, text: str) -> QueueName:
        """Raises Mistake for what is no name, URL or ARN of a standard queue."""
        if text.startswith("arn:"):
            return cls._of_arn(text)
        if "://" in text or _AWS_HOST.search(text.partition("/")[0]):
            return cls._of_url(text if "://" in text else f"https://{text}")
        return cls(_checked(text))

    @classmethod
    def _of_arn(cls, text: str) -> QueueName:
        found = _ARN.fullmatch(text)
        if found is None or found["service"] != "sqs":
            cure = "for example arn:aws:sqs:us-east-1:123456789012:jobs, or the name alone"
            raise Mistake("is not the ARN of a queue", cure)
        name = _checked(found["name"])
        return cls(name, found["region"], found["account"])

    @classmethod
    def _of_url(cls, text: str) -> QueueName:
        url = urlsplit(text)
        if url.scheme not in ("http", "https"):
            raise Mistake("is not the URL of a queue", "give the name of the queue")
        inner = unquote(url.fragment)  # a page of the console names the queue behind the #
        if "https://sqs." in inner:
            return cls.parse(inner[inner.index("https://sqs.") :])
        *before, name = url.path.strip("/").split("/")
        account = before[-1] if before and before[-1].isdigit() else ""
        region = _REGION.search(url.hostname or "") if _is_aws(url) else None
        return cls(_checked(name), region[1] if region else "", account, url.netloc)

    @property
    def main_name(self) -> str:
        """The name of the queue whose dead letters this queue would hold, or its own name."""
        return self.name.removesuffix(_DEAD) or self.name

    @property
    def dead_name(self) -> str:
        """The name of its dead-letter queue."""
        return f"{self.name}{_DEAD}"

    @property
    def high_name(self) -> str:
        """The name of the queue for its messages of high priority."""
        return f"{self.name}{_HIGH}"

    @property
    def normal_name(self) -> str:
        """The name of the queue whose messages of high priority this queue would hold, or empty."""
        return self.name.removesuffix(_HIGH) if self.name.endswith(_HIGH) else ""

    def check_reached(self, region: str, endpoint: str) -> None:
        """Raise Mistake if a client of this region and endpoint does not reach the queue."""
        given, reached = urlsplit(f"//{self.host}"), urlsplit(endpoint)
        # A machine has several names, so that only the port tells two local ones apart.
        if self.host and (_is_aws(given), given.port) != (_is_aws(reached), reached.port):
            problem = f"is a queue at {self.host}, and {reached.netloc} is used here"
            raise Mistake(problem, "correct AWS_ENDPOINT_URL, or give the name of the queue alone")
        if self.region and self.region != region:
            cure = f"set AWS_REGION={self.region}, or give the name of a queue in {region}"
            raise Mistake(f"is a queue in {self.region}, and the region here is {region}", cure)

    def check_account(self, url: str) -> None:
        """Raise Mistake if the queue at `url`, as SQS names it, is of another account."""
        found = QueueName._of_url(url)
        if self.account and found.account and self.account != found.account:
            problem = f"is a queue of account {self.account}, and the credentials here are of"
            cure = f"set AWS_PROFILE or keys of account {self.account}"
            raise Mistake(f"{problem} {found.account}", cure)


def check_queue_name(text: str) -> str:
    """Check a queue that is named in any way, as a pydantic validator. Raises Mistake."""
    QueueName.parse(text)
    return text


def _is_aws(url: SplitResult) -> bool:
    return _AWS_HOST.search(url.hostname or "") is not None


def _checked(name: str) -> str:
    if name.endswith(".fifo"):
        cure = "use a standard queue: tasks need no order, and it is faster and cheaper"
        raise Mistake("is a FIFO queue", cure)
    if not _NAME.fullmatch(name):
        cure = "use up to 75 letters, digits, hyphens and underscores"
        raise Mistake("is not a queue name", cure)
    return name
