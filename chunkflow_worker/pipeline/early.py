"""`EarlyWrites`: writes the finished sections of a chunk while the others are still computed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from functools import cache, partial
from itertools import groupby
from typing import TYPE_CHECKING, Any

from chunkflow_worker.errors import ChunkflowError
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.volumes.block_cache import block_cache

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from chunkflow_worker.image.chunk import Chunk
    from chunkflow_worker.volumes.volume import CheckedVolume

_THREADS = 4
"""That write layers, of all tasks of a process. The storage has threads of its own."""


class EarlyWrites:
    """The blocks of one task that are written before its whole chunk is computed.

    A layer is as high as a block, and as wide as the chunk. It is written when all of its sections
    have their values; the operator that saves the chunk then writes the others.

    part: the part of the chunk that belongs in the volume, as it will be stored; None if it must be
        whole before it is written. It may raise the errors that the operator will raise itself.
    """

    def __init__(self, volume: CheckedVolume, part: Callable[[Chunk], Chunk | None]):
        self._volume, self._part = volume, part
        self._source: NDArray[Any] | None = None
        self._written: dict[BoundingBox, Future[list[str]]] = {}

    def finished(self, chunk: Chunk, stop: int, arrive: Callable[[], object]) -> None:
        """Start to write the layers of a chunk that end at section `stop` or before it.

        chunk: its array gets further values later. Another array than the last one means that all
            values are computed again.
        arrive: waits until the sections before `stop` are in the array.
        """
        if chunk.array is not self._source:
            self.wait()
            self._source, self._written = chunk.array, {}
        try:
            part = self._part(chunk)
        except ChunkflowError:
            return
        if part is None:
            return
        for layer in self._layers(part.bbox):
            if layer.stop.z <= stop and layer not in self._written:
                write = partial(self._write_layer, layer, part.cutout(layer).array, arrive)
                self._written[layer] = _threads().submit(copy_context().run, write)

    def write(self, bbox: BoundingBox, array: NDArray[Any]) -> list[str]:
        """Write the box but for the layers that are written already; see `Volume.write`."""
        if not self._written:
            return self._volume.write(bbox, array)
        sums: list[str] = []
        for is_written, layers in groupby(self._layers(bbox), self._written.__contains__):
            if is_written:
                sums += (text for layer in layers for text in self._written[layer].result())
                continue
            found = list(layers)
            rest = BoundingBox(found[0].start, found[-1].stop)
            sums += self._volume.write(rest, array[(..., *rest.slices(bbox.start))])
        return sums

    def wait(self) -> None:
        """Wait until nothing is being written. What has not begun is left out."""
        for layer in self._written.values():
            layer.cancel()
        wait(self._written.values())

    def _layers(self, box: BoundingBox) -> Iterator[BoundingBox]:
        return box.split(Vec3(self._volume.block_size.z, box.size.y, box.size.x))

    def _write_layer(
        self, layer: BoundingBox, array: NDArray[Any], arrive: Callable[[], object]
    ) -> list[str]:
        arrive()
        try:
            return self._volume.write(layer, array)
        finally:  # the task may fail before the operator that saves forgets what was read before
            block_cache().forget(self._volume.path)


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_THREADS, thread_name_prefix="early")


os.register_at_fork(after_in_child=_threads.cache_clear)  # a fork has no threads
