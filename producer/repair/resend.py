"""`Resend`: the boxes of a verified job that get a new message."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from producer.look.problem import Problem
from producer.look.status import JobStatus


@dataclass(frozen=True)
class Resend:
    """The boxes of a verified job that get a new message.

    wrong: boxes that are recorded as done, but whose output is not right. Their records must be
        removed before they are sent, or workers would skip them.
    unfinished: boxes without a success, that have no message any more.
    withheld: boxes without a success whose message may still exist; a new one would double it.
    found_in: where the messages of `withheld` may be.
    """

    wrong: tuple[str, ...] = ()
    unfinished: tuple[str, ...] = ()
    withheld: tuple[str, ...] = ()
    found_in: Literal["", "queue", "dead letters"] = ""

    @property
    def boxes(self) -> tuple[str, ...]:
        """The boxes to send."""
        return self.wrong + self.unfinished


def choose_boxes(problems: Iterable[Problem], status: JobStatus) -> Resend:
    """Choose the boxes to send again. status: that of the queue, after the problems were found."""
    kinds = {problem.box: problem.contradicts_record for problem in problems}
    wrong = tuple(box for box, contradicts in kinds.items() if contradicts)
    unfinished = tuple(box for box, contradicts in kinds.items() if not contradicts)
    if not status.idle:
        return Resend(wrong, withheld=unfinished, found_in="queue")
    if status.dead:
        return Resend(wrong, withheld=unfinished, found_in="dead letters")
    return Resend(wrong, unfinished)
