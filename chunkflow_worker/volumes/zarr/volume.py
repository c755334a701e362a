"""`ZarrVolume` and `open_zarr`: Zarr 2, Zarr 3 and N5 arrays, read and written by tensorstore.

tensorstore and not zarr-python: it writes more than twice as fast, reads about as fast or faster,
and supports N5. benchmarks/volume_io.py measures it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from chunkflow_worker.config.catalog import operator_with
from chunkflow_worker.errors import (
    BoxOutsideVolume,
    ChunkMismatch,
    ConfigError,
    DataMissing,
)
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.chunk import LayerType, VoxelSize
from chunkflow_worker.report.once import warn_once
from chunkflow_worker.storage.fence import before_write
from chunkflow_worker.storage.files import Files
from chunkflow_worker.storage.largest import check_read
from chunkflow_worker.storage.path import normal_path, writable_path
from chunkflow_worker.volumes.volume import Take, blocks_of, check_aligned, checksum
from chunkflow_worker.volumes.zarr.address import drivers_of
from chunkflow_worker.volumes.zarr.attributes import from_attributes
from chunkflow_worker.volumes.zarr.coordinates import with_coordinates
from chunkflow_worker.volumes.zarr.geometry import SPATIAL, About, Geometry, Order
from chunkflow_worker.volumes.zarr.group import find_array
from chunkflow_worker.volumes.zarr.keys import BlockKeys
from chunkflow_worker.volumes.zarr.kind import kind_of
from chunkflow_worker.volumes.zarr.metadata import (
    Driver,
    StoredArray,
    group_attributes,
    odd_metadata,
    stored_array,
)
from chunkflow_worker.volumes.zarr.ome import (
    datasets_of,
    from_multiscale,
    listed_as,
    multiscales,
)
from chunkflow_worker.volumes.zarr.open import open_stored
from chunkflow_worker.volumes.zarr.store import store_errors, tensorstore

if TYPE_CHECKING:
    from chunkflow_worker.storage.listed_objects import ListedObjects

log = logging.getLogger(__name__)
_AXES = ("c", "z", "y", "x")
_MOST_LEVELS = 32
_OPTIONS: Mapping[About, str] = {
    "voxel size": "--voxel-size",
    "position": "--voxel-offset",
    "order": "--order",
}
"""The options of the operator for stores that set what a store does not say."""


_AT_ONCE = 64  # blocks that are requested before the first is used


class ZarrVolume:
    """One array; see `Volume`. For `missing`, the names of its blocks are boxes.

    axes: names of the array's axes, in their order.
    metadata_files: paths of the objects that say what is stored.
    chunk_size: of the blocks in a shard; the block size without shards.
    is_in_group: it is one of the arrays of a group.
    array: of tensorstore. Axes other than c, z, y and x have one voxel, and are dropped. An array
        without z is one section.
    time_point: which one to take if there is an axis t.
    Raises ChunkMismatch when the array has no y or x, other long axes, or no numbers.
    """

    mip = 0
    lossless = True

    def __init__(
        self,
        stored: StoredArray,
        array: Any,
        geometry: Geometry,
        layer_type: LayerType,
        time_point: int | None = None,
    ):
        self.path, self.layer_type = stored.place, layer_type
        self.driver: Driver = stored.driver
        first = next((axis for axis in geometry.axes if axis in SPATIAL), "z")
        self.order: Order = "xyz" if first == "x" else "zyx"
        self.axes = geometry.axes
        self.metadata_files = stored.files
        self._array = _czyx(self.path, array, geometry.axes, time_point)
        self.fill_value = 0 if self.driver == "n5" else array.fill_value
        self.channels = int(self._array.shape[0]) if self._array.ndim == 4 else 1
        self.dtype = np.dtype(array.dtype.numpy_dtype).newbyteorder("=")
        self.voxel_size: VoxelSize = geometry.voxel_size
        self.bounds = BoundingBox.sized(geometry.start, self._array.shape[-3:])
        layout = self._array.chunk_layout
        self.block_size = Vec3.of(int(n or 1) for n in layout.write_chunk.shape[-3:])
        self.chunk_size = Vec3.of(int(n or 1) for n in layout.read_chunk.shape[-3:])
        self.is_in_group = any(group.is_group for group in stored.groups[:1])
        self._keys = BlockKeys(array, geometry.axes, time_point)

    def read(self, bbox: BoundingBox) -> NDArray[Any]:
        """Voxels of a box inside the bounds; see `Volume`."""
        self._check_inside(bbox)
        check_read(bbox.voxels * self.channels * self.dtype.itemsize, f"{self.path}: box {bbox}")
        try:
            with store_errors(self.path, reading=True):
                array = self._array[self._window(bbox)].read(order="C").result()
        except DataMissing:
            raise self._lacking(bbox) from None
        array = np.ascontiguousarray(array, self.dtype)
        return array[0] if array.ndim == 4 and self.channels == 1 else array

    def read_blocks(self, blocks: Iterable[BoundingBox], take: Take) -> None:
        """Give the voxels of blocks to `take`; see `Volume`."""
        wanted = list(blocks)
        for first in range(0, len(wanted), _AT_ONCE):
            some = wanted[first : first + _AT_ONCE]
            try:
                with store_errors(self.path, reading=True):
                    with tensorstore().Batch() as batch:  # that shares what shards say of blocks
                        parts = [self._array[self._window(block)] for block in some]
                        reads = [part.read(order="C", batch=batch) for part in parts]
                    for block, read in zip(some, reads, strict=True):
                        voxels = np.ascontiguousarray(read.result(), self.dtype)
                        take(block, voxels if voxels.ndim == 4 else voxels[np.newaxis])
            except DataMissing:
                raise self._lacking(_around(wanted)) from None

    def write(self, bbox: BoundingBox, array: NDArray[Any]) -> list[str]:
        """Write a box of whole blocks; see `Volume`. Raises BoxOutsideVolume."""
        czyx = array if array.ndim == 4 else array[np.newaxis]
        if czyx.shape != (self.channels, *bbox.size):
            expected = f"{self.channels} channels of {list(bbox.size)}"
            raise ChunkMismatch(f"{self.path} takes {expected}, and got {list(czyx.shape)}")
        self._check_inside(bbox)
        writable_path(self.path)
        check_aligned(self, bbox)
        voxels, blocks = czyx if self._array.ndim == 4 else czyx[0], blocks_of(self, bbox)
        with store_errors(self.path):
            before_write()
            written = self._array[self._window(bbox)].write(voxels)
            sums = [checksum(array[(..., *block.slices(bbox.start))]) for block in blocks]
            written.result()
        return sums

    def _lacking(self, bbox: BoundingBox) -> DataMissing:
        missing = self.missing(bbox)
        example = f", for example {missing[0]}" if missing else ""
        return DataMissing(
            f"{self.path} lacks {len(missing) or 'some'} blocks of box {bbox}{example}"
        )

    def missing(self, bbox: BoundingBox) -> list[str]:
        """Names of the blocks inside the box that are not stored; see `Volume`."""
        with store_errors(self.path):
            queries = []
            for block in blocks_of(self, bbox):
                inside = block.clip(self.bounds)
                if inside is not None:
                    part = self._array[self._window(inside)]
                    queries.append((block, part.storage_statistics(query_fully_stored=True)))
            return [str(block) for block, query in queries if not query.result().fully_stored]

    def stored_at(
        self, blocks: Iterable[BoundingBox], listed: ListedObjects | None = None
    ) -> dict[str, datetime | None]:
        """When blocks were stored; see `CheckedVolume`."""
        if self.path.startswith("mem://"):  # tensorstore's memory, of which nobody else knows
            stored = [block for block in blocks if not self.missing(block)]
            return dict.fromkeys(map(self.block_name, stored))
        keys = {self.block_name(block): self._keys_of(block) for block in blocks}
        files = listed or Files(self.path)
        found = files.stored(key for of_block in keys.values() for key in of_block)
        times: dict[str, datetime | None] = {}
        for name, of_block in keys.items():
            objects = [found[key] for key in of_block]
            known = [stored.time for stored in objects if stored is not None]
            if len(known) == len(objects):
                last = max(known)  # of the same form, so that the last in order is the latest
                times[name] = datetime.fromisoformat(last) if last else None
        return times

    def prefixes(self) -> list[str]:
        """All objects of the array."""
        return [""]

    def checksums(self, blocks: Iterable[BoundingBox]) -> list[str]:
        """CRC-32 of the bytes of each block as it is stored; of several objects, with + between.

        Raises DataMissing and StorageUnavailable.
        """
        keys = [self._keys_of(block) for block in blocks]
        found = Files(self.path).checksums(key for of_block in keys for key in of_block)
        for key, crc32 in found.items():
            if crc32 is None:
                raise DataMissing(f"{self.path} lacks the block {key}")
        return ["+".join(found[key] or "" for key in of_block) for of_block in keys]

    def block_name(self, block: BoundingBox) -> str:
        """Name of a block's object below the volume's path; of the first, if there are several."""
        return self._keys_of(block)[0]

    def _keys_of(self, block: BoundingBox) -> list[str]:
        return self._keys.of((block.start - self.bounds.start) // self.block_size)

    def _check_inside(self, bbox: BoundingBox) -> None:
        if not self.bounds.contains(bbox):
            raise BoxOutsideVolume(f"box {bbox} is not inside {self.path}, which is {self.bounds}")

    def _window(self, bbox: BoundingBox) -> tuple[Any, ...]:
        return (..., *bbox.slices(self.bounds.start))


def _around(boxes: Sequence[BoundingBox]) -> BoundingBox:
    start, stop = boxes[0].start, boxes[0].stop
    for box in boxes:
        start, stop = start.min(box.start), stop.max(box.stop)
    return BoundingBox(start, stop)


def _czyx(path: str, array: Any, axes: tuple[str, ...], time_point: int | None) -> Any:
    """A view of tensorstore's array with the axes czyx, or zyx without channels."""
    if array.dtype.numpy_dtype.kind not in "buif":
        raise ChunkMismatch(
            f"{path} holds {array.dtype.name}, and a chunk holds integers, floats or booleans"
        )
    sizes = dict(zip(axes, array.shape, strict=False))
    if sizes.get("t", 1) > 1 and time_point is None:
        raise ChunkMismatch(
            f"{path} has {sizes['t']} time points, and a chunk is one of them: "
            f"choose it with {_reader()} --time-point 0 to {sizes['t'] - 1}"
        )
    if (time_point or 0) >= sizes.get("t", 1):
        raise ChunkMismatch(
            f"{path} has no time point {time_point}: the last one is {sizes.get('t', 1) - 1}"
        )
    picked = {axis: time_point or 0 if axis == "t" else 0 for axis in axes if axis not in _AXES}
    too_long = [axis for axis in picked if axis != "t" and sizes[axis] != 1]
    if len(axes) != array.ndim:
        raise ChunkMismatch(
            f"{path} is of {list(array.shape)} voxels, and its metadata names {len(axes)} axes: "
            f"{' '.join(axes) or 'none'}; correct them in the group's multiscales"
        )
    if not {"y", "x"} <= set(axes) or too_long:
        raise ChunkMismatch(
            f"{path} has axes {' '.join(axes)} of {list(array.shape)} voxels; a chunk has z, y, x "
            "and at most channels: store the part to read as an array of its own"
        )
    array = array[tuple(picked.get(axis, slice(None)) for axis in axes)]
    kept = [axis for axis in axes if axis in _AXES]
    if "z" not in kept:
        array, kept = array[np.newaxis], ["z", *kept]
    return array.transpose([kept.index(axis) for axis in _AXES if axis in kept])


