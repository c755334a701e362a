"""`StageRun`: one stage: what its ledger and its queue say, and what follows from that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from time import monotonic
from typing import Any, Literal

from chunkflow_worker.errors import ConfigError
from chunkflow_worker.job.grid import Boxes
from chunkflow_worker.job.job_record import JobRecord
from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.job.sqs import Queue
from chunkflow_worker.job.tree import Tree
from chunkflow_worker.report.progress import boxes_text, duration_text
from producer.look.status import JobStatus, StatusPoll
from producer.look.watch import Rate
from producer.plan.pipeline_file import PipelineFile
from producer.plan.verified_note import is_verified, note_verified
from producer.stages.ending import Ending
from producer.stages.parts import Part, part_of_grid, part_of_wave
from producer.stages.sender import Sender

NOT_SENT = "not sent, and not among the stages to run"
State = Literal["waits", "sends", "runs", "verifies", "done", "failed", "stopped"]
Verify = Callable[[PipelineFile, Ledger, JobRecord], str]
"""Reads the output of a job back; returns what is wrong with it, or not known; empty if right."""


@dataclass(frozen=True)
class StageView:
    """How far a stage is.

    done, total: its boxes; total is None while it is not known.
    note: more, in words. job: what is being done now; empty for none.
    """

    name: str
    state: State
    done: int = 0
    total: int | None = None
    note: str = ""
    job: str = ""


Show = Callable[[StageView], None]


class StageRun:
    """A stage that a producer brings to its end. It keeps nothing that is not in the ledger.

    file: of the stage. job: the name of that of the whole file. client, queue: of SQS.
    leaves: the stage over whose boxes its tasks are a tree; None for tasks of a grid.
    settle_seconds: see `Ending`. may_send: False to look only.
    """

    def __init__(
        self,
        file: PipelineFile,
        ledger: Ledger,
        job: str,
        client: Any,
        queue: Queue,
        leaves: StageRun | None,
        settle_seconds: float,
        verify: Verify,
        *,
        may_send: bool = True,
    ):
        self.file, self.ledger, self.queue = file, ledger, queue
        self._job, self._client, self._leaves = job, client, leaves
        self._settle, self._verify, self.may_send = settle_seconds, verify, may_send
        self._sender = Sender(file, ledger, client.meta.region_name, queue)
        self._complete: dict[str, JobRecord] = {}
        self._polls: dict[str, tuple[StatusPoll, Ending, Rate]] = {}
        self._verified: StageView | None = None

    @property
    def name(self) -> str:
        return self.file.stage.name or self._job

    def boxes(self) -> Boxes:
        """The boxes of its grid, as they were sent. Raises ConfigError where none were."""
        part = part_of_grid(self.file, self._job, self.queue.name)
        record = self._complete.get(part.job) or self.ledger.job(part.job)
        if record is None:
            raise ConfigError.one("stages", self.name, "has sent no tasks yet")
        return record.boxes()

    def waits(self, for_stages: str) -> StageView:
        return StageView(self.name, "waits", note=f"for {for_stages}")

    def step(self, show: Show) -> StageView:
        """Do what is due now that all stages that it needs are complete.

        show: is called with views while this takes long.
        Raises ConfigError, QueueUnavailable and StorageUnavailable.
        """
        done, parts = 0, self._parts
        known = [part.tasks for part in parts]
        total = None if None in known else sum(filter(None, known))
        for number, part in enumerate(parts, 1):
            wave = f"wave {number} of {len(parts)}" if self._leaves else ""
            if part.job not in self._complete:
                before = StageView(self.name, "runs", done, total, wave, part.job)
                view = self._step(part, before, show)
                if view.state != "done":
                    return view
            done += self._complete[part.job].tasks
        view = StageView(self.name, "done", done, done)
        if not self.file.stage.verify:
            return view
        if self._verified is None:  # once, since it reads all that the stage has written
            self._verified = self._verify_parts(view, show)
        return self._verified

    @cached_property
    def _parts(self) -> list[Part]:
        queue = self.queue.name
        if self._leaves is None:
            return [part_of_grid(self.file, self._job, queue)]
        return [
            part_of_wave(self.file, self._job, queue, number, boxes)
            for number, boxes in enumerate(Tree(self._leaves.boxes()).waves(), 1)
        ]

    def _step(self, part: Part, view: StageView, show: Show) -> StageView:
        """Send a part, or look how far it is. Its view is done when all of it is."""
        record = self.ledger.job(part.job)
        if record is not None:
            self._check(record)
        note = self.ledger.sent_note(part.job, record.boxes()) if record else None
        if note is None or not note.is_complete:
            if not self.may_send:
                return replace(view, state="waits", note=NOT_SENT)

            def sent(count: int, of: int) -> None:
                show(replace(view, state="sends", note=f"sent {count} of {of}"))

            if not self._sender.send(part, sent):
                return replace(view, state="sends", note="by another process")
            record = self.ledger.job(part.job)
        assert record is not None
        return self._look(record, view)

    def _look(self, record: JobRecord, view: StageView) -> StageView:
        if record.job not in self._polls:
            poll = StatusPoll(self._client, self.queue, self.ledger, record.job)
            ending = Ending(poll.all_are_final, self._settle)
            self._polls[record.job] = poll, ending, Rate(monotonic())
        poll, ending, rate = self._polls[record.job]
        status = poll.ask(sample=0)
        if status.complete:
            self._complete[record.job] = record
            return replace(view, state="done")
        total = view.total or status.total
        view = replace(view, done=view.done + status.done, total=total)
        if status.state != "running":
            return replace(view, state="stopped", note=f"{status.state}: {status.why or status.by}")
        if ending.has_failed(status):
            return replace(view, state="failed", note=_failed_text(status))
        status = replace(status, rate=rate.update(monotonic(), status))
        return replace(view, note=", ".join(filter(None, (view.note, _running_text(status)))))

    def _check(self, record: JobRecord) -> None:
        """Raise ConfigError for a job that was made of another chain or for another queue."""
        if record.pipeline != self.file.digest:
            raise ConfigError.one(
                str(self.file.path),
                f"stage {self.name}",
                f"its chain has changed: job {record.job} is for {record.pipeline}, and this file "
                f"has {self.file.digest}",
                f"to do this stage again, and those that need it: --redo {self.name}; or give "
                "another --ledger",
            )
        if record.queue != self.queue.name:
            raise ConfigError.one(
                "queue",
                self.queue.name,
                f"job {record.job} was sent to queue {record.queue}",
                "give that queue; what is left there can be done only from there",
            )

    def _verify_parts(self, view: StageView, show: Show) -> StageView:
        """Verify the parts that were not verified before."""
        for part in self._parts:
            record = self._complete[part.job]
            if is_verified(self.ledger, record):
                continue
            show(replace(view, state="verifies"))
            wrong = self._verify(self.file, self.ledger, record)
            if wrong:
                return replace(view, state="failed", note=wrong, job=part.job)
            note_verified(self.ledger, record)
        return view


def _running_text(status: JobStatus) -> str:
    failed = f"{status.failed} failed" if status.failed else ""
    left = f"{duration_text(status.eta_seconds)} left" if status.rate else ""
    return ", ".join(filter(None, (failed, left)))


def _failed_text(status: JobStatus) -> str:
    left = boxes_text((status.total or 0) - status.done)
    if status.failed:
        return f"{left} not done, {status.failed} given up"
    return f"{left} not done, without a message in the queue"
