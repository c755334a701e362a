"""N5 arrays with the attributes of other programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore


def write_n5(folder: Path, array: np.ndarray, attributes: dict[str, Any] | None = None) -> None:
    """Write an array, its first axis the fastest, by tensorstore; then change its attributes.

    An attribute that is None is removed. Groups above the array need no files.
    """
    core = {
        "dimensions": list(array.shape),
        "blockSize": [min(4, size) for size in array.shape],
        "dataType": str(array.dtype),
        "compression": {"type": "gzip"},
    }
    spec = {"driver": "n5", "kvstore": {"driver": "file", "path": f"{folder}/"}, "metadata": core}
    tensorstore.open(spec, create=True).result()[...] = array
    write_attributes(folder, core | (attributes or {}))


def write_attributes(folder: Path, attributes: dict[str, Any]) -> None:
    """Write those of a group or an array."""
    folder.mkdir(parents=True, exist_ok=True)
    known = {name: value for name, value in attributes.items() if value is not None}
    (folder / "attributes.json").write_text(json.dumps(known))
