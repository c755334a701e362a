"""`send_boxes`: sends one message per box, and shows a progress bar."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from time import monotonic
from typing import TYPE_CHECKING, Any

from chunkflow_worker.report.say import say

if TYPE_CHECKING:
    from chunkflow_worker.job.ledger import JobRecord
    from chunkflow_worker.job.sqs import Queue


def send_boxes(
    client: Any,
    queue: Queue,
    job: JobRecord,
    boxes: Iterable[object],
    total: int,
    how_to_resume: Callable[[int], str],
    threads: int = 8,
) -> None:
    """Send one message per box.

    total: the number of boxes, for the progress bar.
    how_to_resume: returns the text to print when only the first n messages were sent.
    Raises SendingFailed.
    """
    from chunkflow_worker.job.message import TaskMessage, encode
    from chunkflow_worker.report.progress import duration_text, progress
    from producer.send.batches import SendingFailed, send

    bodies = (
        encode(TaskMessage(job=job.job, bbox=str(box), pipeline=job.pipeline), queue.name)
        for box in boxes
    )
    began, done = monotonic(), 0
    try:
        with progress(total, "sent") as show:

            def sent(count: int) -> None:
                nonlocal done
                done = count
                seconds_left = (monotonic() - began) * (total - done) / done
                show(done, f"{duration_text(seconds_left)} left")

            send(client, queue.url, bodies, threads=threads, sent=sent)
    except SendingFailed as error:
        done = error.first_unsent
        raise
    finally:
        if done < total:
            say(how_to_resume(done), err=True)
