"""`Deleter`: deletes messages; threads that ask at the same time share a request."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import Any

from chunkflow_worker.job.sqs import MOST_MESSAGES


class Deleter:
    """Deletes messages of the queue at a URL.

    There is one request at a time. What is to be deleted meanwhile goes with the next one, so no
    delete waits for others to come.
    """

    def __init__(self, client: Any, url: str):
        self._client, self._url = client, url
        self._waiting: list[tuple[str, Future[None]]] = []
        self._lock, self._sending = threading.Lock(), threading.Lock()

    def delete(self, receipt: str) -> None:
        """Delete a message; returns when SQS has. Raises what boto3 raises."""
        done: Future[None] = Future()
        with self._lock:
            self._waiting.append((receipt, done))
        while not done.done():
            with self._sending:
                self._send()
        done.result()

    def _send(self) -> None:
        with self._lock:
            batch = dict(self._waiting[:MOST_MESSAGES])
            del self._waiting[:MOST_MESSAGES]
        if not batch:
            return
        try:
            errors = self._delete(list(batch))
        except Exception as error:
            errors = dict.fromkeys(batch, error)
        for receipt, done in batch.items():
            if receipt in errors:
                done.set_exception(errors[receipt])
            else:
                done.set_result(None)

    def _delete(self, receipts: list[str]) -> dict[str, Exception]:
        """Delete messages; returns the errors of those that SQS did not delete."""
        from botocore.exceptions import ClientError

        if len(receipts) == 1:
            self._client.delete_message(QueueUrl=self._url, ReceiptHandle=receipts[0])
            return {}
        entries = [{"Id": str(i), "ReceiptHandle": r} for i, r in enumerate(receipts)]
        answer = self._client.delete_message_batch(QueueUrl=self._url, Entries=entries)
        return {
            receipts[int(failed["Id"])]: ClientError(
                {"Error": {"Code": failed["Code"], "Message": failed.get("Message", "")}},
                "DeleteMessageBatch",
            )
            for failed in answer.get("Failed", [])
        }
