"""`LocalQueue`: one standard queue. Its messages are visible, delayed or in flight."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from uuid import uuid4

from chunkflow_worker.job.sqs import MAX_VISIBILITY_SECONDS
from chunkflow_worker.local_aws.sqs.attributes import DEFAULTS, RedrivePolicy, redrive_policy
from chunkflow_worker.local_aws.sqs.keeper import Keeper
from chunkflow_worker.local_aws.sqs.message import Handle, Message
from chunkflow_worker.local_aws.sqs.ranked import Ranked
from chunkflow_worker.local_aws.sqs.refused import Refused, invalid_value

ACCOUNT = "123456789012"
_NOT_IN_FLIGHT = "Message does not exist or is not available for visibility timeout change."
_TOO_LONG = (
    "Total VisibilityTimeout for the message is beyond the limit "
    f"[{MAX_VISIBILITY_SECONDS} seconds]."
)


class LocalQueue:
    """No operation looks at all messages; each takes constant or logarithmic time.

    id: of this queue; a later one of the same name has another.
    attributes: those that were set. purged_at: when it was purged last.
    """

    def __init__(
        self,
        region: str,
        name: str,
        keeper: Keeper,
        clock: Callable[[], float],
        id: str = "",
    ):
        self.region, self.name, self.id = region, name, id or uuid4().hex
        self.attributes: dict[str, str] = {}
        self.tags: dict[str, str] = {}
        self.created_at = self.modified_at = clock()
        self.purged_at = -math.inf
        self._keeper, self._clock = keeper, clock
        self._messages: dict[int, Message] = {}
        self._visible, self._delayed, self._in_flight = Ranked(), Ranked(), Ranked()
        self._by_age = Ranked()

    @property
    def arn(self) -> str:
        return f"arn:aws:sqs:{self.region}:{ACCOUNT}:{self.name}"

    @property
    def redrive(self) -> RedrivePolicy | None:
        return redrive_policy(self.attributes)

    def seconds(self, attribute: str) -> int:
        """The value of an attribute that is a number."""
        return int(self.attributes.get(attribute, DEFAULTS[attribute]))

    def counts(self) -> tuple[int, int, int]:
        """The numbers of messages that are visible, in flight, and delayed."""
        self._advance()
        return len(self._visible), len(self._in_flight), len(self._delayed)

    def seconds_to_next(self) -> float:
        """Until a message that is hidden now becomes visible; infinite when there is none."""
        ranks = (self._delayed.lowest_rank(), self._in_flight.lowest_rank())
        times = [rank for rank in ranks if rank is not None]
        return min(times) - self._clock() if times else math.inf

    def messages(self) -> Iterator[Message]:
        """All messages, in the order of sending."""
        self._advance()
        yield from self._messages.values()

    def visible(self) -> Iterator[Message]:
        """The messages that receives would return, in their order."""
        return (message for message in self.messages() if message.number in self._visible)

    def add(self, message: Message) -> None:
        """Add a message that is new here, or that was kept."""
        self._messages[message.number] = message
        self._by_age.put(message.number, message.sent_at)
        self._place(message)

    def send(self, message: Message) -> None:
        self.add(message)
        self._keeper.keep(self, message)

    def receive(
        self, count: int, hidden_seconds: float, dead_letters: LocalQueue | None
    ) -> Iterator[tuple[Message, str]]:
        """Take up to `count` visible messages; yields each with its receipt handle.

        Those that were received too often move to `dead_letters` instead, if there are any.
        """
        self._advance()
        now, policy = self._clock(), self.redrive
        while count > 0 and (next_one := self._visible.lowest()) is not None:
            message = self._messages[next_one]
            if policy and dead_letters and message.receives >= policy.max_receives:
                self._move(message, dead_letters)
                continue
            self._visible.discard(message.number)
            message.receives += 1
            message.received_at, message.visible_at = now, now + hidden_seconds
            message.first_received_at = message.first_received_at or now
            self._in_flight.put(message.number, message.visible_at)
            self._keeper.keep(self, message)
            count -= 1
            yield message, str(Handle(self.id, message.number, message.receives))

    def delete(self, receipt: str) -> None:
        """By the handle of an earlier receive, nothing is deleted, and that is no error."""
        self._advance()
        message = self._received(receipt)
        if message is not None:
            self.drop(message.number)

    def hide(self, receipt: str, seconds: float) -> None:
        """Change how long a message stays hidden, from now on."""
        if not 0 <= seconds <= MAX_VISIBILITY_SECONDS:
            reason = f"Must be between 0 and {MAX_VISIBILITY_SECONDS}."
            raise invalid_value("VisibilityTimeout", seconds, reason)
        self._advance()
        message, now = self._received(receipt), self._clock()
        if message is None:
            raise invalid_value("ReceiptHandle", receipt, _NOT_IN_FLIGHT)
        if message.number not in self._in_flight:
            raise Refused("MessageNotInflight", _NOT_IN_FLIGHT)
        if now + seconds - message.received_at > MAX_VISIBILITY_SECONDS:
            raise invalid_value("VisibilityTimeout", seconds, _TOO_LONG)
        message.visible_at = now + seconds
        self._in_flight.discard(message.number)
        self._place(message)
        self._keeper.keep(self, message)

    def drop(self, number: int) -> None:
        """Remove a message."""
        del self._messages[number]
        for ranked in (self._visible, self._delayed, self._in_flight, self._by_age):
            ranked.discard(number)
        self._keeper.forget(self, number)

    def purge(self) -> None:
        self._messages.clear()
        self._visible, self._delayed, self._in_flight = Ranked(), Ranked(), Ranked()
        self._by_age = Ranked()
        self._keeper.forget_messages(self)

    def _place(self, message: Message) -> None:
        if message.visible_at <= self._clock():
            self._visible.put(message.number, message.number)
        elif message.receives:
            self._in_flight.put(message.number, message.visible_at)
        else:
            self._delayed.put(message.number, message.visible_at)

    def _received(self, receipt: str) -> Message | None:
        """The message of a handle, if no other receive came later."""
        handle = Handle.parse(receipt, self.id)
        message = self._messages.get(handle.number)
        return message if message and message.receives == handle.receives else None

    def _move(self, message: Message, target: LocalQueue) -> None:
        """It keeps the time of its sending, so it expires as early as it would have here."""
        self.drop(message.number)
        source = message.source or self.arn
        target.send(replace(message, visible_at=self._clock(), source=source))

    def _advance(self) -> None:
        """Show messages that are hidden no longer, and drop those that are too old."""
        now = self._clock()
        for hidden in (self._delayed, self._in_flight):
            while (number := hidden.pop_until(now)) is not None:
                self._visible.put(number, number)
        oldest = now - self.seconds("MessageRetentionPeriod")
        while (number := self._by_age.pop_until(oldest)) is not None:
            self.drop(number)
