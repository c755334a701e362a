"""HDF5 files: opened with clear errors, and the datasets of voxels in them."""

from __future__ import annotations

import errno
import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from chunkflow_worker.errors import ChunkMismatch, ConfigError, DataMissing, StorageUnavailable
from chunkflow_worker.storage.file_kind import file_kind
from chunkflow_worker.storage.formats.h5_chunks import check_values
from chunkflow_worker.storage.formats.h5_inside import leads_to, members, opened

_SHOWN = 8
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL)
# Parts of the names of datasets that chunkflow and its predecessors store beside the voxels.
_BESIDE_VOXELS = ("global", "offset", "unique", "voxel_size")
# https://github.com/HDFGroup/hdf5_plugins: the numbers of filters that other programs use.
_FILTERS = {
    305: "LZO",
    307: "bzip2",
    32000: "LZF",
    32001: "Blosc",
    32004: "LZ4",
    32008: "bitshuffle",
    32013: "ZFP",
    32015: "Zstandard",
    32017: "SZ",
    32018: "FCIDECOMP",
    32019: "JPEG",
    32024: "SZ3",
    32026: "Blosc2",
}


@contextmanager
def open_h5(path: Path) -> Iterator[Any]:
    """Yields the file, open for reading.

    Raises StorageUnavailable if another process has it open for writing or its file system has no
    locks, DataMissing if it is not HDF5 or is not whole, and OSError for other troubles.
    """
    import h5py

    with _explained(path):
        file = h5py.File(path, "r")
    with file:
        yield file


@contextmanager
def create_h5(path: Path) -> Iterator[Any]:
    """Yields a new file. Raises as `open_h5`."""
    import h5py

    with _explained(path):
        file = h5py.File(path, "w")
    with file:
        yield file


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        text = str(error)
        if "unable to lock file" in text:
            raise StorageUnavailable(_locked(path, error)) from error
        if "already open for write" in text:
            raise StorageUnavailable(
                f"{path} is marked as open for writing: another process writes it, or was stopped "
                f"while it did\n    close it there, or clear the mark: h5clear -s {path}"
            ) from error
        if "file signature not found" in text:
            kind = file_kind(path)
            cause = f"it is {kind}" if kind else "it does not begin like one"
            raise DataMissing(f"{path} cannot be read as HDF5: {cause}") from error
        if "truncated file" in text:
            raise DataMissing(
                f"{path} cannot be read as HDF5: its end is missing; copy or make it again"
            ) from error
        raise


def _locked(path: Path, error: OSError) -> str:
    """HDF5 locks a file as long as a process has it open: shared to read, alone to write."""
    switch = "set HDF5_USE_FILE_LOCKING=FALSE"
    if error.errno in _NO_LOCKS:
        return (
            f"{path} cannot be locked: its file system has no file locks, as some of NFS and "
            f"Lustre\n    {switch} if no other process writes this file"
        )
    return (
        f"{path} is locked by HDF5: another process has it open for writing\n"
        f"    close it there, or {switch} if nobody writes it any more"
    )


def voxel_dataset(file: Any, name: str | None, path: Path) -> tuple[Any, str]:
    """The dataset that holds the voxels, and what was passed over; empty if nothing was.

    name: of the dataset; None for the file's only one of voxels, or among several for `main` or
        `raw`.
    Raises ConfigError, which lists the datasets, unless there is exactly one, and DataMissing for a
    link that leads nowhere.
    """
    if name is not None:
        return _named(file, name, path), ""
    datasets = dict(_datasets(file))
    found = {key: data for key, data in datasets.items() if _has_voxels(key, data)}
    if not found:  # an array of other axes may be the only one
        found = {key: data for key, data in datasets.items() if not _is_beside_voxels(key)}
    if not found:
        for key in file:
            with suppress(KeyError):
                opened(file, key)
                continue
            _check_link(file, key, path)
        listed = _list(list(datasets.items())) or "no datasets"
        problem = "the file has no dataset of voxels, which is numbers in zyx or czyx"
        raise ConfigError.one(str(path), "dataset_path", problem, f"it has: {listed}")
    if len(found) == 1:
        return next(iter(found.values())), ""
    for wanted in ("main", "raw"):
        named = [key for key in found if key == wanted] or [
            key for key in found if key.rpartition("/")[2] == wanted
        ]
        if len(named) == 1:
            others = [(key, data) for key, data in found.items() if key != named[0]]
            text = f"holds several datasets of voxels: {named[0]} is read, and not {_list(others)}"
            return found[named[0]], text
    problem = f"the file has several datasets of voxels: {_list(list(found.items()))}"
    raise ConfigError.one(
        str(path), "dataset_path", problem, f"choose one, for example: -d {next(iter(found))}"
    )


