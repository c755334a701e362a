from __future__ import annotations

import pytest

from producer.look.status import JobStatus
from producer.stages.ending import Ending

SETTLE = 60.0


def status(**fields: int) -> JobStatus:
    """Of a job of eight boxes, of which two have failed."""
    counts = {"waiting": 0, "in_flight": 0, "delayed": 0, "dead": 2, "done": 6, "failed": 2}
    return JobStatus("q", job="j", total=8, **counts | fields)


class Looks:
    """The looks of one `Ending`, ten seconds apart."""

    def __init__(self, *, are_final: bool):
        self._now = 0.0
        self.ending = Ending(lambda: are_final, SETTLE, lambda: self._now)

    def until_failed(self, one: JobStatus) -> int | None:
        """How many looks at this status it takes; None for more than ten."""
        for count in range(1, 11):
            self._now += 10
            if self.ending.has_failed(one):
                return count
        return None


@pytest.mark.parametrize(
    ("fields", "are_final", "looks"),
    [
        ({}, True, 2),
        ({"waiting": 5}, True, 7),  # messages of others, and the dead letters are there
        ({"waiting": 5, "dead": 0}, True, None),  # they were sent back
        ({"in_flight": 1}, False, None),  # an attempt is left
        ({"failed": 0, "missing": 2, "dead": 0}, False, 7),  # their messages are lost
        ({"failed": 1, "missing": 1, "waiting": 1, "dead": 1}, True, None),
    ],
)
def test_a_job_has_failed_when_no_attempt_is_left(
    fields: dict[str, int], are_final: bool, looks: int | None
) -> None:
    assert Looks(are_final=are_final).until_failed(status(**fields)) == looks


def test_what_comes_back_begins_the_wait_anew() -> None:
    made = Looks(are_final=True)
    assert not made.ending.has_failed(status())
    assert not made.ending.has_failed(status(waiting=1, dead=0))
    assert made.until_failed(status()) == 2