def open_zarr(
    path: str,
    name: str | None = None,
    mip: int = 0,
    *,
    driver: Driver | None = None,
    order: Order | None = None,
    voxel_size: VoxelSize | None = None,
    voxel_offset: Vec3 | None = None,
    time_point: int | None = None,
    fill_missing: bool = False,
) -> ZarrVolume | None:
    """Open the array at `path`, or at `name` below it, or a level of the group there.

    mip: 0 is the finest level of a group.
    driver: the format; None tries those that the path names, or else all.
    order: of spatial axes that the store does not name; None: zyx.
    voxel_size: overrides the store's, zyx, in nanometres.
    voxel_offset: overrides the position of the first voxel, zyx, in voxels.
    time_point: which one to read when there are several.
    fill_missing: read blocks that are not stored as the fill value; otherwise they are an error.
    Warns once of what the store says and has no effect. Returns None when there is no array.
    Raises ConfigError when the array is damaged or a group holds several images, ChunkMismatch
    when its voxels are no chunk, DataMissing and StorageUnavailable.
    """
    drivers = (driver,) if driver else drivers_of(path)
    place = f"{normal_path(path)}/{(name or '').strip('/')}".rstrip("/")
    with odd_metadata(place):
        return _open(place, mip, drivers, order, voxel_size, voxel_offset, time_point, fill_missing)


