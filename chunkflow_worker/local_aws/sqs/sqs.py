"""`LocalSqs`: the operations of SQS on its queues.

It does what the SQS developer guide and API reference say of standard queues:

- a received message is hidden from the receive on, for the visibility timeout; each receive has a
  receipt handle of its own;
- a changed visibility counts from the change, and 12 hours from the receive are the limit;
- the visibility of a message that is visible again can't be changed (MessageNotInflight), nor by
  the handle of an earlier receive (InvalidParameterValue);
- deleting by the handle of an earlier receive succeeds and deletes nothing;
- a message that was received `maxReceiveCount` times moves to the dead-letter queue when it would
  be received once more; it keeps the time of its sending, and its receives;
- a message expires when the retention period of its queue has passed since its sending;
- while 120,000 messages are in flight, none is received: OverLimit, or a long poll that is empty.

Differences: messages are received in the order of sending, and none comes twice; the number of
messages is exact; a queue that was deleted may be created again at once. FIFO queues and
permissions (AddPermission) are refused.
"""

from __future__ import annotations

import itertools
import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from botocore import xform_name

from chunkflow_worker.job.sqs import MAX_DELAY_SECONDS, MAX_VISIBILITY_SECONDS, MOST_MESSAGES
from chunkflow_worker.local_aws.sqs.answers import asked, page, shown
from chunkflow_worker.local_aws.sqs.attributes import (
    DEFAULTS,
    check_attributes,
    no_fifo,
    redrive_policy,
)
from chunkflow_worker.local_aws.sqs.batches import Entry, check_entries, do_entries
from chunkflow_worker.local_aws.sqs.call import Call
from chunkflow_worker.local_aws.sqs.keeper import Keeper, KeptNowhere
from chunkflow_worker.local_aws.sqs.message import (
    MAX_BYTES,
    Message,
    check_content,
    digest,
    digest_of_attributes,
)
from chunkflow_worker.local_aws.sqs.moves import Moves, move_all
from chunkflow_worker.local_aws.sqs.queue import ACCOUNT, LocalQueue
from chunkflow_worker.local_aws.sqs.refused import Refused, check_range, invalid_value

OPERATIONS = """
    CreateQueue DeleteQueue GetQueueUrl ListQueues PurgeQueue
    GetQueueAttributes SetQueueAttributes TagQueue UntagQueue ListQueueTags
    SendMessage SendMessageBatch ReceiveMessage DeleteMessage DeleteMessageBatch
    ChangeMessageVisibility ChangeMessageVisibilityBatch
    ListDeadLetterSourceQueues StartMessageMoveTask ListMessageMoveTasks CancelMessageMoveTask
"""
_NAME = re.compile(r"[\w-]{1,80}", re.ASCII)
_PURGE_SECONDS = 60
_LONGEST_POLL = 20


