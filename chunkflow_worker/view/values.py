"""The kinds of values that viewers show: chunks, synapses, points and skeletons."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard

from chunkflow_worker.errors import ChunkMismatch
from chunkflow_worker.image.chunk import VoxelSize

NANOMETRE: VoxelSize = (1.0, 1.0, 1.0)
"""The voxel size of positions in nanometres, such as those of skeletons."""


def is_skeletons(value: Any) -> TypeGuard[Mapping[int, Any]]:
    """Whether a value is skeletons of osteoid by object id."""
    return isinstance(value, Mapping) and all(hasattr(v, "vertices") for v in value.values())


def not_shown(name: str, value: Any, viewer: str) -> ChunkMismatch:
    """The error for a value of another kind. viewer: what cannot show it."""
    kind = type(value).__name__
    return ChunkMismatch(
        f"{name!r} is a {kind}; {viewer} shows chunks, synapses, points and skeletons"
    )
