"""`label_box`: what one box yields: ids of its own, its objects, and the labels at its faces."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from chunkflow_worker.config.extras import needs
from chunkflow_worker.errors import ChunkMismatch
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.labels.faces import SIDES, Faces, Slab, bit
from chunkflow_worker.labels.layout import Ids, Layout
from chunkflow_worker.labels.measure import measure
from chunkflow_worker.labels.objects import Objects


class Leaf(NamedTuple):
    """What a box yields. ids: of its voxels and of those around it that were given, zyx."""

    ids: Ids
    objects: Objects
    faces: Faces


def label_box(
    labels: NDArray[Any],
    start: Vec3,
    box: BoundingBox,
    layout: Layout,
    kinds: NDArray[Any] | None = None,
) -> Leaf:
    """Give each label of a box an id that no other box uses.

    labels: of the box and of voxels around it, zyx, whole numbers; 0 is background. A label that
        only has voxels around the box becomes 0.
    start: global place of the first voxel of `labels`.
    box: one of the grid. Where `labels` ends in it, the volume ends.
    kinds: the class of each voxel, shape of `labels`; the objects of two classes are never joined.
    Raises ChunkMismatch when a label has several classes, and when labels that must not be joined
    touch each other at a face.
    """
    fastremap = needs("fastremap", extra="segmentation")
    # Its numbers have the type of signed labels, and int8 does not hold as many as it has values.
    counted = labels.astype(np.int16) if labels.dtype == np.int8 else labels
    local = fastremap.renumber(counted, preserve_zero=True)[0]
    whole = BoundingBox.sized(start, labels.shape)
    core = box.clip(whole)
    if core is None:
        raise ChunkMismatch(f"the segmentation {whole} has no voxel in the box {box}")
    count = int(local.max(initial=0))
    first, objects = measure(local[core.slices(start)], core.start, count, layout)
    found = objects.voxels > 0
    table = np.zeros(count + 1, np.uint64)
    table[1:][found] = layout.ids_at(np.stack(np.unravel_index(first[found], core.size), 1)
                                     + np.array(core.start))  # fmt: skip
    kind_of = np.zeros(count, np.uint64) if kinds is None else _kinds(local, kinds, count)
    touches, at_border, slabs = _at_faces(local, whole, box, core, layout, count)
    if layout.links.by == "touching":
        _check_apart(slabs.values(), kind_of, layout.links.connectivity)
    rows = np.flatnonzero(found)
    ids = table[1:][rows]
    made = Objects(
        ids, objects.voxels[rows], objects.sums[rows], objects.starts[rows], objects.stops[rows],
        kind_of[rows], at_border[rows],
    )  # fmt: skip
    faces = _faces(table, kind_of, touches, slabs)
    return Leaf(table[local], made.take(np.argsort(ids)), faces)


def _kinds(local: NDArray[Any], kinds: NDArray[Any], count: int) -> Ids:
    of = np.zeros(count + 1, kinds.dtype)
    of[local.ravel()] = kinds.ravel()
    if np.any((of[local] != kinds) & (local > 0)):
        raise ChunkMismatch(
            "an object has voxels of several classes: make the objects from the classes, so that "
            "each is a component of one class"
        )
    return of[1:].astype(np.uint64)


def _check_apart(slabs: Iterable[Slab], kind_of: Ids, connectivity: int) -> None:
    """Raise ChunkMismatch when labels of one class touch in a box: they would be joined outside.

    Only faces are looked at: others are not joined.
    """
    cc3d = needs("cc3d", extra="segmentation")
    for slab in slabs:
        labels = np.ascontiguousarray(slab.labels)
        for one, other in cc3d.contacts(labels, connectivity=connectivity, surface_area=False):
            if kind_of[one - 1] == kind_of[other - 1]:
                place = Vec3(*np.argwhere(labels == one)[0].tolist()) + slab.start
                raise ChunkMismatch(
                    f"two objects of the box touch near {tuple(place)}, and objects that touch "
                    "across boxes become one: use --link-by overlap, or --input-class-name, or the "
                    "--connectivity that they were made with"
                )


def _at_faces(
    local: NDArray[Any], whole: BoundingBox, box: BoundingBox, core: BoundingBox, layout: Layout,
    count: int,
) -> tuple[NDArray[np.uint8], NDArray[np.bool_], dict[tuple[int, int], Slab]]:  # fmt: skip
    """The faces that labels touch, whether they touch the grid's border, and the labels there."""
    touches, at_border = np.zeros(count + 1, np.uint8), np.zeros(count + 1, bool)
    slabs = {}
    cell = layout.cells_of(box)[0]
    for axis, side in SIDES:
        if not layout.has_neighbour(cell, axis, side):
            layer = _slab(core, axis, side, core, 0)
            at_border[local[layer.slices(whole.start)]] = True
            continue
        if _face(core, axis, side) != _face(box, axis, side):
            continue  # the volume ends before the box does
        slab = _slab(core, axis, side, whole, layout.links.overlap[axis])
        labels = local[slab.slices(whole.start)]
        touches[labels] |= bit(axis, side)
        slabs[axis, side] = Slab(slab.start, labels)
    return touches[1:], at_border[1:], slabs


def _face(box: BoundingBox, axis: int, side: int) -> int:
    """The place of a face of a box along its axis."""
    return (box.stop if side > 0 else box.start)[axis]


def _slab(core: BoundingBox, axis: int, side: int, whole: BoundingBox, overlap: int) -> BoundingBox:
    """The voxels at a face: one layer, or so many on both of its sides as are given."""
    face = _face(core, axis, side)
    low, high = (face - overlap, face + overlap) if overlap else sorted((face, face - side))
    start, stop = list(core.start), list(core.stop)
    start[axis], stop[axis] = max(low, whole.start[axis]), min(high, whole.stop[axis])
    return BoundingBox(Vec3(*start), Vec3(*stop))


def _faces(
    table: Ids, kind_of: Ids, touches: NDArray[np.uint8], slabs: dict[tuple[int, int], Slab]
) -> Faces:
    """Only the objects at faces, numbered by their ids, in the smallest type."""
    local = np.flatnonzero((touches > 0) & (table[1:] > 0))
    local = local[np.argsort(table[1:][local])]
    number = np.zeros(len(table), np.min_scalar_type(len(local)))
    number[local + 1] = np.arange(1, len(local) + 1)
    return Faces(
        table[1:][local],
        kind_of[local],
        touches[local],
        {side: Slab(slab.start, number[slab.labels]) for side, slab in slabs.items()},
    )
