"""Sends boxes of a job, with a bar; used by ``enqueue`` and ``verify``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from time import monotonic
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from chunkflow_worker.job.ledger import JobRecord
    from chunkflow_worker.job.sqs import Queue


def send_boxes(
    client: Any,
    target: Queue,
    job: JobRecord,
    boxes: Iterable[object],
    total: int,
    rest: Callable[[int], str],
    threads: int = 8,
) -> None:
    """Send one message per box. rest: how to send the rest, when only the first so many were sent. Raises SendingFailed."""
    from chunkflow_worker.job.message import TaskMessage, encode
    from chunkflow_worker.report.progress import duration_text, progress
    from producer.send.batches import SendingFailed, send

    bodies = (
        encode(TaskMessage(job=job.job, bbox=str(box), pipeline=job.pipeline), target.name)
        for box in boxes
    )
    began, done = monotonic(), 0
    try:
        with progress(total, "sent") as show:

            def sent(count: int) -> None:
                nonlocal done
                done = count
                show(done, f"{duration_text((monotonic() - began) * (total - done) / done)} left")

            send(client, target.url, bodies, threads=threads, sent=sent)
    except SendingFailed as error:
        done = error.first_unsent
        raise
    finally:
        if done < total:
            click.echo(rest(done), err=True)
