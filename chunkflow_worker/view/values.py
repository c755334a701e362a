"""The kinds of values that viewers show: chunks, synapses, points and skeletons."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard

from chunkflow_worker.errors import ChunkMismatch
from chunkflow_worker.image.chunk import Chunk, VoxelSize

NANOMETRE: VoxelSize = (1.0, 1.0, 1.0)
"""The voxel size of positions in nanometres, such as those of skeletons."""


def is_skeletons(value: Any) -> TypeGuard[Mapping[int, Any]]:
    """Whether a value is skeletons of osteoid by object id."""
    return isinstance(value, Mapping) and all(hasattr(v, "vertices") for v in value.values())


def overlays(values: Mapping[str, Any]) -> set[str]:
    """Names of the chunks that lie over another chunk.

    A grey image there would hide what lies below, so it is shown as a map: coloured where it is
    high. The values do not tell a map of uint8 from an image.
    """
    names = [name for name, value in values.items() if isinstance(value, Chunk)]
    return set(names[1:])


def not_shown(name: str, value: Any, viewer: str) -> ChunkMismatch:
    """The error for a value of another kind. viewer: what cannot show it."""
    kind = type(value).__name__
    return ChunkMismatch(
        f"{name!r} is a {kind}; {viewer} shows chunks, synapses, points and skeletons"
    )
