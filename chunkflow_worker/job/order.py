"""`Order`: the order in which boxes are sent. The indices of their tasks do not depend on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from chunkflow_worker.job.grid import Boxes
    from chunkflow_worker.job.z_curve import ZCurve

Order = Literal["plain", "z-curve"]
PLAIN: Order = "plain"


def in_order(boxes: Boxes, order: Order) -> Boxes | ZCurve:
    """The boxes of a job in the order in which they are sent."""
    from chunkflow_worker.job.z_curve import ZCurve

    return boxes if order == PLAIN else ZCurve(boxes)