def _open(
    place: str,
    mip: int,
    drivers: tuple[Driver, ...],
    order: Order | None,
    voxel_size: VoxelSize | None,
    voxel_offset: Vec3 | None,
    time_point: int | None,
    fill_missing: bool,
) -> ZarrVolume | None:
    found = find_array(place, drivers, mip)
    if found is None:
        return None
    geometry, options = geometry_of(found, order or "zyx"), dict(_OPTIONS)
    if order is not None:
        del options["order"]
    if voxel_size is not None:
        geometry = geometry.with_voxel_size(voxel_size)
        del options["voxel size"]
    if voxel_offset is not None:
        geometry = geometry.with_voxel_offset(voxel_offset)
        del options["position"]
    _warn(found, geometry, options, _reader())
    return _volume(found, geometry, fill_missing, time_point)


def open_level(
    path: str, name: str, driver: Driver, order: Order | None = None
) -> ZarrVolume | None:
    """Open the array `name` at `path` for writing; None when there is no array of this format.

    name: of the array in its group; empty for an array at `path` itself.
    Raises the errors of `open_to_write`.
    """
    place = f"{normal_path(path)}/{name}".rstrip("/")
    with odd_metadata(place):
        found = stored_array(place, driver)
        return None if found is None else _to_write(found, order)