def _named(file: Any, name: str, path: Path) -> Any:
    data: Any = None
    with suppress(KeyError):
        data = opened(file, name) if name.strip("/") else None
    if not _is_dataset(data):
        _check_link(file, name, path)
        listed = _list(list(_datasets(file))) or "no datasets"
        wrong = "is a group" if data is not None else "is not in the file"
        raise ConfigError.one(
            str(path), "dataset_path", f"{name!r} {wrong}", f"the file has: {listed}"
        )
    return data


def check_readable(data: Any, path: Path) -> None:
    """Check that the dataset can be read.

    Raises ChunkMismatch unless it holds numbers, DataRefused if it is in other files or its chunks
    are too large, and ConfigError if a filter that compressed it is not installed.
    """
    import h5py

    check_values(data, path)
    if data.shape is None or data.dtype.kind not in "buif" or data.dtype.itemsize > 8:
        raise ChunkMismatch(
            f"{path}: dataset {data.name.strip('/')!r} has shape {data.shape} and type "
            f"{data.dtype}; a chunk is numbers in zyx or czyx"
        )
    properties = data.id.get_create_plist()
    used = [properties.get_filter(i) for i in range(properties.get_nfilters())]
    if all(h5py.h5z.filter_avail(number) for number, *_ in used):
        return
    with suppress(ImportError):
        importlib.import_module("hdf5plugin")  # registers its filters
    for number, _, _, stored_name in used:
        if not h5py.h5z.filter_avail(number):
            known = _FILTERS.get(number) or stored_name.decode(errors="replace").split(";")[0]
            problem = f"is compressed by the filter {known or 'without a name'} ({number}), "
            raise ConfigError.one(
                str(path),
                data.name.strip("/"),
                f"{problem}which is not installed here",
                "pip install hdf5plugin, or set HDF5_PLUGIN_PATH to the filter's folder",
            )


def _check_link(file: Any, name: str, path: Path) -> None:
    """Raises DataMissing if the name is a link that leads nowhere."""
    where = leads_to(file, name) if "/" not in name and name else None
    if where is not None:
        raise DataMissing(f"{path}: {name!r} leads to {where!r}, which is missing: copy it, too")


def _datasets(file: Any) -> Iterator[tuple[str, Any]]:
    """All datasets, in groups too, by their paths."""
    found: dict[str, Any] = {}

    def visit(name: str, item: Any) -> None:
        if _is_dataset(item) and item.shape is not None:
            found[name] = item

    file.visititems(visit)  # follows no links
    for name, item in members(file):
        if name not in found and item not in found.values():
            visit(name, item)
    yield from found.items()


def _is_dataset(item: Any) -> bool:
    return hasattr(item, "dtype") and hasattr(item, "shape")


def _has_voxels(name: str, data: Any) -> bool:
    numbers = data.dtype.kind in "buif" and data.ndim in (3, 4, 5) and data.size > 0
    return numbers and not _is_beside_voxels(name)


def _is_beside_voxels(name: str) -> bool:
    own_name = name.rpartition("/")[2]
    return any(word in own_name for word in _BESIDE_VOXELS)


def _list(datasets: Sequence[tuple[str, Any]]) -> str:
    """The first datasets with their shapes and types, and the number of the others."""
    shown = [
        f"{name} ({'x'.join(map(str, data.shape)) or 'one'} {data.dtype})"
        for name, data in datasets[:_SHOWN]
    ]
    others = len(datasets) - len(shown)
    return ", ".join(shown) + (f" and {others} others" if others else "")
