"""`Augmented`: test-time augmentation, the mean over orientations of a patch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.inference.arrays import Arrays
from chunkflow_worker.inference.engine import Answers, Engine, EngineSpec

_ORIGIN = Vec3(0, 0, 0)
_NAMED_OFFSETS = {"xyz": "0,0,-1 0,-1,0 -1,0,0", "zyx": "-1,0,0 0,-1,0 0,0,-1"}


@dataclass(frozen=True)
class Orientation:
    """A way to turn a patch.

    transposed: whether y and x are swapped.
    flipped: axes that are then flipped; 0, 1, 2 for z, y, x.
    """

    transposed: bool
    flipped: tuple[int, ...]

    def turn(self, array: Any) -> Any:
        """The array, czyx, turned; a view if the library can make one."""
        array = array.swapaxes(-2, -1) if self.transposed else array
        return _flip(array, self.flipped)

    def undo(self, array: Any) -> Any:
        """The turned array, czyx, turned back."""
        array = _flip(array, self.flipped)
        return array.swapaxes(-2, -1) if self.transposed else array

    def undo_offset(self, offset: Vec3) -> Vec3:
        """The offset between two voxels of the patch that lie `offset` apart when it is turned."""
        z, y, x = (-n if axis in self.flipped else n for axis, n in enumerate(offset))
        return Vec3(z, x, y) if self.transposed else Vec3(z, y, x)


def orientations(flip_z: bool) -> list[Orientation]:
    """The eight orientations within a section; with `flip_z`, also their mirror images along z."""
    axes = [(False, True)] * 3 if flip_z else [(False,), (False, True), (False, True)]
    return [
        Orientation(transposed, tuple(axis for axis, flip in enumerate(flips) if flip))
        for transposed in (False, True)
        for flips in product(*axes)
    ]


def sources(orientation: Orientation, offsets: tuple[Vec3, ...]) -> list[tuple[int, Vec3]]:
    """Where to read each affinity channel in the undone output: its channel, and a shift in voxels.

    offsets: channel c at voxel v is the affinity between v and v + offsets[c].

    A turned patch has the affinity of the same pair of voxels in the channel whose offset, undone,
    is that of the pair, or its opposite. In the second case it is stored at the other voxel.
    Raises KeyError for an offset that the orientation turns into none of the others.
    """
    found: dict[Vec3, tuple[int, Vec3]] = {}
    for channel, offset in enumerate(offsets):
        undone = orientation.undo_offset(offset)
        found[undone] = (channel, _ORIGIN)
        found.setdefault(-undone, (channel, -undone))
    return [found[offset] for offset in offsets]


def parse_offsets(text: str) -> tuple[Vec3, ...]:
    """Offsets of affinities from text such as "0,0,-1 0,-1,0": z,y,x each, or "xyz" or "zyx".

    Raises ValueError for other text.
    """
    parts = _NAMED_OFFSETS.get(text, text).split()
    try:
        return tuple(Vec3.of(int(n) for n in part.split(",")) for part in parts)
    except (ValueError, TypeError):
        raise ValueError(
            f"affinity_offsets: {text!r} is not a list of z,y,x such as '0,0,-1 0,-1,0 -1,0,0'"
        ) from None


def check_offsets(offsets: tuple[Vec3, ...], channels: int, flip_z: bool) -> None:
    """Raises ValueError unless a net with so many output channels can be augmented with them."""
    if len(offsets) > channels:
        raise ValueError(
            f"affinity_offsets has {len(offsets)} channels, and num_output_channels is {channels}"
        )
    if len(set(offsets)) < len(offsets):
        named = " ".join(",".join(map(str, offset)) for offset in offsets)
        raise ValueError(f"affinity_offsets names an offset twice: {named}")
    for orientation in orientations(flip_z):
        try:
            sources(orientation, offsets)
        except KeyError as error:
            missing = list(error.args[0])
            raise ValueError(
                f"affinity_offsets: {missing} has no partner under the transposition: add it too"
            ) from None


class Augmented:
    """An engine that runs each patch in several orientations, and returns the mean.

    flip_z: see `orientations`.
    offsets: of the first output channels, if they are affinities. The other channels have no
        direction.

    At a voxel whose partner is outside the turned patch, the orientation does not count.
    """

    def __init__(self, engine: Engine, flip_z: bool = False, offsets: tuple[Vec3, ...] = ()):
        self._engine, self._offsets = engine, offsets
        self._orientations = [(o, sources(o, offsets)) for o in orientations(flip_z)]
        self.device, self.channels = engine.device, engine.channels
        self.precision = engine.precision
        self.arrays: Arrays = engine.arrays

    def answers(self, spec: EngineSpec) -> Answers:
        return self._engine.answers(spec)

    def memory_peak(self) -> int:
        return self._engine.memory_peak()

    def overflowed(self) -> bool:
        overflowed = self._engine.overflowed()
        self.device, self.precision = self._engine.device, self._engine.precision
        return overflowed

    def batch_size(self, input_shape: tuple[int, ...]) -> int:
        return self._engine.batch_size(input_shape)

    def predict(self, patches: Sequence[Any]) -> Sequence[Any]:
        totals: list[Any] = []
        # Scaled first, because torch can't flip some integer types.
        scaled = [self.arrays.unit_range(patch) for patch in patches]
        for orientation, found in self._orientations:
            turned = [_contiguous(orientation.turn(patch)) for patch in scaled]
            undone = [orientation.undo(output) for output in self._engine.predict(turned)]
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
    """For each output channel: (to, from) channel, the voxels to write, and the voxels to read."""
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
    """Flip axes 0, 1, 2 of the last three."""
    if not axes:
        return array
    from_end = tuple(axis - 3 for axis in axes)
    return np.flip(array, from_end) if isinstance(array, np.ndarray) else array.flip(from_end)


def _contiguous(array: Any) -> Any:
    """The array with its rows in order, which some nets require."""
    return np.ascontiguousarray(array) if isinstance(array, np.ndarray) else array.contiguous()
