"""`Result`: what a run took, and what of it was wasted."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Result:
    """One run of a job on paper.

    workers, places: workers of the fleet, and places of each.
    interruptions: share of the machines lost in an hour. interrupted: machines that had a notice.
    done, dead: tasks. received: messages. cut: attempts that interruptions cut off.
    makespan_seconds: from the launch of the first machine until the last task was done or dead.
    machine_seconds: that are paid. starting_seconds: of machines, before they are ready.
    useful_seconds, lost_seconds, failed_seconds: of places, for tasks that were done, for attempts
        that were cut off, and for those that failed.
    tail_seconds: of the makespan, after each message had been received once.
    peak_in_flight: messages. was_full: whether SQS's limit of them kept places waiting.
    empty_polls: receives without a message.
    """

    workers: int
    places: int
    interruptions: float
    tasks: int
    done: int
    dead: int
    received: int
    interrupted: int
    cut: int
    makespan_seconds: float
    machine_seconds: float
    starting_seconds: float
    useful_seconds: float
    lost_seconds: float
    failed_seconds: float
    tail_seconds: float
    peak_in_flight: int
    was_full: bool
    empty_polls: int

    @property
    def idle_seconds(self) -> float:
        """Of places of machines that were ready, without a task."""
        ready = self.places * (self.machine_seconds - self.starting_seconds)
        return ready - self.useful_seconds - self.lost_seconds - self.failed_seconds

    @property
    def machine_hours(self) -> float:
        return self.machine_seconds / 3600

    @property
    def lost(self) -> float:
        """Work that interruptions cut off, as a share of the useful work."""
        return self.lost_seconds / self.useful_seconds if self.useful_seconds else 0.0

    @property
    def waste(self) -> float:
        """Share of the paid time of machines that did no task that was done."""
        paid = self.places * self.machine_seconds
        return 1 - self.useful_seconds / paid if paid else 0.0
