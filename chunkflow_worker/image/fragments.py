"""Fragments: what one box holds of an object's mesh or skeleton. The voxels they are made of, and their names in storage."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from chunkflow_worker.errors import ChunkMismatch
from chunkflow_worker.image.bbox import BoundingBox

if TYPE_CHECKING:
    from chunkflow_worker.image.chunk import Chunk


def with_overlap(box: BoundingBox, bounds: BoundingBox | None) -> BoundingBox:
    """`box` and the first voxel of its neighbours behind it, where fragments of two boxes meet; inside `bounds`."""
    grown = BoundingBox(box.start, box.stop + 1)
    return grown if bounds is None else grown.clip(bounds) or grown


def object_voxels(chunk: Chunk, box: BoundingBox | None, name: str) -> tuple[Chunk, BoundingBox]:
    """What the fragments of a task's `box` are made of: its voxels with the overlap, and the box inside the image.

    name: of the chunk, for errors.
    Raises ChunkMismatch unless it holds object ids of the whole box with its overlap.
    """
    chunk = chunk.with_array(chunk.object_ids(name))
    known = chunk.bounds or chunk.bbox
    own = chunk.bbox if box is None else box.clip(known)
    if own is None or not chunk.bbox.contains(with_overlap(own, known)):
        raise ChunkMismatch(
            f"{name!r} is {chunk.bbox}, and lacks voxels of the box {box or chunk.bbox} with the one behind it, in which "
            "the objects of two boxes meet: load it without a fixed margin, and leave the margin on"
        )
    voxels = chunk.cutout(with_overlap(own, known))
    if chunk.dtype.kind == "i" and int(voxels.array.min()) < 0:
        raise ChunkMismatch(f"{name!r} holds {voxels.array.min()}, and object ids are not negative")
    return voxels, own


def xyz_name(box: BoundingBox) -> str:
    """A box as igneous and CloudVolume write it: x0-x1_y0-y1_z0-z1."""
    return "_".join(f"{a}-{b}" for a, b in zip(box.start[::-1], box.stop[::-1], strict=True))


def by_object(names: Iterable[str], mark: str) -> dict[int, list[str]]:
    """Names of fragments by their objects' ids, sorted. They begin with the id and `mark`, for example 42:0:..."""
    pattern = re.compile(rf"(\d+){re.escape(mark)}.+", re.ASCII)
    found: dict[int, list[str]] = {}
    for name in sorted(names):
        match = pattern.match(name)
        if match:
            found.setdefault(int(match[1]), []).append(name)
    return found


def parse_ids(text: str) -> list[int]:
    """Object ids in a text, with commas, blanks or lines between them. Raises ValueError for anything else."""
    words = re.split(r"[\s,;\[\]]+", text.strip(" \t\r\n,;[]"))
    if not all(re.fullmatch(r"\d+", word, re.ASCII) for word in words):
        raise ValueError("takes object ids with commas between them, for example 42,43")
    return [int(word) for word in words]
