"""`Assumptions`: what is assumed of tasks, machines and the queue."""

from __future__ import annotations

from pydantic import model_validator

from chunkflow_worker.config.options import Options, field

IN_FLIGHT_LIMIT = 120_000  # of a standard queue


class Assumptions(Options):
    """A job on paper. A worker is one process on one machine; times are seconds.

    The defaults are those of workers and of the queues that `queue create` makes.
    """

    tasks: int = field(1_000_000, ge=1, le=10_000_000, help="Number of tasks.")
    task_seconds: float | None = field(
        None,
        gt=0,
        le=43_200,
        allow_inf_nan=False,
        help="Mean time of a task in its worker; with --from-job, that of the records.",
    )
    task_spread: float = field(
        0.2,
        ge=0,
        le=10,
        help="Standard deviation of the time of tasks, as a share of the mean (log-normal).",
    )
    overhead_seconds: float = field(
        0.1,
        ge=0,
        le=3600,
        help="Time of a place for each task beside the task: to receive the message.",
    )
    failures: float = field(
        0,
        ge=0,
        lt=1,
        help="Share of the attempts that fail at their end, and are repeated after a pause.",
    )
    in_flight: int = field(
        2,
        ge=1,
        le=64,
        help="Places of a worker: tasks in progress at the same time.",
    )
    startup_seconds: float = field(
        180,
        ge=0,
        le=86_400,
        help="From the launch of a machine until its worker receives tasks; it is paid.",
    )
    launches_a_minute: float | None = field(
        None,
        gt=0,
        help="Machines that the cloud gives per minute at the start; all at once by default.",
    )
    replacement_seconds: float = field(
        120,
        ge=0,
        le=86_400,
        help="From the loss of a machine until another one is launched in its place.",
    )
    notice_seconds: float = field(
        120,
        ge=0,
        le=3600,
        help="From the notice of an interruption until the machine ends.",
    )
    drain: bool = field(
        True,
        help="Stop receiving at the notice, and give tasks back after the grace period; or work "
        "until the machine ends, so that messages come back when their leases expire.",
    )
    grace_seconds: float = field(
        1,
        ge=0,
        help="After the notice, tasks have this long to finish: CHUNKFLOW_GRACE_SECONDS.",
    )
    lease_seconds: float = field(
        60,
        ge=3,
        le=43_200,
        help="Length of a lease, which is renewed three times in it: CHUNKFLOW_LEASE_SECONDS, or "
        "else the visibility timeout of the queue.",
    )
    backoff_seconds: float = field(
        10,
        ge=0,
        le=900,
        help="Pause before the second attempt; doubles with each, up to 900.",
    )
    poll_seconds: float = field(
        5,
        ge=1,
        le=20,
        help="Length of a long poll that receives nothing.",
    )
    max_receives: int = field(
        5,
        ge=1,
        le=1000,
        help="Receives of a message before SQS moves it to the dead letters.",
    )
    in_flight_limit: int = field(
        IN_FLIGHT_LIMIT,
        ge=1,
        help="Messages that SQS allows in flight; a standard queue has 120,000.",
    )
    seed: int = field(1, ge=0, help="The same seed gives the same run.")

    @model_validator(mode="after")
    def _grace_ends_before_the_machine(self) -> Assumptions:
        if self.drain and self.grace_seconds > self.notice_seconds:
            raise ValueError(
                f"the grace period ({self.grace_seconds:g} s) is longer than the notice "
                f"({self.notice_seconds:g} s): the machine would end before tasks are given back"
            )
        return self