def open_to_write(path: str, mip: int = 0, order: Order | None = None) -> ZarrVolume | None:
    """Open the array at `path`, or a level of the group there; None when there is none.

    order: of spatial axes that the store does not name.
    Raises ConfigError when the array is damaged, or names no axes and `order` is None,
    ChunkMismatch when its voxels are no chunk or there are several time points, and
    StorageUnavailable.
    """
    place = normal_path(path)
    with odd_metadata(place):
        found = find_array(place, drivers_of(path), mip)
        return None if found is None else _to_write(found, order)


def open_levels(path: str) -> list[ZarrVolume]:
    """All levels of the group at `path`, or the array there, opened for writing, the finest first.

    Raises the errors of `open_to_write`.
    """
    first = open_to_write(path)
    if first is None:
        return []
    levels, root = [first], first.path.rpartition("/")[0]
    listed = multiscales(group_attributes(root, first.driver) or {}) if first.is_in_group else []
    count = len(datasets_of(listed[0])) if listed else _MOST_LEVELS
    if first.path == normal_path(path):
        count = 1
    for mip in range(1, count):
        try:
            found = open_to_write(path, mip)
        except ConfigError:
            if listed:
                raise
            found = None  # there are no more
        if found is None:
            break
        levels.append(found)
    return levels


def _to_write(found: StoredArray, order: Order | None) -> ZarrVolume:
    geometry = geometry_of(found, order or "zyx")
    if not geometry.is_named and order is None:
        problem = "the array that exists does not say which of its axes is x"
        cure = f"write it with {_writer()} --order zyx or --order xyz"
        raise ConfigError.one(found.place, "order", problem, cure)
    times = dict(zip(geometry.axes, found.shape, strict=False)).get("t", 1)
    if times > 1:
        raise ChunkMismatch(
            f"{found.place} has {times} time points, and only an array of one can be written"
        )
    _warn(found, geometry, {"order": "--order"}, _writer())
    return _volume(found, geometry)


def geometry_of(array: StoredArray, order: Order) -> Geometry:
    """The geometry of a stored array: its group's multiscales come before its own attributes."""
    for group in array.groups:
        listed = listed_as(group.attributes, group.name)
        geometry = listed and from_multiscale(array.place, *listed, order=order, n5=array.is_n5)
        if geometry:
            return geometry.checked()
    geometry = from_attributes(array, order)
    return (geometry if geometry.scale else with_coordinates(array, geometry)).checked()


def _volume(
    array: StoredArray, geometry: Geometry, fill_missing: bool = False, time: int | None = None
) -> ZarrVolume:
    opened = open_stored(array, fill_missing)
    is_integer = opened.dtype.numpy_dtype.kind in "bui"
    return ZarrVolume(array, opened, geometry, kind_of(array, is_integer=is_integer), time)


def _reader() -> str:
    """The operator that has `_OPTIONS`, and the one for a time point."""
    return operator_with("describes_arrays")


def _writer() -> str:
    """The operator that has --order for arrays that it writes."""
    return operator_with("creates_output")


def _warn(
    array: StoredArray, geometry: Geometry, options: Mapping[About, str], operator: str
) -> None:
    """Warn once of what has no effect and could be set with one of the options of an operator.

    options: those that the user did not give.
    """
    notes = [note for note in geometry.ignored if set(note.about) & set(options)]
    if notes:
        cures = [flag for about, flag in options.items() if any(about in n.about for n in notes)]
        texts = "; ".join(dict.fromkeys(note.text for note in notes))
        sets = "set it" if len(cures) > 1 else "sets it"
        warn_once(log, f"{array.place}: {texts} ({operator} {' and '.join(cures)} {sets})")
