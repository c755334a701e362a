"""The same for many messages that were received: ten by a request, several requests at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from chunkflow_worker.job.sqs import MOST_MESSAGES

AT_ONCE = 8
"""Requests."""


def delete_messages(client: Any, url: str, receipts: Iterable[str]) -> Iterator[str]:
    """Delete messages; yields the receipts of those that SQS did not delete.

    Raises what boto3 raises.
    """
    return _for_each(client.delete_message_batch, url, receipts)


def show_messages(client: Any, url: str, receipts: Iterable[str]) -> Iterator[str]:
    """Make messages visible at once; yields the receipts of those that SQS did not.

    Raises what boto3 raises.
    """
    return _for_each(client.change_message_visibility_batch, url, receipts, VisibilityTimeout=0)


def _for_each(do: Any, url: str, receipts: Iterable[str], **rest: Any) -> Iterator[str]:
    def send(batch: list[str]) -> list[str]:
        entries = [{"Id": str(i), "ReceiptHandle": r, **rest} for i, r in enumerate(batch)]
        failed = do(QueueUrl=url, Entries=entries).get("Failed", [])
        return [batch[int(one["Id"])] for one in failed]

    remaining = list(receipts)
    parts = [remaining[i : i + MOST_MESSAGES] for i in range(0, len(remaining), MOST_MESSAGES)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for failed in pool.map(send, parts):
            yield from failed
