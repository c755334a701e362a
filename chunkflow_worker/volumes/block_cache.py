"""`read_cached`: a box of a volume, of which blocks that were read for other boxes are not fetched.

Neighbouring boxes share the blocks at their borders, and those that margins reach into. When they
are read at the same time, one fetches such a block, and the others wait for it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from threading import Event, Lock
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from chunkflow_worker.config.cache_size import cache_size
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.storage.largest import check_read
from chunkflow_worker.volumes.volume import Volume, chunks_of, placing

_PATIENCE = 30  # seconds for which a task waits for blocks that others fetch


class Reuse(NamedTuple):
    """How much of a box was in memory: blocks, and the bytes of their voxels."""

    blocks: int = 0
    bytes: int = 0


class BlockCache:
    """Decoded blocks, those used last. most: bytes that they may have together."""

    def __init__(self, most: int):
        self._most, self._size, self._lock = most, 0, Lock()
        self._blocks: OrderedDict[tuple[Volume, BoundingBox], NDArray[Any]] = OrderedDict()
        self._fetched: dict[tuple[Volume, BoundingBox], Event] = {}

    def get(self, volume: Volume, block: BoundingBox) -> NDArray[Any] | None:
        """The voxels, czyx, of a block; None if they are not here."""
        with self._lock:
            voxels = self._blocks.get((volume, block))
            if voxels is not None:
                self._blocks.move_to_end((volume, block))
            return voxels

    def put(self, volume: Volume, block: BoundingBox, voxels: NDArray[Any]) -> None:
        """Keep a block, in place of those that were not used for longest."""
        with self._lock:
            if voxels.nbytes > self._most or (volume, block) in self._blocks:
                return
            self._blocks[volume, block] = voxels
            self._size += voxels.nbytes
            while self._size > self._most:
                self._size -= self._blocks.popitem(last=False)[1].nbytes

    @contextmanager
    def fetching(
        self, volume: Volume, blocks: Iterable[BoundingBox]
    ) -> Iterator[tuple[list[BoundingBox], set[Event]]]:
        """Yields the blocks that the caller must fetch, and events.

        Of the others, some are here, and some are fetched by other callers now: the events are set
        when these have ended, with or without success.
        """
        ended = Event()
        with self._lock:
            absent = [block for block in blocks if (volume, block) not in self._blocks]
            mine = [block for block in absent if (volume, block) not in self._fetched]
            others = {event for b in absent if (event := self._fetched.get((volume, b)))}
            self._fetched.update(((volume, block), ended) for block in mine)
        try:
            yield mine, others
        finally:
            with self._lock:
                for block in mine:
                    del self._fetched[volume, block]
            ended.set()

    def forget(self, path: str) -> None:
        """Drop the blocks of the volume at `path`, whose blocks have changed."""
        with self._lock:
            for key in [key for key in self._blocks if key[0].path == path]:
                self._size -= self._blocks.pop(key).nbytes


@cache
def block_cache() -> BlockCache:
    """That of this process."""
    return BlockCache(cache_size())


def read_cached(volume: Volume, box: BoundingBox, cached: BlockCache) -> tuple[NDArray[Any], Reuse]:
    """`Volume.read`, of a volume of which absent blocks are an error, and how much was in memory.

    Blocks that others change meanwhile may be read as they were before.
    """
    check_read(box.voxels * volume.dtype.itemsize * volume.channels, f"{volume.path}: box {box}")
    czyx = np.empty((volume.channels, *box.size), volume.dtype)
    place = placing(czyx, box)

    def take(block: BoundingBox, voxels: NDArray[Any]) -> None:
        cached.put(volume, block, voxels)
        place(block, voxels)

    blocks = size = 0

    def place_kept(wanted: Iterable[BoundingBox]) -> list[BoundingBox]:
        """Place the blocks that are here; returns the others."""
        nonlocal blocks, size
        others = []
        for block in wanted:
            voxels = cached.get(volume, block)
            if voxels is None:
                others.append(block)
                continue
            place(block, voxels)
            blocks, size = blocks + 1, size + voxels.nbytes
        return others

    absent = place_kept(chunks_of(volume, box))
    with cached.fetching(volume, absent) as (mine, others):
        volume.read_blocks(mine, take)
    for ended in others:
        ended.wait(_PATIENCE)
    fetched = set(mine)
    left = place_kept(block for block in absent if block not in fetched)
    volume.read_blocks(left, take)  # another caller failed, or there was no room for its blocks
    return czyx[0] if volume.channels == 1 else czyx, Reuse(blocks, size)
