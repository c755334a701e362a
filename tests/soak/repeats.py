"""Boxes that were tried more than once, and whether kills explain that."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from tests.chaos.history import Event
from tests.support.killer import Kill

_LATER_ATTEMPT = re.compile(r"\bstarted (\S+) of job \S+, attempt (?!1\b)\d+")
_UNDELETED_SECONDS = 5.0  # after the end of a task in which its message may still be there


def repeated(events: Sequence[Event], lines: Iterable[str], again: set[str]) -> set[str]:
    """Boxes that were started, received or recorded more than once. lines: of the workers' logs."""
    starts = Counter(event.box for event in events if event.starts)
    twice = {box for box, count in starts.items() if count > 1}
    received = {found[1] for line in lines if (found := _LATER_ATTEMPT.search(line))}
    return twice | received | again


def unexplained(
    boxes: set[str], events: Sequence[Event], kills: Sequence[Kill], in_flight: int
) -> set[str]:
    """Those that no killed worker can have held.

    What a killed worker had started is in its log. What it had received and not started is not:
    so many boxes as a worker has places, each started once by another, may be that.
    """
    held = {box for kill in kills for box in _held(events, kill)}
    starts = Counter(event.box for event in events if event.starts)
    others = sorted(boxes - held)
    received = [box for box in others if starts[box] == 1][: 2 * in_flight * len(kills)]
    return set(others) - set(received)


def _held(events: Sequence[Event], kill: Kill) -> set[str]:
    """What a worker had started whose message it may not have deleted when it was killed."""
    last = {event.box: event for event in events if event.worker == kill.victim}
    return {
        box
        for box, event in last.items()
        if event.starts or event.at > kill.at - _UNDELETED_SECONDS
    }
