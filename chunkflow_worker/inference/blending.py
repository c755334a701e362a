"""`infer`: the patches of a box run by an engine, and blended slab by slab on its device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count, groupby
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from chunkflow_worker.errors import OutOfMemory
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.inference.engine import Engine
from chunkflow_worker.inference.lattice import Lattice
from chunkflow_worker.inference.reduction import Reduction

Finished = Callable[[NDArray[Any], int, Callable[[], object]], None]
"""Takes the result, czyx, of which the sections before one, in voxels of the image, will not change
after a function was called that waits until they have left the device."""


@dataclass
class Batch:
    """How many patches run at once.

    size: None until the engine has chosen; halved when the memory of the device is too small.
    """

    size: int | None = None


@dataclass(frozen=True)
class Blended:
    """The result for a box.

    array: czyx.
    run: number of patches that the net ran on.
    skipped: number of patches known to be zero without running the net.
    clipped: number of values that the type of the result does not hold.
    """

    array: NDArray[Any]
    run: int
    skipped: int
    clipped: int = 0


def infer(
    image: NDArray[Any],
    origin: Vec3,
    lattice: Lattice,
    weights: Callable[[Vec3], Any],
    engine: Engine,
    batch: Batch,
    dtype: DTypeLike = np.float32,
    wanted: Callable[[BoundingBox], bool] = lambda patch: True,
    progress: Callable[[int], None] = lambda patches: None,
    reduction: Reduction | None = None,
    finished: Finished = lambda result, stop, arrive: None,
) -> Blended:
    """The blended output of the net for `lattice.box`.

    image: czyx; its first voxel lies at `origin`; covers `lattice.input_box`.
    weights: of the output patch at a position, zyx, float32, on the engine's device.
    dtype: of the result. Conversion saturates; for uint8 it maps [0, 1] to [0, 255].
    wanted: whether the output of a patch, in that box, is needed. If not, the patch gives zeros and
        is not run. The same holds for a patch whose input is all zero.
    progress: called after each patch with the number of patches done.
    reduction: what the blended channels become before they leave the device; `dtype` is uint8 then.
    finished: called when all patches of some sections are done.

    The device holds the image, and a slab that is as high as a patch. Finished sections of the slab
    are sent to the host while the next patches run. Raises OutOfMemory and ModelError.
    """
    data = engine.arrays.put(image)
    canvas = _Canvas(lattice, weights, engine, dtype, reduction)
    if batch.size is None:  # after image and slab, whose memory is not free for batches
        batch.size = engine.batch_size((image.shape[0], *lattice.shape.input))
    counts = {True: 0, False: 0}

    def inputs() -> Iterator[tuple[Vec3, Any | None]]:
        for position in lattice.patches():
            read = BoundingBox.sized(position - lattice.shape.crop, lattice.shape.input)
            window = (slice(None), *read.slices(origin))
            needed = wanted(BoundingBox.sized(position, lattice.shape.output))
            lit = needed and any(section.any() for section in image[window].swapaxes(0, 1))
            counts[lit] += 1
            yield position, data[window] if lit else None

    tops = [*lattice.starts[0][1:], lattice.box.stop.z]
    layers = groupby(_predicted(inputs(), engine, batch), key=lambda item: item[0].z)
    done = count(1)
    for top, (_, patches) in zip(tops, layers, strict=True):
        for position, values in patches:
            canvas.add(position, values)
            progress(next(done))
        arrive = canvas.finish(top)
        finished(canvas.array, min(top, lattice.box.stop.z), arrive)
    array = canvas.result()
    return Blended(array, counts[True], counts[False], canvas.clipped)


class _Canvas:
    """The result on the host, and the slab of it on the device to which patches are being added.

    The slab is as high as a patch. If the device can use the memory of the result, patches are
    added to the result itself, and the slab holds only the sum of weights.
    """

    def __init__(
        self,
        lattice: Lattice,
        weights: Callable[[Vec3], Any],
        engine: Engine,
        dtype: DTypeLike,
        reduction: Reduction | None,
    ):
        self._lattice, self._weights, self._arrays = lattice, weights, engine.arrays
        size, height = lattice.box.size, lattice.shape.output.z
        self._reduction = reduction
        channels = reduction.channels(engine.channels) if reduction else engine.channels
        self.array = np.zeros((channels, *size), dtype)
        mean = self._arrays.share(self.array)
        self._shared = mean is not None
        if mean is None:
            mean = self._arrays.zeros((engine.channels, height, size.y, size.x))
        self._mean = mean
        self._total = self._arrays.zeros((height, size.y, size.x))
        self._bottom = lattice.starts[0][0]
        self._arrived: Callable[[], int] = lambda: 0
        self.clipped = 0

    def add(self, position: Vec3, values: Any | None) -> None:
        """Add the output patch, czyx, whose first voxel lies at `position`; None for zeros."""
        lattice, box = self._lattice, self._lattice.box
        inside = BoundingBox.sized(position, lattice.shape.output).clip(box)
        assert inside is not None, "a lattice holds only patches that touch its box"
        slab = Vec3(self._bottom, box.start.y, box.start.x)
        overlaps, rest = _split(inside, lattice.reached(position))
        of_patch = self._weights(position)
        for part in (*overlaps, rest):
            if part is None:
                continue
            here = part.slices(position)
            mean = self._mean[(slice(None), *part.slices(box.start if self._shared else slab))]
            total, weights = self._total[part.slices(slab)], of_patch[here]
            kept = None if values is None else values[(slice(None), *here)]
            if part is not rest:
                self._arrays.blend(mean, total, kept, weights)
                continue
            total[:] = weights
            if kept is None:
                mean[:] = 0
            else:
                self._arrays.place(kept, mean)

    def finish(self, top: int) -> Callable[[], int]:
        """Send the sections below `top`, which no later patch reaches, and move the slab up.

        Returns what waits until they have arrived.
        """
        box, bottom = self._lattice.box, self._bottom
        first, last = max(box.start.z, bottom), min(top, box.stop.z)
        if not self._shared:
            self._wait()
            if first < last:
                finished = self.array[:, first - box.start.z : last - box.start.z]
                slab = self._mean[:, first - bottom : last - bottom]
                if self._reduction:
                    slab = self._arrays.reduced(slab, self._reduction)
                self._arrived = self._arrays.send(slab, finished)
            _advance(self._mean, top - bottom)
        _advance(self._total, top - bottom)
        self._bottom = top
        return self._arrived

    def result(self) -> NDArray[Any]:
        """The whole result, after waiting for all that was sent."""
        self._wait()
        return self.array

    def _wait(self) -> None:
        self.clipped += self._arrived()
        self._arrived = lambda: 0


def _predicted(
    inputs: Iterator[tuple[Vec3, Any | None]], engine: Engine, batch: Batch
) -> Iterator[tuple[Vec3, Any | None]]:
    """Outputs of patches, in order, computed in batches. Patches that are None stay None."""
    waiting: list[tuple[Vec3, Any | None]] = []
    lit: list[Any] = []
    for position, patch in inputs:
        waiting.append((position, patch))
        if patch is not None:
            lit.append(patch)
        if not lit or len(lit) >= (batch.size or 1):
            outputs = iter(_predict(lit, engine, batch))
            yield from ((p, None if values is None else next(outputs)) for p, values in waiting)
            waiting, lit = [], []
    outputs = iter(_predict(lit, engine, batch))
    yield from ((p, None if values is None else next(outputs)) for p, values in waiting)


def _predict(patches: list[Any], engine: Engine, batch: Batch) -> Iterator[Any]:
    """Outputs of patches. Halves the batch if memory runs out; raises OutOfMemory at one patch."""
    done = 0
    while done < len(patches):
        part = patches[done : done + (batch.size or 1)]
        try:
            outputs = engine.predict(part)
        except OutOfMemory:
            if len(part) == 1:
                raise
            batch.size = len(part) // 2
            continue
        done += len(outputs)
        yield from outputs


def _split(box: BoundingBox, reached: Vec3) -> tuple[list[BoundingBox], BoundingBox | None]:
    """The parts of a patch's box that earlier patches may have written to, and the remaining part.

    reached: where the patch before this one ends, on each axis.
    """
    start, stop = box.start, box.stop
    edge = reached.max(start).min(stop)
    corners = [
        (start, Vec3(edge.z, stop.y, stop.x)),
        (Vec3(edge.z, start.y, start.x), Vec3(stop.z, edge.y, stop.x)),
        (Vec3(edge.z, edge.y, start.x), Vec3(stop.z, stop.y, edge.x)),
        (edge, stop),
    ]
    *overlaps, rest = (
        BoundingBox(a, b) if all(m < n for m, n in zip(a, b, strict=True)) else None
        for a, b in corners
    )
    return [part for part in overlaps if part is not None], rest


def _advance(slab: Any, done: int) -> None:
    """Remove the first `done` sections of a slab, in place; those at its end may hold anything."""
    for z in range(slab.shape[-3] - done):
        slab[..., z, :, :] = slab[..., z + done, :, :]
