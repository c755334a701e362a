"""`Tasks`: the messages of a job, made shortly before they are sent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from chunkflow_worker.job.grid import Boxes
from chunkflow_worker.job.message import TaskMessage, Template
from chunkflow_worker.job.z_curve import ZCurve

_ANY_BOX = "0-1_0-1_0-1"


@dataclass(frozen=True)
class Tasks:
    """The messages of a job for one queue, one for each box.

    boxes: all that are to be sent, in this order; or their texts.
    job, pipeline, stage: as in `TaskMessage`.
    run: what the ids of the tasks begin with; the place of the box follows, so that a box that is
        sent again has the same id.
    doubtful: boxes before this place may have been sent before. Their messages count one attempt,
        so that a worker looks whether the task was done before it starts.
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

    def bodies(self, first: int, last: int) -> Iterator[str]:
        """Those of the boxes from one place to before another."""
        middle = min(max(first, self.doubtful), last)
        yield from self._bodies(first, middle, attempts=1)
        yield from self._bodies(middle, last, attempts=0)

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
