"""Test-time augmentation: the mean over orientations of the patch, each undone on the output."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.inference.arrays import Arrays
from chunkflow_worker.inference.engine import Engine

_ORIGIN = Vec3(0, 0, 0)


@dataclass(frozen=True)
class Orientation:
    """A way to turn a patch: y and x swapped or not, then some axes (0 to 2 for z, y, x) flipped."""

    transposed: bool
    flipped: tuple[int, ...]

    def turn(self, array: Any) -> Any:
        """The array, czyx, turned; as a view where the library has them."""
        array = array.swapaxes(-2, -1) if self.transposed else array
        return _flip(array, self.flipped)

    def undo(self, array: Any) -> Any:
        array = _flip(array, self.flipped)
        return array.swapaxes(-2, -1) if self.transposed else array

    def undo_offset(self, offset: Vec3) -> Vec3:
        """What an offset between two voxels of the turned patch is in the patch itself."""
        z, y, x = (-n if axis in self.flipped else n for axis, n in enumerate(offset))
        return Vec3(z, x, y) if self.transposed else Vec3(z, y, x)


def orientations(flip_z: bool) -> list[Orientation]:
    """The eight orientations within a section, and with `flip_z` their mirror images along z."""
    axes = [(False, True)] * 3 if flip_z else [(False,), (False, True), (False, True)]
    return [
        Orientation(transposed, tuple(axis for axis, flip in enumerate(flips) if flip))
        for transposed in (False, True)
        for flips in product(*axes)
    ]


def sources(orientation: Orientation, offsets: tuple[Vec3, ...]) -> list[tuple[int, Vec3]]:
    """Where each affinity channel is found in the undone output: a channel, and by how many voxels further.

    offsets: channel c of an output voxel v tells whether v and v + offsets[c] belong together. A turned patch has the same
    pair under the channel whose offset, undone, is that of the pair or its opposite; then it stands at the pair's other voxel.
    Raises KeyError for an offset that the orientation turns into none of the others.
    """
    found: dict[Vec3, tuple[int, Vec3]] = {}
    for channel, offset in enumerate(offsets):
        undone = orientation.undo_offset(offset)
        found[undone] = (channel, _ORIGIN)
        found.setdefault(Vec3(*(-n for n in undone)), (channel, Vec3(*(-n for n in undone))))
    return [found[offset] for offset in offsets]


class Augmented:
    """An engine that runs each patch in several orientations and returns the mean.

    offsets: of the first output channels, when they are affinities; other channels have no direction. Where an affinity's
    other voxel lies outside a turned patch, that orientation does not count.
    """

    def __init__(self, engine: Engine, flip_z: bool = False, offsets: tuple[Vec3, ...] = ()):
        self._engine, self._offsets = engine, offsets
        self._orientations = [(o, sources(o, offsets)) for o in orientations(flip_z)]
        self.device, self.channels, self.precision = (
            engine.device,
            engine.channels,
            engine.precision,
        )
        self.arrays: Arrays = engine.arrays

    def overflowed(self) -> bool:
        overflowed = self._engine.overflowed()
        self.precision = self._engine.precision
        return overflowed

    def batch_size(self, input_shape: tuple[int, ...]) -> int:
        return self._engine.batch_size(input_shape)

    def predict(self, patches: Sequence[Any]) -> Sequence[Any]:
        totals: list[Any] = []
        scaled = [
            self.arrays.unit_range(patch) for patch in patches
        ]  # torch can't flip every type of integers
        for orientation, found in self._orientations:
            outputs = self._engine.predict(
                [_contiguous(orientation.turn(patch)) for patch in scaled]
            )
            undone = [orientation.undo(output) for output in outputs]
            if not totals:
                totals = [self.arrays.zeros(tuple(output.shape)) for output in undone]
                count = self.arrays.zeros(tuple(undone[0].shape))
            for output, total in zip(undone, totals, strict=True):
                for to, here, there in _moves(found, self.channels, Vec3(*output.shape[1:])):
                    total[to[0]][here] += output[to[1]][there]
            for to, here, _ in _moves(found, self.channels, Vec3(*undone[0].shape[1:])):
                count[to[0]][here] += 1
        return [total / count for total in totals]


Window = tuple[slice, slice, slice]


def _moves(
    found: list[tuple[int, Vec3]], channels: int, size: Vec3
) -> Iterator[tuple[tuple[int, int], Window, Window]]:
    """(to, from) channels with the voxels that are written and those that are read."""
    for channel in range(channels):
        source, shift = found[channel] if channel < len(found) else (channel, _ORIGIN)
        here = tuple(
            slice(max(0, -s), max(0, n - max(0, s))) for s, n in zip(shift, size, strict=True)
        )
        there = tuple(
            slice(max(0, s), max(0, n - max(0, -s))) for s, n in zip(shift, size, strict=True)
        )
        yield (channel, source), (here[0], here[1], here[2]), (there[0], there[1], there[2])


def _flip(array: Any, axes: tuple[int, ...]) -> Any:
    if not axes:
        return array
    behind = tuple(axis - 3 for axis in axes)
    return np.flip(array, behind) if isinstance(array, np.ndarray) else array.flip(behind)


def _contiguous(array: Any) -> Any:
    """Nets may ask for whole rows."""
    return np.ascontiguousarray(array) if isinstance(array, np.ndarray) else array.contiguous()
