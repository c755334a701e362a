"""`open_stored`: a stored array opened by tensorstore, and plain words where it can't be."""

from __future__ import annotations

import re
from math import prod
from typing import Any

from chunkflow_worker.errors import BlockDamaged, ConfigError
from chunkflow_worker.storage.largest import check_block
from chunkflow_worker.storage.path import local_folder
from chunkflow_worker.volumes.zarr.metadata import ARRAY_FILE, StoredArray
from chunkflow_worker.volumes.zarr.store import open_array, read_bytes, store_errors

# What tensorstore takes of each of N5's compressions; other programs write more, such as threads.
_N5_COMPRESSIONS = {
    "raw": (),
    "gzip": ("level", "useZlib"),
    "bzip2": ("blockSize",),
    "xz": ("preset",),
    "blosc": ("cname", "clevel", "shuffle", "blocksize"),
    "zstd": ("level",),
}
_N5_CORE = ("dimensions", "blockSize", "dataType", "compression")
_UNKNOWN_CODEC = re.compile(r'"([^"]+)" is not registered|(filters) are not supported')
_UNKNOWN_TYPE = re.compile(r'"(?:dtype|data_type|dataType|fill_value)"|Must specify a "field"')
_NO_VOXELS = "isLabelMultiset"


def open_stored(array: StoredArray, fill_missing: bool) -> Any:
    """tensorstore's array.

    fill_missing: read blocks that are not stored as the fill value.
    Raises ConfigError when tensorstore can't use its metadata, DataRefused for blocks that are too
    large, and StorageUnavailable.
    """
    place, driver = array.place, array.driver
    if array.attributes.get(_NO_VOXELS) or any(g.attributes.get(_NO_VOXELS) for g in array.groups):
        problem = "the array holds Paintera's label multisets, which are lists and no voxels"
        cure = "export it in Paintera as scalar labels"
        raise ConfigError.one(place, ARRAY_FILE[driver], problem, cure)
    options: dict[str, Any] = {}
    if driver == "n5":
        # Only what is needed: tensorstore refuses many of the attributes that other programs write.
        options = {"metadata": _n5_core(array.content), "assume_metadata": True}
    elif driver == "zarr" and "dimension_separator" not in array.content:
        options = {"key_encoding": _separator(array)}
    try:
        with store_errors(place):
            opened = open_array(
                place,
                driver,
                fill_missing_data_reads=fill_missing,
                # A block of zeros means that its task is done, so it must be stored.
                store_data_equal_to_fill_value=True,
                **options,
            )
        check_chunks(opened, place)
        return opened
    except BlockDamaged as error:
        raise _unusable(array, str(error).removeprefix(f"{place}: ")) from None


def check_chunks(array: Any, place: str) -> None:
    """Raise DataRefused if a block is too large to be unpacked; tensorstore ends the process."""
    size = prod(int(n or 1) for n in array.chunk_layout.read_chunk.shape)
    check_block(size * array.dtype.numpy_dtype.itemsize, f"{place}: a block")


def _n5_core(content: dict[str, Any]) -> dict[str, Any]:
    """The attributes of an N5 array that say how it is stored."""
    core = {name: content[name] for name in _N5_CORE if name in content}
    if "compression" not in core and "compressionType" in content:  # before N5 2.0
        core["compression"] = {"type": content["compressionType"]}
    compression = core.get("compression")
    if isinstance(compression, dict) and compression.get("type") in _N5_COMPRESSIONS:
        known = ("type", *_N5_COMPRESSIONS[compression["type"]])
        core["compression"] = {n: value for n, value in compression.items() if n in known}
    return core


def _separator(array: StoredArray) -> str:
    """What stands between the numbers in names of blocks; old versions of zarr do not tell.

    Blocks of zeros may be absent. A folder is listed; of object storage, three blocks are tried.
    """
    folder = local_folder(array.place)
    if folder is not None:
        return "/" if any(p.name.isdigit() and p.is_dir() for p in folder.iterdir()) else "."
    sizes = zip(array.shape, array.content["chunks"], strict=True)
    last = [max(-(-size // chunk) - 1, 0) for size, chunk in sizes]
    for block in ([n // 2 for n in last], [0] * len(last), last):
        if read_bytes(array.place, "/".join(map(str, block))) is not None:
            return "/"
    return "."


def _unusable(array: StoredArray, text: str) -> ConfigError:
    """The error for metadata that tensorstore refuses, in plain words where the cause is common."""
    content, cure = array.content, "write it again, for example with zarr-python: "
    if match := _UNKNOWN_CODEC.search(text):
        problem = f"its compression can't be read: {match[1] or match[2]}"
        cure += "blosc, zstd and gzip can be read"
    elif _UNKNOWN_TYPE.search(text):
        name = next((content[n] for n in ("dtype", "data_type", "dataType") if n in content), "")
        problem = f"its voxels are no numbers: {name if isinstance(name, str) else 'records'}"
        cure += "integers, floats and booleans can be read"
    else:
        problem, cure = f"can't be used: {text.rpartition('Error parsing ')[2]}", ""
    return ConfigError.one(array.place, ARRAY_FILE[array.driver], problem, cure)
