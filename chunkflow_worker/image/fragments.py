"""Fragments: what one box yields of an object's mesh or skeleton. Their voxels and names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from chunkflow_worker.errors import ChunkMismatch
from chunkflow_worker.image.bbox import BoundingBox

if TYPE_CHECKING:
    from chunkflow_worker.image.chunk import Chunk


def with_overlap(box: BoundingBox, bounds: BoundingBox | None) -> BoundingBox:
    """`box` grown by the first voxel of the next box on each axis, where their fragments meet.

    bounds: the image, which limits the result; None when its size is not known.
    """
    grown = BoundingBox(box.start, box.stop + 1)
    return grown if bounds is None else grown.clip(bounds) or grown


def box_in_image(chunk: Chunk, box: BoundingBox | None) -> BoundingBox | None:
    """The part of a task's `box` that is inside the image of the chunk; None if there is none.

    box: None takes the whole chunk, as if it were the whole image.
    """
    if box is None:
        return chunk.bbox
    return box.clip(chunk.bounds if chunk.bounds is not None else chunk.bbox)


def object_voxels(chunk: Chunk, box: BoundingBox | None, name: str) -> tuple[Chunk, BoundingBox]:
    """The voxels that the fragments of a task's `box` are made of, and the box inside the image.

    The voxels include the overlap with the next boxes.
    box: None takes the whole chunk, as if it were the whole image.
    name: of the chunk, for errors.
    Raises ChunkMismatch unless the chunk holds object ids of the whole box with its overlap.
    """
    chunk = chunk.with_array(chunk.object_ids(name))
    image = chunk.bounds if box is not None and chunk.bounds is not None else chunk.bbox
    inside = box_in_image(chunk, box)
    if inside is None or not chunk.bbox.contains(with_overlap(inside, image)):
        raise ChunkMismatch(
            f"{name!r} is {chunk.bbox}. Voxels of the box {box} are missing, or the first voxels "
            "after it, where the fragments of two boxes meet: read it without a cutout and without "
            "a fixed margin, and do not crop the margin"
        )
    voxels = chunk.cutout(with_overlap(inside, image))
    if chunk.dtype.kind == "i" and int(voxels.array.min()) < 0:
        raise ChunkMismatch(f"{name!r} holds {voxels.array.min()}, and object ids are not negative")
    return voxels, inside


def xyz_name(box: BoundingBox) -> str:
    """A box as igneous and CloudVolume write it: x0-x1_y0-y1_z0-z1."""
    return "_".join(f"{a}-{b}" for a, b in zip(box.start[::-1], box.stop[::-1], strict=True))


def by_object(names: Iterable[str], separator: str) -> dict[int, list[str]]:
    """Group names of fragments by object id, each group sorted; other names are left out.

    separator: follows the id in a name, for example ``:0:`` in 42:0:...
    """
    pattern = re.compile(rf"(\d+){re.escape(separator)}.+", re.ASCII)
    groups: dict[int, list[str]] = {}
    for name in sorted(names):
        match = pattern.match(name)
        if match:
            groups.setdefault(int(match[1]), []).append(name)
    return groups


def parse_ids(text: str) -> list[int]:
    """Read object ids separated by commas, spaces or line breaks.

    Raises ValueError for any other text.
    """
    words = re.split(r"[\s,;\[\]]+", text.strip(" \t\r\n,;[]"))
    if not all(re.fullmatch(r"\d+", word, re.ASCII) for word in words):
        raise ValueError("takes object ids separated by commas, for example 42,43")
    return [int(word) for word in words]
