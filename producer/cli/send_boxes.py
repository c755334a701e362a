"""`send_boxes`: sends one message per box, notes how far that got, and shows a progress bar."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic
from typing import TYPE_CHECKING
from uuid import uuid4

from chunkflow_worker.report.say import say

if TYPE_CHECKING:
    from chunkflow_worker.job.grid import Boxes
    from chunkflow_worker.job.job_record import JobRecord
    from chunkflow_worker.job.sent_note import SentNote
    from chunkflow_worker.job.sqs import Queue
    from chunkflow_worker.job.z_curve import ZCurve


def send_boxes(
    region: str,
    queue: Queue,
    job: JobRecord,
    boxes: Boxes | ZCurve | Sequence[str],
    how_to_resume: Callable[[int], str],
    *,
    begun: SentNote | None = None,
    keep: Callable[[SentNote], None] = lambda note: None,
    threads: int = 32,
    processes: int = 1,
) -> None:
    """Send one message per box, in the order of `boxes`, which is that of `job.order`.

    how_to_resume: returns the text to print when only the first n messages were sent.
    begun: how far an earlier run got with the same boxes; this one sends the rest.
    keep: is called with a note before anything is sent that the last one does not cover.
    Raises SendingFailed.
    """
    from chunkflow_worker.job.sent_note import SentNote
    from chunkflow_worker.report.progress import duration_text, progress
    from producer.send.batches import SendingFailed
    from producer.send.blocks import Target, send_tasks
    from producer.send.tasks import Tasks

    total = len(boxes)
    begun = begun or SentNote(queue=queue.place, run=uuid4().hex, total=total, order=job.order)
    tasks = Tasks(
        boxes, job.job, job.pipeline, queue.name, begun.run, doubtful=begun.until, stage=job.stage
    )
    began, done = monotonic(), begun.sent
    try:
        with progress(total, "sent") as show:

            def sent(count: int) -> None:
                nonlocal done
                done = count
                rate = (done - begun.sent) / (monotonic() - began)
                show(done, f"{duration_text((total - done) / max(rate, 1e-9))} left")

            send_tasks(
                Target(region, queue.url, threads),
                tasks,
                begun.sent,
                processes=processes,
                note=lambda first, until: keep(_moved(begun, first, until)),
                sent=sent,
            )
    except SendingFailed as error:
        done = error.first_unsent
        raise
    finally:
        if done < total:
            say(how_to_resume(done), err=True)


def _moved(note: SentNote, sent: int, until: int) -> SentNote:
    return note.model_copy(update={"sent": sent, "until": until})
