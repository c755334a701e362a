"""A TIFF file of a chunk, with metadata in the form that other programs read.

ImageJ's form for a stack of uint8, uint16 or float32: Fiji and napari show its voxel size. OME-TIFF
for channels, other types and files of more than 4 GB. A type that OME does not know has its
resolution in tags. Each form holds our JSON too, with what it can't hold itself.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_URL, uuid5

from chunkflow_worker.storage.formats.tiff_metadata import OWN_KEY
from chunkflow_worker.storage.voxel_metadata import in_nanometres

if TYPE_CHECKING:
    from chunkflow_worker.image.chunk import Chunk, VoxelSize

BIGGEST_CLASSIC_TIFF = 2**32 - 2**25

_OF_IMAGEJ = ("uint8", "uint16", "float32")
_OF_OME = (*_OF_IMAGEJ, "int8", "int16", "int32", "uint32", "float64")
_NM_PER_CM = 1e7


def write_tiff(tifffile: Any, path: Path, chunk: Chunk, compression: str | None) -> None:
    """Write a chunk as pages of one section each, in the order of its axes."""
    tifffile.imwrite(
        path,
        chunk.array,
        photometric="minisblack",
        compression=compression,
        **description(chunk),
    )


def description(chunk: Chunk) -> dict[str, Any]:
    """Arguments for tifffile's writer, which determine the form of the file and its metadata."""
    from chunkflow_worker.image.chunk import UNKNOWN_SIZE

    axes = "CZYX"[-chunk.array.ndim :]
    own = {
        "axes": axes,
        "voxel_offset": list(chunk.voxel_offset),
        "voxel_size": list(chunk.voxel_size),
        "layer_type": chunk.layer_type,
    }
    size = None if chunk.voxel_size == UNKNOWN_SIZE else chunk.voxel_size
    is_big = chunk.array.nbytes > BIGGEST_CLASSIC_TIFF
    dtype = chunk.dtype.name
    # tifffile can't write ImageJ's form of pages that are one pixel wide.
    if chunk.array.ndim == 3 and dtype in _OF_IMAGEJ and not is_big and chunk.array.shape[-1] > 1:
        metadata: dict[str, Any] = {"axes": axes, OWN_KEY: json.dumps(own)}
        if any(chunk.voxel_offset):
            metadata |= {f"{axis}origin": -getattr(chunk.voxel_offset, axis) for axis in "xyz"}
        if size is None:
            return {"imagej": True, "byteorder": "<", "metadata": metadata}
        z, y, x = (in_nanometres(length, 1e-3) for length in size)
        metadata |= {"spacing": z, "unit": "um"}
        return {
            "imagej": True,
            "byteorder": "<",
            "metadata": metadata,
            "resolution": (1 / x, 1 / y),
        }
    if dtype in _OF_OME:
        metadata = {
            "axes": axes,
            "Description": json.dumps(own),
            # Of the content, so that the same chunk gives the same bytes.
            "UUID": str(uuid5(NAMESPACE_URL, json.dumps([own, chunk.array.shape, dtype]))),
        }
        if size is not None:
            for axis, length in zip("ZYX", size, strict=True):
                metadata |= {f"PhysicalSize{axis}": length, f"PhysicalSize{axis}Unit": "nm"}
        return {"ome": True, "bigtiff": is_big, "metadata": metadata, **_tags(size)}
    return {"bigtiff": is_big, "metadata": own, **_tags(size)}


def _tags(size: VoxelSize | None) -> dict[str, Any]:
    """The resolution of pages in tags, for programs that read no other metadata."""
    if size is None:
        return {}
    per_cm = (_NM_PER_CM / size[2], _NM_PER_CM / size[1])
    return {"resolution": per_cm, "resolutionunit": "CENTIMETER"}
