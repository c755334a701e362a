from __future__ import annotations

import pytest

from producer.look.problem import Problem
from producer.look.status import JobStatus
from producer.repair.resend import Resend, choose_boxes

PROBLEMS = [
    Problem("a", "missing"),
    Problem("b", "no-record"),
    Problem("a", "nan"),
    Problem("c", "failed"),
    Problem("d", "stale"),
]


def test_boxes_are_sent_again_when_no_message_can_exist() -> None:
    resend = choose_boxes(PROBLEMS, JobStatus("q", 0, 0, 0, 0))
    assert resend == Resend(wrong=("a", "d"), unfinished=("b", "c"))
    assert resend.boxes == ("a", "d", "b", "c")


@pytest.mark.parametrize(
    ("status", "found_in"),
    [
        (JobStatus("q", 1, 0, 0, 0), "queue"),
        (JobStatus("q", 0, 1, 0, 0), "queue"),
        (JobStatus("q", 0, 0, 1, 0), "queue"),
        (JobStatus("q", 1, 0, 0, 1), "queue"),
        (JobStatus("q", 0, 0, 0, 1), "dead letters"),
    ],
)
def test_unfinished_boxes_are_withheld_while_a_message_may_exist(
    status: JobStatus, found_in: str
) -> None:
    resend = choose_boxes(PROBLEMS, status)
    assert (resend.withheld, resend.found_in) == (("b", "c"), found_in)
    assert resend.boxes == ("a", "d"), "a worker has deleted the message of a box that is done"


def test_nothing_wrong_is_nothing_to_send() -> None:
    assert choose_boxes([], JobStatus("q", 0, 0, 0, 0)).boxes == ()
