"""`box_layer`: the boxes of a job as a layer of Neuroglancer, in the colours of their states."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chunkflow_worker.image.bbox import BoundingBox
    from chunkflow_worker.image.chunk import VoxelSize

MOST_BOXES = 5000
"""So many boxes fit into the address of a page."""

_COLOURS = {
    "waiting": "0.6, 0.6, 0.6",
    "running": "0.94, 0.89, 0.26",
    "done": "0.0, 0.62, 0.45",
    "skipped": "0.34, 0.71, 0.91",
    "failed": "0.9, 0.62, 0.0",
    "dead": "0.84, 0.37, 0.0",
    "slow": "0.8, 0.47, 0.65",
}
"""Okabe and Ito's, as on the page of a job; only waiting boxes are darker, on black."""

_FIRST = ("dead", "failed", "running", "slow")
"""The states that are kept where not all boxes fit."""

_MOST_WORDS = 120  # characters that tell of a box; all of them lie in the address


@dataclass(frozen=True)
class ShownBox:
    """state: one of the page of a job. words: that a click shows beside it, such as the cause."""

    box: BoundingBox
    state: str
    words: str = ""


def chosen(states: Sequence[str]) -> list[int]:
    """The places of the boxes that are shown, in order: those first that people look for."""
    if len(states) <= MOST_BOXES:
        return [*range(len(states))]
    rank = {state: place for place, state in enumerate(_FIRST)}
    by_rank = sorted(range(len(states)), key=lambda place: rank.get(states[place], len(rank)))
    return sorted(by_rank[:MOST_BOXES])


def box_layer(boxes: Iterable[ShownBox], voxel_size: VoxelSize, total: int = 0) -> dict[str, Any]:
    """The layer. voxel_size: nanometres, zyx. total: boxes of the job, where more than these."""
    from chunkflow_worker.volumes.scene.annotations import local_source

    names, shown = list(_COLOURS), list(boxes)
    cases = "".join(
        f"  if (prop_state() == uint({i})) {{ setColor(vec3({colour})); }}\n"
        for i, colour in enumerate(_COLOURS.values())
    )
    labels = {"enum_values": list(range(len(names))), "enum_labels": names}
    return {
        "type": "annotation",
        "name": "boxes" if total <= len(shown) else f"boxes ({len(shown)} of {total})",
        "source": local_source(voxel_size),
        "annotationProperties": [{"id": "state", "type": "uint8", "default": 0} | labels],
        "annotations": [
            {
                "type": "axis_aligned_bounding_box",
                "id": str(one.box),
                "description": _description(one),
                "pointA": list(one.box.start[::-1]),
                "pointB": list(one.box.stop[::-1]),
                "props": [names.index(one.state)],
            }
            for one in shown
        ],
        "shader": f"void main() {{\n{cases}}}\n",
    }


def _description(one: ShownBox) -> str:
    words = one.words if len(one.words) <= _MOST_WORDS else f"{one.words[:_MOST_WORDS]}..."
    return f"{one.box} {one.state}" + (f": {words}" if words else "")
