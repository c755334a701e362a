"""`Shown`: one layer of a page, and where its data are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

from chunkflow_worker.volumes.scene.page import Region

Kind = Literal["image", "segmentation", "map", "mesh", "skeleton", "points"]
KINDS: tuple[Kind, ...] = get_args(Kind)

SourceOf = Callable[[str, str], str]
"""The source of what is stored at a place: its path in normal form, and the driver of its arrays,
empty for the precomputed format; empty if no browser reads it."""


@dataclass(frozen=True)
class Shown:
    """layer: in Neuroglancer's JSON. region: None if it is not known."""

    kind: Kind
    layer: dict[str, Any]
    region: Region | None


def segmentation_layer(name: str, source: Any, chosen: list[int]) -> dict[str, Any]:
    """A layer of objects. chosen: those whose meshes and skeletons are drawn."""
    layer: dict[str, Any] = {"type": "segmentation", "name": name, "source": source}
    if chosen:
        layer |= {
            "segments": [str(number) for number in chosen],
            # The others are still seen in sections.
            "selectedAlpha": 0.4,
            "notSelectedAlpha": 0.2,
        }
    return layer
