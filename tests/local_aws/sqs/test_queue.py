"""The queue does what a list of messages does, in constant time."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chunkflow_worker.local_aws.sqs.refused import Refused
from tests.local_aws.sqs.account import Account

LONG = 20_000


def steps_of(work: Callable[[], object]) -> int:
    """The number of instructions of Python that some work takes."""
    count = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        frame.f_trace_opcodes = True
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def filled(count: int) -> Account:
    """A queue of so many messages, the first half in flight."""
    account = Account(max_receives=1000)
    for number in range(count):
        account.send(str(number))
    for _ in range(count // 20):
        account.receive()
    return account


def work(account: Account) -> dict[str, int]:
    url, taken = account.url, account.receive(MaxNumberOfMessages=4)
    one, two, three, four = ({"ReceiptHandle": m["ReceiptHandle"]} for m in taken)
    hide = {"QueueUrl": url, "VisibilityTimeout": 9}
    return {
        "send": steps_of(lambda: account.send("new")),
        "receive": steps_of(account.receive),
        "hide": steps_of(lambda: account("ChangeMessageVisibility", **hide, **one)),
        "delete": steps_of(lambda: account("DeleteMessage", QueueUrl=url, **two)),
        "delete more": steps_of(lambda: account("DeleteMessage", QueueUrl=url, **three)),
        "release": steps_of(
            lambda: account("ChangeMessageVisibility", **(hide | {"VisibilityTimeout": 0}), **four)
        ),
        "count": steps_of(account.counts),
    }


def test_no_operation_takes_longer_on_a_long_queue() -> None:
    """Nothing goes through the messages: each operation takes the same steps on 100 and 20,000."""
    few, many = work(filled(100)), work(filled(LONG))
    for operation, steps in few.items():
        assert many[operation] <= 1.1 * steps, operation


class Model:
    """A list of [number, visible at, receives]; every operation looks at all."""

    def __init__(self) -> None:
        self.messages: list[list[float]] = []
        self.dead: list[float] = []

    def receive(self, now: float, count: int, seconds: int, most: int) -> list[float]:
        found = []
        for message in sorted(self.messages):
            if message[1] > now or len(found) == count:
                continue
            if message[2] >= most:
                self.messages.remove(message)
                self.dead.append(message[0])
                continue
            message[1], message[2] = now + seconds, message[2] + 1
            found.append(message[0])
        return found


def hide(account: Account, model: Model, number: float, handle: str, seconds: int) -> None:
    change = {"ReceiptHandle": handle, "VisibilityTimeout": seconds}
    flying = [m for m in model.messages if m[0] == number and m[1] > account.now]
    if not flying:
        with pytest.raises(Refused, match="not available for visibility timeout change"):
            account("ChangeMessageVisibility", QueueUrl=account.url, **change)
        return
    account("ChangeMessageVisibility", QueueUrl=account.url, **change)
    flying[0][1] = account.now + seconds


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.integers(0, 3)),
        st.tuples(st.just("receive"), st.integers(0, 3)),
        st.tuples(st.just("delete"), st.integers(0, 20)),
        st.tuples(st.just("hide"), st.integers(0, 20)),
        st.tuples(st.just("wait"), st.integers(0, 3)),
    ),
    max_size=80,
)


@settings(max_examples=60)
@given(STEPS)
def test_it_does_what_a_list_does(steps: list[tuple[str, int]]) -> None:
    account, model = Account(max_receives=2), Model()
    sent, receipts = 0, list[tuple[float, str]]()
    for step, value in steps:
        if step == "send":
            account.send(str(sent), DelaySeconds=value)
            model.messages.append([sent, account.now + value, 0])
            sent += 1
        elif step == "receive":
            got = account.receive(VisibilityTimeout=value, MaxNumberOfMessages=2)
            expected = model.receive(account.now, 2, value, 2)
            assert [m["Body"] for m in got] == [str(int(each)) for each in expected]
            receipts += [(float(m["Body"]), m["ReceiptHandle"]) for m in got]
        elif step == "wait":
            account.now += value
        elif value < len(receipts):
            number, handle = receipts.pop(value)
            if any(number == other for other, _ in receipts[value:]):
                continue  # an old handle: see test_sqs.py
            if step == "delete":
                account("DeleteMessage", QueueUrl=account.url, ReceiptHandle=handle)
                model.messages = [m for m in model.messages if m[0] != number]
            else:
                hide(account, model, number, handle, value % 4)
        visible = sum(m[1] <= account.now for m in model.messages)
        in_flight = sum(m[1] > account.now and m[2] > 0 for m in model.messages)
        delayed = len(model.messages) - visible - in_flight
        assert account.counts() == [visible, in_flight, delayed]
    assert account.counts(account.dead)[0] == len(model.dead)


@pytest.mark.parametrize("seconds", [-1, 43_201])
def test_a_visibility_out_of_range_is_refused(account: Account, seconds: int) -> None:
    account.send("a")
    (message,) = account.receive()
    with pytest.raises(Refused, match="Must be between 0 and 43200"):
        account.queue.hide(message["ReceiptHandle"], seconds)
