"""`Sender`: sends a part of a stage, once, whoever tries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from uuid import uuid4

from chunkflow_worker.errors import ConfigError
from chunkflow_worker.job.claim import Claim
from chunkflow_worker.job.job_record import JobRecord
from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.job.order import in_order
from chunkflow_worker.job.sent_note import SentNote
from chunkflow_worker.job.sqs import Queue
from chunkflow_worker.storage.files import Files
from producer.plan.pipeline_file import PipelineFile
from producer.plan.record import record_job
from producer.plan.refused import refused
from producer.send.blocks import Target, send_tasks
from producer.send.tasks import Tasks
from producer.stages.parts import Part

_BLOCKS = 20  # each costs a note, so that a twentieth of a part is in doubt after a kill


@dataclass(frozen=True)
class Sender:
    """Sends the parts of a stage. What is sent, and how far, is in its ledger.

    region: of SQS. queue: of the stage.
    """

    file: PipelineFile
    ledger: Ledger
    region: str
    queue: Queue

    def send(self, part: Part, show: Callable[[int, int], None]) -> bool:
        """Send a part, or the rest of it; False when another process does so now.

        show: is called with the number of messages that were sent, and with that of all.
        Raises ConfigError when workers would refuse the boxes, SendingFailed, and ClaimLost when
        this process stood still and another one goes on.
        """
        claim = Claim.take(Files(f"{self.ledger.path}/jobs"), f"{part.job}.sender")
        if claim is None:
            return False
        try:
            record = self.ledger.job(part.job) or self._record(part)
            self._send(record, claim, show)
        finally:
            claim.release()
        return True

    def _record(self, part: Part) -> JobRecord:
        record = part.make()
        faults = list(refused(record.boxes(), self.file, self.ledger.path))
        if faults:
            raise ConfigError(
                "workers would refuse these boxes", map(self.file.stage.fault, faults)
            )
        record_job(self.ledger, record)
        return record

    def _send(self, record: JobRecord, claim: Claim, show: Callable[[int, int], None]) -> None:
        boxes, target = record.boxes(), self.queue
        note = self.ledger.sent_note(record.job, boxes) or SentNote(
            queue=target.place, run=uuid4().hex, total=len(boxes), order=record.order
        )
        if note.is_complete:  # another process has sent it meanwhile
            return
        if note.queue != target.place:
            problem = f"was begun on queue {note.queue}, and would go on here on {target.place}"
            raise ConfigError.one("queue", record.job, problem, f"give --queue of {note.queue}")
        tasks = Tasks(
            in_order(boxes, note.order),
            record.job,
            record.pipeline,
            target.name,
            note.run,
            doubtful=note.until,
            stage=record.stage,
        )

        def keep(sent: int, until: int) -> None:
            claim.check()
            noted = note.model_copy(update={"sent": sent, "until": until})
            self.ledger.note_sent(record.job, boxes, noted)

        send_tasks(
            Target(self.region, target.url),
            tasks,
            note.sent,
            fewest_blocks=_BLOCKS,
            note=keep,
            sent=lambda count: show(count, len(boxes)),
        )
