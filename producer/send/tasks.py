"""`Tasks`: the messages of a job, made shortly before they are sent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from chunkflow_worker.job.grid import Boxes
from chunkflow_worker.job.message import TaskMessage, Template
from chunkflow_worker.job.z_curve import ZCurve

DOUBT_SECONDS = 30
"""A message that may be there twice comes so much later. By then, the other is mostly done."""

_ANY_BOX = "0-1_0-1_0-1"


class Part(NamedTuple):
    """Messages that are sent alike. first: place of the first box."""

    first: int
    bodies: Iterator[str]
    delay_seconds: int


@dataclass(frozen=True)
class Tasks:
    """The messages of a job for one queue, one for each box.

    boxes: all that are to be sent, in this order; or their texts.
    job, pipeline, stage: as in `TaskMessage`.
    run: what the ids of the tasks begin with; the place of the box follows, so that a box that is
        sent again has the same id.
    doubtful: boxes before this place may have been sent before. Their messages count one attempt,
        so that a worker looks whether the task was done before it starts, and come later.
    """

    boxes: Boxes | ZCurve | Sequence[str]
    job: str
    pipeline: str
    queue: str
    run: str
    doubtful: int = 0
    stage: str = ""

    def __len__(self) -> int:
        return len(self.boxes)

    def parts(self, first: int, last: int) -> Iterator[Part]:
        """The boxes from one place to before another, those first that may have been sent."""
        middle = min(max(first, self.doubtful), last)
        for start, stop, attempts in ((first, middle, 1), (middle, last, 0)):
            if start < stop:
                bodies = self._bodies(start, stop, attempts)
                yield Part(start, bodies, DOUBT_SECONDS if attempts else 0)

    def _bodies(self, first: int, last: int, attempts: int) -> Iterator[str]:
        like = TaskMessage(
            job=self.job,
            bbox=_ANY_BOX,
            pipeline=self.pipeline,
            stage=self.stage,
            attempts=attempts,
        )
        body, run = Template(like, self.queue).body, self.run
        boxes = self.boxes
        texts = boxes.texts(first, last) if isinstance(boxes, Boxes | ZCurve) else boxes[first:last]
        for place, text in enumerate(texts, first):
            yield body(text, f"{run}-{place}")
