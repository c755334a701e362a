"""Patches through an engine, blended slab by slab on its device."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from chunkflow_worker.bbox import BoundingBox, Vec3
from chunkflow_worker.inference.engine import Engine
from chunkflow_worker.inference.lattice import Lattice


def infer(
    image: NDArray[Any],
    origin: Vec3,
    lattice: Lattice,
    weights: Any,
    engine: Engine,
    batch_size: int = 1,
    dtype: DTypeLike = np.float32,
) -> NDArray[Any]:
    """Output of the net over `lattice.box`, blended: shape czyx, of `dtype`.

    image: czyx; its first voxel lies at `origin`; covers `lattice.input_box`.
    weights: of an output patch, zyx, on the engine's device.
    A patch whose input is all zero gives zeros and is not run.
    Only a slab as high as a patch is held on the device; finished sections leave it as soon as no later patch adds to them.
    """
    output, crop, box = lattice.shape.output, lattice.shape.crop, lattice.box
    covered = lattice.covered
    _, height, width = covered.size
    data = engine.put(image)
    total = engine.zeros((engine.channels, output.z, height, width))
    weight = engine.zeros((output.z, height, width))
    result = np.empty((engine.channels, *box.size), dtype)
    ends = [*lattice.starts[0][1:], covered.stop.z]
    for (bottom, patches), top in zip(lattice.layers(), ends, strict=True):
        lit = []
        for patch in patches:
            _, y, x = BoundingBox.sized(patch, output).slices(covered.start)
            weight[:, y, x] += weights
            window = (slice(None), *BoundingBox.sized(patch - crop, lattice.shape.input).slices(origin))
            if image[window].any():
                lit.append((patch, window))
        for i in range(0, len(lit), batch_size):
            batch = lit[i : i + batch_size]
            outputs = engine.predict([data[window] for _, window in batch])
            for (patch, _), value in zip(batch, outputs, strict=True):
                _, y, x = BoundingBox.sized(patch, output).slices(covered.start)
                total[:, :, y, x] += value * weights
        done = min(top - bottom, output.z)
        _emit(result, total[:, :done], weight[:done], bottom, covered, lattice.box, engine)
        total, weight = _advance(total, done, engine), _advance(weight, done, engine)
    return result


def _emit(
    result: NDArray[Any], total: Any, weight: Any, bottom: int, covered: BoundingBox, box: BoundingBox, engine: Engine
) -> None:
    """Divide finished sections by the sum of weights and bring those inside the box to the host."""
    slab = BoundingBox(
        Vec3(bottom, covered.start.y, covered.start.x), Vec3(bottom + weight.shape[0], covered.stop.y, covered.stop.x)
    )
    inside = slab.clip(box)
    if inside is not None:
        window = inside.slices(slab.start)
        blended = total[(slice(None), *window)] / weight[window]
        result[(slice(None), *inside.slices(box.start))] = engine.fetch(blended, result.dtype)


def _advance(slab: Any, done: int, engine: Engine) -> Any:
    """The slab moved up by `done` sections: what later patches still add to, then zeros."""
    moved = engine.zeros(tuple(slab.shape))
    kept = slab.shape[-3] - done
    if kept:
        moved[..., :kept, :, :] = slab[..., done:, :, :]
    return moved
