"""Patches through an engine, blended slab by slab on its device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from chunkflow_worker.bbox import BoundingBox, Vec3
from chunkflow_worker.errors import OutOfMemory
from chunkflow_worker.inference.engine import Engine
from chunkflow_worker.inference.lattice import Lattice


@dataclass
class Batch:
    """How many patches run at once; None until the engine has chosen. Halved when the device's memory does not hold them."""

    size: int | None = None


@dataclass(frozen=True)
class Blended:
    """array: czyx. run, skipped: number of patches that went through the net, and that were known to be zero."""

    array: NDArray[Any]
    run: int
    skipped: int


def infer(
    image: NDArray[Any],
    origin: Vec3,
    lattice: Lattice,
    weights: Any,
    engine: Engine,
    batch: Batch,
    dtype: DTypeLike = np.float32,
    wanted: Callable[[BoundingBox], bool] = lambda patch: True,
    progress: Callable[[int], None] = lambda patches: None,
) -> Blended:
    """Output of the net over `lattice.box`, blended.

    image: czyx; its first voxel lies at `origin`; covers `lattice.input_box`.
    weights: of an output patch, zyx, float32, on the engine's device.
    dtype: of the result; conversion saturates, and maps [0, 1] to [0, 255] for uint8.
    wanted: whether the output of a patch in that box is needed. One that is not gives zeros and is not run, as one whose
        input is all zero.
    progress: called with the number of patches done, after each.

    The device holds the image and a slab as high as a patch; its finished sections leave while the next patches run.
    """
    box, patch = lattice.box, lattice.shape.output
    result = np.zeros((engine.channels, *box.size), dtype)
    data = engine.arrays.put(image)
    whole = engine.arrays.share(result)
    mean = engine.arrays.zeros((engine.channels, patch.z, box.size.y, box.size.x)) if whole is None else whole
    total = engine.arrays.zeros((patch.z, box.size.y, box.size.x))
    tops = dict(zip(lattice.starts[0], [*lattice.starts[0][1:], box.stop.z], strict=True))
    if batch.size is None:  # now that image and slabs have taken their share of the memory
        batch.size = engine.batch_size((image.shape[0], *lattice.shape.input))
    counts = {True: 0, False: 0}
    finished_patches = 0
    arrived: Callable[[], None] = lambda: None  # noqa: E731

    def inputs() -> Iterator[tuple[Vec3, Any | None]]:
        for position in lattice.patches():
            window = (slice(None), *BoundingBox.sized(position - lattice.shape.crop, lattice.shape.input).slices(origin))
            lit = wanted(BoundingBox.sized(position, patch)) and any(section.any() for section in image[window].swapaxes(0, 1))
            counts[lit] += 1
            yield position, data[window] if lit else None

    for bottom, patches in groupby(_predicted(inputs(), engine, batch), key=lambda item: item[0].z):
        slab = Vec3(bottom, box.start.y, box.start.x)
        target = slab if whole is None else box.start
        for position, values in patches:
            inside = BoundingBox.sized(position, patch).clip(box)
            assert inside is not None, "a lattice holds only patches that touch its box"
            overlaps, rest = _split(inside, lattice.reached(position))
            for part in overlaps:
                here = part.slices(position)
                kept = None if values is None else values[(slice(None), *here)]
                engine.arrays.blend(mean[(slice(None), *part.slices(target))], total[part.slices(slab)], kept, weights[here])
            if rest is not None:
                here = rest.slices(position)
                total[rest.slices(slab)] = weights[here]
                if values is not None:
                    engine.arrays.place(values[(slice(None), *here)], mean[(slice(None), *rest.slices(target))])
            finished_patches += 1
            progress(finished_patches)
        first, last = max(box.start.z, bottom), min(tops[bottom], box.stop.z)
        _advance(total, last - bottom)
        if whole is None:
            arrived()
            if first < last:
                finished = result[:, first - box.start.z : last - box.start.z]
                arrived = engine.arrays.send(mean[:, first - bottom : last - bottom], finished)
            _advance(mean, last - bottom)
    arrived()
    return Blended(result, counts[True], counts[False])


def _predicted(inputs: Iterator[tuple[Vec3, Any | None]], engine: Engine, batch: Batch) -> Iterator[tuple[Vec3, Any | None]]:
    """Outputs of patches, in their order, computed in batches; None stays None."""
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
    """The parts of a patch's box that earlier patches may have written to, and the part that they have not.

    reached: on each axis, where the patch before this one ends.
    """
    start, stop = box.start, box.stop
    edge = reached.max(start).min(stop)
    corners = [
        (start, Vec3(edge.z, stop.y, stop.x)),
        (Vec3(edge.z, start.y, start.x), Vec3(stop.z, edge.y, stop.x)),
        (Vec3(edge.z, edge.y, start.x), Vec3(stop.z, stop.y, edge.x)),
        (edge, stop),
    ]
    *overlaps, rest = (BoundingBox(a, b) if all(m < n for m, n in zip(a, b, strict=True)) else None for a, b in corners)
    return [part for part in overlaps if part is not None], rest


def _advance(slab: Any, done: int) -> None:
    """Move a slab up by `done` sections, in place: what later patches still add to, then zeros."""
    height = slab.shape[-3]
    kept = max(0, height - done)
    for z in range(kept):
        slab[..., z, :, :] = slab[..., z + done, :, :]
    slab[..., kept:, :, :] = 0