class LocalSqs:
    """The queues of an account, for many threads.

    clock: seconds since 1970. most_in_flight: of one queue.
    """

    def __init__(self, keeper: Keeper | None = None, clock: Callable[[], float] | None = None):
        self.most_in_flight = 120_000
        self._keeper, self._clock = keeper or KeptNowhere(), clock or time.time
        self._queues: dict[tuple[str, str], LocalQueue] = {}
        self._numbers = itertools.count(time.time_ns() // 1000)  # none is used again
        self._moves = Moves()
        self._lock = threading.RLock()
        self._changed: dict[str, threading.Condition] = defaultdict(
            lambda: threading.Condition(self._lock)
        )
        self._is_closed = False

    def do(self, call: Call) -> dict[str, Any]:
        """The result of a request, as Amazon's model has it. Raises Refused."""
        known = OPERATIONS.split()
        if call.operation not in known:
            text = f"local-aws has no {call.operation}; it has {', '.join(known)}"
            raise Refused("UnsupportedOperation", text)
        with self._lock:
            try:
                result: dict[str, Any] = getattr(self, f"_{xform_name(call.operation)}")(call)
            finally:
                self._keeper.commit()
        return result

    def add(self, queue: LocalQueue) -> None:
        """Add a queue that was kept."""
        self._queues[queue.region, queue.name] = queue

    def reset(self) -> None:
        """Delete all queues."""
        with self._lock:
            for queue in self._queues.values():
                self._keeper.forget_queue(queue)
                self._changed[queue.id].notify_all()
            self._keeper.commit()
            self._queues.clear()

    def close(self) -> None:
        """End all long polls."""
        with self._lock:
            self._is_closed = True
            for changed in self._changed.values():
                changed.notify_all()

    def find(self, region: str, name: str) -> LocalQueue:
        """Raises Refused when there is no such queue."""
        queue = self._queues.get((region, name))
        if queue is None:
            raise Refused("QueueDoesNotExist", "The specified queue does not exist.")
        return queue

    # Queues

    def _create_queue(self, call: Call) -> dict[str, Any]:
        name, attributes = call.given["QueueName"], call.given.get("Attributes", {})
        if name.endswith(".fifo"):
            raise no_fifo()
        if not _NAME.fullmatch(name):
            reason = "It must be 1 to 80 letters, digits, hyphens or underscores."
            raise invalid_value("QueueName", name, reason)
        check_attributes(attributes)
        present = self._queues.get((call.region, name))
        if present is not None:
            known = DEFAULTS | present.attributes
            other = sorted(n for n, value in attributes.items() if known.get(n) != value)
            if other:
                text = f"The queue {name} exists, and its {other[0]} has another value."
                raise Refused("QueueNameExists", text)
            return {"QueueUrl": call.url(present)}
        self._check_dead_letters(call, attributes)
        queue = LocalQueue(call.region, name, self._keeper, self._clock)
        queue.attributes, queue.tags = dict(attributes), dict(call.given.get("tags", {}))
        self.add(queue)
        self._keeper.keep_queue(queue)
        return {"QueueUrl": call.url(queue)}

    def _delete_queue(self, call: Call) -> dict[str, Any]:
        queue = self._queue(call)
        del self._queues[queue.region, queue.name]
        self._keeper.forget_queue(queue)
        self._changed.pop(queue.id, threading.Condition(self._lock)).notify_all()
        return {}

    def _get_queue_url(self, call: Call) -> dict[str, Any]:
        queue = self.find(call.region, call.given["QueueName"])
        if call.given.get("QueueOwnerAWSAccountId", ACCOUNT) != ACCOUNT:
            raise Refused("QueueDoesNotExist", f"local-aws has the account {ACCOUNT} only.")
        return {"QueueUrl": call.url(queue)}

    def _list_queues(self, call: Call) -> dict[str, Any]:
        prefix = call.given.get("QueueNamePrefix", "")
        found = (q for q in self._in_region(call) if q.name.startswith(prefix))
        return page("QueueUrls", call.given, found, call.url)

    def _list_dead_letter_source_queues(self, call: Call) -> dict[str, Any]:
        return page("queueUrls", call.given, self._sources(self._queue(call)), call.url)

    def _get_queue_attributes(self, call: Call) -> dict[str, Any]:
        queue = self._queue(call)
        visible, in_flight, delayed = queue.counts()
        known = {
            **DEFAULTS,
            **queue.attributes,
            "QueueArn": queue.arn,
            "CreatedTimestamp": str(int(queue.created_at)),
            "LastModifiedTimestamp": str(int(queue.modified_at)),
            "ApproximateNumberOfMessages": str(visible),
            "ApproximateNumberOfMessagesNotVisible": str(in_flight),
            "ApproximateNumberOfMessagesDelayed": str(delayed),
        }
        found = asked(known, call.given.get("AttributeNames", []))
        return {"Attributes": found} if found else {}

    def _set_queue_attributes(self, call: Call) -> dict[str, Any]:
        queue, attributes = self._queue(call), call.given["Attributes"]
        check_attributes(attributes)
        self._check_dead_letters(call, attributes)
        merged = queue.attributes | attributes
        queue.attributes = {name: value for name, value in merged.items() if value}
        return self._modified(queue)

    def _tag_queue(self, call: Call) -> dict[str, Any]:
        queue = self._queue(call)
        queue.tags |= call.given["Tags"]
        return self._modified(queue)

    def _untag_queue(self, call: Call) -> dict[str, Any]:
        queue = self._queue(call)
        for key in call.given["TagKeys"]:
            queue.tags.pop(key, None)
        return self._modified(queue)

    def _list_queue_tags(self, call: Call) -> dict[str, Any]:
        tags = self._queue(call).tags
        return {"Tags": dict(tags)} if tags else {}

    def _purge_queue(self, call: Call) -> dict[str, Any]:
        queue = self._queue(call)
        if self._clock() < queue.purged_at + _PURGE_SECONDS:
            text = (
                f"Only one PurgeQueue operation on {queue.name} is allowed every "
                f"{_PURGE_SECONDS} seconds."
            )
            raise Refused("PurgeQueueInProgress", text)
        queue.purged_at = self._clock()
        queue.purge()
        return {}

    # Messages

    def _send_message(self, call: Call) -> dict[str, Any]:
        return self._send(self._queue(call), call.given)

    def _send_message_batch(self, call: Call) -> dict[str, Any]:
        queue, entries = self._queue(call), call.given["Entries"]
        check_entries(entries)
        size = sum(len(entry["MessageBody"].encode()) for entry in entries)
        if size > MAX_BYTES:
            text = f"A batch cannot be longer than {MAX_BYTES} bytes. You have sent {size} bytes."
            raise Refused("BatchRequestTooLong", text)
        return do_entries(entries, lambda entry: self._send(queue, entry))

    def _receive_message(self, call: Call) -> dict[str, Any]:
        queue, given = self._queue(call), call.given
        count = given.get("MaxNumberOfMessages", 1)
        check_range("MaxNumberOfMessages", count, 1, MOST_MESSAGES)
        hidden = given.get("VisibilityTimeout", queue.seconds("VisibilityTimeout"))
        check_range("VisibilityTimeout", hidden, 0, MAX_VISIBILITY_SECONDS)
        wait = given.get("WaitTimeSeconds", queue.seconds("ReceiveMessageWaitTimeSeconds"))
        check_range("WaitTimeSeconds", wait, 0, _LONGEST_POLL)
        end = time.monotonic() + wait
        while not (received := self._take(queue, count, hidden, is_long=wait > 0)):
            left = end - time.monotonic()
            if left <= 0 or self._is_closed:
                return {}
            self._keeper.commit()
            self._changed[queue.id].wait(max(0.0, min(left, queue.seconds_to_next())))
            self.find(queue.region, queue.name)  # it may be deleted by now
        names = {*given.get("AttributeNames", ()), *given.get("MessageSystemAttributeNames", ())}
        wanted = given.get("MessageAttributeNames", ())
        return {"Messages": [shown(message, handle, names, wanted) for message, handle in received]}

    def _delete_message(self, call: Call) -> dict[str, Any]:
        return self._delete(self._queue(call), call.given)

    def _delete_message_batch(self, call: Call) -> dict[str, Any]:
        queue = self._queue(call)
        return do_entries(call.given["Entries"], lambda entry: self._delete(queue, entry))

    def _change_message_visibility(self, call: Call) -> dict[str, Any]:
        return self._hide(self._queue(call), call.given)

    def _change_message_visibility_batch(self, call: Call) -> dict[str, Any]:
        queue = self._queue(call)
        return do_entries(call.given["Entries"], lambda entry: self._hide(queue, entry))

    # Tasks that move dead letters

    def _start_message_move_task(self, call: Call) -> dict[str, Any]:
        source, target_arn = self._by_arn(call, "SourceArn"), call.given.get("DestinationArn")
        target = self._by_arn(call, "DestinationArn") if target_arn else None
        if not any(True for _ in self._sources(source)):
            text = "Source queue must be configured as a Dead Letter Queue."
            raise Refused("UnsupportedOperation", text)

        def target_of(message: Message) -> LocalQueue | None:
            return target or self._queues.get((source.region, _name(message.source)))

        moved, left = move_all(source, target_of, self._clock())
        for queue in self._queues.values():
            self._changed[queue.id].notify_all()
        handle = self._moves.add(source.arn, target_arn, moved, left, self._clock())
        return {"TaskHandle": handle}

    def _list_message_move_tasks(self, call: Call) -> dict[str, Any]:
        source = self._by_arn(call, "SourceArn")
        return {"Results": self._moves.of(source.arn)[: call.given.get("MaxResults", 1)]}

    def _cancel_message_move_task(self, call: Call) -> dict[str, Any]:
        text = "The task is not running: local-aws moves all messages at once."
        raise Refused("ResourceNotFoundException", text)

    # What several operations do

    def _queue(self, call: Call) -> LocalQueue:
        """By its URL, of which the name counts, so that any address of this machine serves."""
        return self.find(call.region, call.given["QueueUrl"].rstrip("/").rpartition("/")[2])

    def _by_arn(self, call: Call, parameter: str) -> LocalQueue:
        queue = self._queues.get((call.region, _name(call.given[parameter])))
        if queue is None:
            text = f"The resource that you specified for the {parameter} parameter doesn't exist."
            raise Refused("ResourceNotFoundException", text)
        return queue

    def _in_region(self, call: Call) -> list[LocalQueue]:
        found = (queue for queue in self._queues.values() if queue.region == call.region)
        return sorted(found, key=lambda queue: queue.name)

    def _sources(self, dead: LocalQueue) -> Iterable[LocalQueue]:
        """The queues whose dead letters go to this one."""
        return (q for q in self._queues.values() if q.redrive and q.redrive.target == dead.arn)

    def _check_dead_letters(self, call: Call, attributes: dict[str, str]) -> None:
        policy = redrive_policy(attributes)
        if policy and (call.region, _name(policy.target)) not in self._queues:
            reason = "Dead letter target does not exist."
            raise invalid_value("RedrivePolicy", attributes["RedrivePolicy"], reason)

    def _modified(self, queue: LocalQueue) -> dict[str, Any]:
        queue.modified_at = self._clock()
        self._keeper.keep_queue(queue)
        return {}

    def _send(self, queue: LocalQueue, given: Entry) -> Entry:
        body, attributes = given["MessageBody"], given.get("MessageAttributes", {})
        check_content(body, attributes, queue.seconds("MaximumMessageSize"))
        if "MessageDeduplicationId" in given:
            reason = "The request includes a parameter that is not valid for this queue type."
            raise invalid_value("MessageDeduplicationId", given["MessageDeduplicationId"], reason)
        delay = given.get("DelaySeconds", queue.seconds("DelaySeconds"))
        check_range("DelaySeconds", delay, 0, MAX_DELAY_SECONDS)
        extra = given.get("MessageSystemAttributes", {})
        system = {name: value["StringValue"] for name, value in extra.items()}
        if "MessageGroupId" in given:
            system["MessageGroupId"] = given["MessageGroupId"]
        now = self._clock()
        message = Message(next(self._numbers), body, now, now + delay)
        message.attributes, message.system = attributes, system
        queue.send(message)
        self._changed[queue.id].notify_all()
        result = {"MessageId": message.id, "MD5OfMessageBody": digest(body)}
        if attributes:
            result["MD5OfMessageAttributes"] = digest_of_attributes(attributes)
        return result

    def _take(
        self, queue: LocalQueue, count: int, hidden: float, is_long: bool
    ) -> list[tuple[Message, str]]:
        _, in_flight, _ = queue.counts()
        if in_flight >= self.most_in_flight:
            if is_long:
                return []
            raise Refused("OverLimit", f"{self.most_in_flight} messages are in flight.")
        policy = queue.redrive
        dead = self._queues.get((queue.region, _name(policy.target))) if policy else None
        received = list(queue.receive(count, hidden, dead if dead is not queue else None))
        if dead is not None:
            self._changed[dead.id].notify_all()
        return received

    def _delete(self, queue: LocalQueue, given: Entry) -> Entry:
        queue.delete(given["ReceiptHandle"])
        return {}

    def _hide(self, queue: LocalQueue, given: Entry) -> Entry:
        queue.hide(given["ReceiptHandle"], given.get("VisibilityTimeout", 0))
        self._changed[queue.id].notify_all()
        return {}


def _name(arn: str) -> str:
    return arn.rpartition(":")[2]
