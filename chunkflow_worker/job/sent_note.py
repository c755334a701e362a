"""`SentNote`: how far the sending of a job got, so that a producer that was killed can go on."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator

from chunkflow_worker.job.order import PLAIN, Order


class SentNote(BaseModel):
    """How far the boxes of a job, or of a part of it, were sent to a queue.

    Boxes are counted from 0, in the order in which they are sent.
    run: what the ids of the tasks begin with.
    sent: all boxes before this one were sent. until: none from this one on was sent.
    total: the number of boxes. order: in which they are sent.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    queue: str
    run: str = Field(pattern=r"^[0-9a-f]{32}$")
    sent: int = Field(0, ge=0)
    until: int = 0
    total: int
    order: Order = PLAIN

    @model_validator(mode="after")
    def _in_order(self) -> SentNote:
        if not self.sent <= self.until <= self.total:
            raise ValueError("sent, until and total must be in this order")
        return self

    @property
    def is_complete(self) -> bool:
        return self.sent == self.total
