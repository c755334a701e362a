"""Boxes that were tried again are explained by kills, or told."""

from __future__ import annotations

import signal

from tests.chaos.history import Event
from tests.soak.repeats import repeated, unexplained
from tests.support.killer import Kill

KILL = Kill(victim=1, signal=signal.SIGKILL, at=100.0)


def events(box: str, *found: tuple[float, int, str]) -> list[Event]:
    return [Event(at, worker, kind, box) for at, worker, kind in found]


CUT = events("cut", (99, 1, "started"), (120, 2, "started"), (121, 2, "done"))
UNDELETED = events("undeleted", (97, 1, "started"), (98, 1, "done"), (120, 2, "started"))
LONG_DONE = events("long-done", (10, 1, "started"), (11, 1, "done"), (120, 2, "started"))
ALIVE = events("alive", (99, 3, "started"), (120, 2, "started"))


def test_what_was_started_received_or_recorded_twice_is_repeated() -> None:
    once = events("once", (1, 1, "started"), (2, 1, "done"))
    lines = [
        "INFO worker-2 started received of job job, attempt 2",
        "INFO worker-2 started later of job job, attempt 10",
        "INFO worker-2 started once of job job, attempt 1",
    ]
    found = repeated([*once, *ALIVE], lines, {"recorded"})
    assert found == {"alive", "received", "later", "recorded"}


def test_what_a_killed_worker_held_is_explained() -> None:
    all_events = [*CUT, *UNDELETED]
    assert unexplained({"cut", "undeleted"}, all_events, [KILL], in_flight=1) == set()
    assert unexplained({"cut", "undeleted"}, all_events, [], in_flight=1) == {"cut", "undeleted"}


def test_what_no_killed_worker_held_is_not() -> None:
    boxes = {"long-done", "alive"}
    assert unexplained(boxes, [*LONG_DONE, *ALIVE], [KILL], in_flight=8) == boxes


def test_a_killed_worker_may_have_received_no_more_than_it_has_places_for() -> None:
    names = [f"received-{n}" for n in range(5)]
    started = [event for name in names for event in events(name, (120, 2, "started"))]
    assert unexplained(set(names[:4]), started, [KILL], in_flight=2) == set()
    assert len(unexplained(set(names), started, [KILL], in_flight=2)) == 1
