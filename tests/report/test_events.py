from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.report.events import Event, OperatorFinished, TaskStarted, publish

BOX = BoundingBox.parse("0-4_0-4_0-4")


def test_all_subscribers_receive_each_event_in_their_order() -> None:
    received: list[tuple[str, Event]] = []
    subscribers = (
        lambda event: received.append(("first", event)),
        lambda event: received.append(("second", event)),
    )
    events = [TaskStarted("job", BOX, 1), OperatorFinished("load", BOX, 0.5)]
    for event in events:
        publish(event, subscribers)
    assert received == [(name, event) for event in events for name in ("first", "second")]


def test_a_subscriber_cannot_change_what_the_next_one_receives() -> None:
    def change(event: Event) -> None:
        event.name = "other"  # type: ignore[misc, union-attr]

    with pytest.raises(FrozenInstanceError):
        publish(OperatorFinished("load", None, 0.5), (change,))
