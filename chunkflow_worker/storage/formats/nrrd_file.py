"""NRRD files: the header, and a part of the voxels read with as little of the file as possible."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chunkflow_worker.errors import ChunkMismatch
from chunkflow_worker.storage.axes import Axes, Window

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MAGIC = b"NRRD"


def read_header(nrrd: Any, path: Path) -> tuple[Mapping[str, Any], int]:
    """The header of a file, and where it ends.

    pynrrd drops what is not ASCII, so that µm becomes m: it is given decoded lines.
    Raises ChunkMismatch if the voxels are in several files, which pynrrd does not read.
    """
    lines: list[str] = []
    with path.open("rb") as file:
        is_nrrd = file.peek(len(_MAGIC)).startswith(_MAGIC)
        while is_nrrd and (line := file.readline()).strip():
            lines.append(_decoded(line))
        end = file.tell()
    for text in lines:
        name, _, value = text.partition(":")
        several = value.strip().startswith("LIST") or "%" in value
        if name.replace(" ", "") == "datafile" and several:
            raise ChunkMismatch(
                f"{path} has its voxels in several files ({value.strip()}): join them first, "
                "for example with unu save"
            )
    return nrrd.read_header(lines or ["not NRRD"]), end


def _decoded(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError:
        return line.decode("latin-1")


def read_part(
    nrrd: Any, path: Path, header: Mapping[str, Any], end: int, axes: Axes, window: Window
) -> NDArray[Any]:
    """The voxels in `window`, zyx or czyx, in native byte order. end: of the header."""
    import numpy as np

    if header["encoding"] == "raw":
        stored = _map(nrrd, path, header, end)
    else:
        with path.open("rb") as file:
            file.seek(end)
            stored = nrrd.read_data(header, file, str(path), index_order="C")
    array = axes.arrange(stored[axes.selection(window)], window)
    return np.array(array, array.dtype.newbyteorder("="), order="C")


def _map(nrrd: Any, path: Path, header: Mapping[str, Any], end: int) -> NDArray[Any]:
    """The voxels of a raw file, not read yet, slowest axis first."""
    import numpy as np

    shape = tuple(map(int, header["sizes"][::-1]))
    no_voxels = {**header, "sizes": np.zeros(1, int), "dimension": 1}
    for name in ("datafile", "data file", "lineskip", "line skip", "byteskip", "byte skip"):
        no_voxels.pop(name, None)
    dtype = nrrd.read_data(no_voxels, BytesIO()).dtype
    apart = header.get("datafile", header.get("data file"))
    data_path = path.parent / apart if apart else path
    lines = header.get("lineskip", header.get("line skip", 0))
    skipped = header.get("byteskip", header.get("byte skip", 0))
    with data_path.open("rb") as file:
        file.seek(0 if apart else end)
        for _ in range(lines):
            file.readline()
        start = file.tell() + skipped
        if skipped == -1:  # the voxels are the last bytes
            start = file.seek(0, 2) - dtype.itemsize * int(np.prod(shape))
    return np.memmap(data_path, dtype, "r", start, shape)
