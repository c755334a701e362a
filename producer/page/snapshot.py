"""`Snapshot`: what a look at a job found, and the part of it that is sent."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from producer.page.box_states import STATES, counts

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from chunkflow_worker.job.grid import Boxes
    from producer.look.status import JobStatus
    from producer.page.history import Point


@dataclass(frozen=True)
class Snapshot:
    """What a look found.

    number: counts the looks from 1. time: of it, in seconds since 1970.
    states: see `box_states`. point: of the history.
    eta_range: between which numbers of seconds the job probably ends.
    facts: what the records of done and failed boxes and the heartbeats say, as it is sent.
    """

    number: int
    time: float
    status: JobStatus
    boxes: Boxes
    states: NDArray[np.uint8]
    point: Point
    eta_range: tuple[float, float] | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    def to_send(self) -> dict[str, Any]:
        """All but the states, as JSON."""
        status = self.status
        known = asdict(status) | {"late": len(status.late), "nets": len(status.nets)}
        return {
            "number": self.number,
            "time": self.time,
            "status": known,
            "percent": status.percent,
            "eta": status.eta_seconds,
            "etaRange": self.eta_range,
            "counts": counts(self.states),
            "point": self.point,
            **self.facts,
        }

    def grid(self) -> dict[str, Any]:
        """Where the boxes are: zyx, in voxels. first: the place in the grid of the first state."""
        boxes = self.boxes
        return {
            "start": [*boxes.start],
            "chunk": [*boxes.chunk_size],
            "size": [*boxes.grid_size],
            "stop": None if boxes.stop is None else [*boxes.stop],
            "first": boxes.first,
            "count": len(self.states),
            "states": STATES,
        }
