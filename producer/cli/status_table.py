"""A status as text: a table, and the note beside a progress bar."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from chunkflow_worker.job.clipped import clipped_lines
from chunkflow_worker.report.progress import duration_text
from chunkflow_worker.report.say import say
from producer.look.expiry import expiry_line
from producer.look.failures import producer_command
from producer.look.nets import net_lines

if TYPE_CHECKING:
    from producer.look.status import JobStatus


def show_table(status: JobStatus) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_column(style="dim")
    if status.queue:
        table.add_row("waiting", str(status.waiting), "in the queue, approximately")
        table.add_row("in flight", str(status.in_flight), "with workers, approximately")
        table.add_row("delayed", str(status.delayed), "approximately")
        if status.high:
            table.add_row("high priority", str(status.high), "of all these, approximately")
        table.add_row("dead letters", str(status.dead), "of all jobs, approximately")
    if status.total is not None:
        table.add_row("done", str(status.done), f"of {status.total}, {status.percent:.1f}%")
        table.add_row("failed", str(status.failed), "not done, the last attempt failed")
        if not status.queue:
            table.add_row("dead", str(status.dead), "of the failed: no attempt is left")
        table.add_row("missing", str(status.missing), "no record yet")
        table.add_row("twice", str(status.twice), "done more than once by this job, counted once")
        if status.queue or not status.idle:
            table.add_row("rate", rate_text(status.rate), "")
            table.add_row("left", duration_text(status.eta_seconds), "")
    job = f"job {status.job}" if status.job else "no job in a ledger"
    say(f"queue {status.queue}, {job}" if status.queue else f"no queue, {job}")
    Console(highlight=False).print(table)
    for line in (*state_lines(status), *spent_lines(status), *expiry_lines(status)):
        say(line)
    if len(status.nets) > 1:
        count = len(status.nets)
        say(f"boxes of this job come from {count} nets or plugins; in a sample of records:")
        say(*(f"  {line}" for line in net_lines(list(status.nets))))
    show_late(status)
    show_clipped(status)


def show_late(status: JobStatus) -> None:
    """A line about boxes whose blocks may be those of another chain or net."""
    if status.late:
        more = f" and {len(status.late) - 1} more" if len(status.late) > 1 else ""
        say(
            f"box {status.late[0]}{more} may hold blocks of another chain or net, written by a "
            "worker that had lost its lease: chunkflow-producer verify tells"
        )


def state_lines(status: JobStatus) -> list[str]:
    """A line for a job that is paused or cancelled, with what to do."""
    if status.state == "running":
        return []
    why = f": {status.why}" if status.why else ""
    by = f" by {status.by} at {status.since}" if status.by else ""
    if status.state == "paused":
        cure = f"mend it, then run: chunkflow-producer resume --job {status.job}"
        return [f"paused{by}{why}; {cure}"]
    left = (status.total or 0) - status.done
    return [f"cancelled{by}{why}; {left} boxes were not done"]


def spent_lines(status: JobStatus) -> list[str]:
    """A line that compares the job with its plan, if the ledger has one."""
    spent = status.spent
    if spent is None or spent.seconds is None or spent.planned_hours is None:
        return []
    parts = [f"{spent.seconds:.3g} s a task"]
    parts[0] += f" (planned {spent.planned_seconds:.3g})" if spent.planned_seconds else ""
    parts.append(
        f"{spent.hours:.3g} machine-hours spent, {spent.forecast_hours:.3g} in all "
        f"(planned {spent.planned_hours:.3g})"
    )
    if spent.planned_dollars is not None:
        parts.append(
            f"${spent.dollars:.2f} spent, ${spent.forecast_dollars:.2f} in all "
            f"(planned ${spent.planned_dollars:.2f}, {spent.machine})"
        )
    return [f"plan: {'; '.join(parts)}"]


def expiry_lines(status: JobStatus) -> list[str]:
    """A line for messages, and one for dead letters, that SQS will delete within a day."""
    found = (
        expiry_line("messages", status.messages_expire),
        expiry_line("dead letters", status.dead_letters_expire),
    )
    return [line for line in found if line]


def show_clipped(status: JobStatus) -> None:
    """A line for each operator that clipped many voxels."""
    all_read = status.sampled >= status.done
    estimated = "" if all_read else f", as {status.sampled} of {status.done} records say"
    for line in clipped_lines(status.clipped):
        say(line + estimated)


def progress_note(status: JobStatus) -> str:
    """The numbers beside a progress bar.

    Without the time left when the queue is empty: then nothing works on the rest.
    """
    parts = [f"{status.waiting} waiting", f"{status.in_flight} in flight"] if status.queue else []
    if status.failed:
        parts.append(f"{status.failed} failed")
    if status.dead:
        parts.append(f"{status.dead} dead (see chunkflow-producer failures)")
    parts += [status.state] * (status.state != "running")
    if status.eta_seconds is not None and (status.complete or not status.idle):
        parts += [rate_text(status.rate), f"{duration_text(status.eta_seconds)} left"]
    return ", ".join(parts)


def causes_line(status: JobStatus, pipeline: Path | None, ledger: str | None, stage: str) -> str:
    """The command that shows why tasks are dead letters, to be printed below a status."""
    command = producer_command(
        "failures", queue=status.queue, pipeline=pipeline, ledger=ledger, stage=stage
    )
    return f"causes: {command}"


def rate_text(rate: float | None) -> str:
    """Tasks per second, or per minute or hour when they are fewer than one."""
    if not rate:
        return "unknown"
    for factor, unit in ((1, "s"), (60, "min")):
        if rate * factor >= 1:
            return f"{rate * factor:.1f}/{unit}"
    return f"{rate * 3600:.1f}/h"
