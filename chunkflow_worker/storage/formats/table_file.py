"""`read_table`: the arrays of an HDF5 or JSON file of points or synapses, by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from chunkflow_worker.storage.formats.h5_chunks import check_values
from chunkflow_worker.storage.formats.h5_file import open_h5
from chunkflow_worker.storage.formats.h5_inside import opened
from chunkflow_worker.storage.json_text import parse_json


def read_table(path: Path) -> dict[str, Any]:
    """What a file holds: JSON if its name ends with .json, else HDF5.

    Raises ValueError for another JSON value than an object, and the errors of `open_h5`. Call it
    inside `reading`.
    """
    return _json(path) if path.suffix == ".json" else _hdf5(path)


def _json(path: Path) -> dict[str, Any]:
    content = parse_json(path.read_text())
    if not isinstance(content, dict):
        raise ValueError("it does not hold a JSON object")
    return content


def _hdf5(path: Path) -> dict[str, Any]:
    import h5py

    with open_h5(path) as file:
        content: dict[str, Any] = {}
        for name in file:
            item = opened(file, name)
            if isinstance(item, h5py.Dataset):
                check_values(item, path)
                content[name] = item[()]
        if "users" in file.attrs:
            content["users"] = str(file.attrs["users"])
    if "tbars" in content:  # the name in older files
        content.setdefault("pre", content.pop("tbars"))
    return content
