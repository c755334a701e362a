"""NRRD files: the header, and a part of the voxels read with as little of the file as possible."""

from __future__ import annotations

import bz2
import gzip
from collections.abc import Mapping
from io import BytesIO
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from chunkflow_worker.errors import ChunkMismatch, DataRefused
from chunkflow_worker.storage.axes import Axes, Window
from chunkflow_worker.storage.largest import check_block, check_text, check_window

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MAGIC = b"NRRD"
_TEXT = ("ascii", "text", "txt")
_PART = 1 << 20
_LONGEST_LINE = 1 << 20
_MOST_AXES = 16  # of the format


def read_header(nrrd: Any, path: Path) -> tuple[Mapping[str, Any], int]:
    """The header of a file, and where it ends.

    pynrrd drops what is not ASCII, so that µm becomes m: it is given decoded lines.
    Raises ChunkMismatch if the voxels are in several files, which pynrrd does not read, or if the
    sizes are not those of the axes.
    """
    lines: list[str] = []
    with path.open("rb") as file:
        is_nrrd = file.peek(len(_MAGIC)).startswith(_MAGIC)
        while is_nrrd and (line := file.readline(_LONGEST_LINE)).strip():
            lines.append(_decoded(line))
            check_text(file.tell(), f"{path}: the header")
        end = file.tell()
    for text in lines:
        name, _, value = text.partition(":")
        several = value.strip().startswith("LIST") or "%" in value
        if name.replace(" ", "") == "datafile" and several:
            raise ChunkMismatch(
                f"{path} has its voxels in several files ({value.strip()}): join them first, "
                "for example with unu save"
            )
    header = nrrd.read_header(lines or ["not NRRD"])
    axes, sizes = int(header["dimension"]), len(header["sizes"])
    if axes != sizes or axes > _MOST_AXES:
        raise ChunkMismatch(
            f"{path} says that it has {axes} axes, and gives {sizes} sizes: NRRD has one for each "
            f"axis, and at most {_MOST_AXES} axes"
        )
    return header, end


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

    stored = _map(nrrd, path, header, end)
    check_window(window, stored.itemsize * (axes.channels or 1), f"{path}: the part to read")
    array = axes.arrange(stored[axes.selection(window)], window)
    return np.array(array, array.dtype.newbyteorder("="), order="C")


def _map(nrrd: Any, path: Path, header: Mapping[str, Any], end: int) -> NDArray[Any]:
    """The voxels, slowest axis first; those of a raw file are not read yet."""
    import numpy as np

    shape = tuple(map(int, header["sizes"][::-1]))
    no_voxels = {**header, "sizes": np.zeros(1, int), "dimension": 1, "encoding": "raw"}
    encoding = str(header["encoding"]).lower()
    if encoding in _TEXT:
        no_voxels["endian"] = "little"
    for name in ("datafile", "data file", "lineskip", "line skip", "byteskip", "byte skip"):
        no_voxels.pop(name, None)
    dtype = nrrd.read_data(no_voxels, BytesIO()).dtype
    apart = header.get("datafile", header.get("data file"))
    data_path = _beside(path, apart) if apart else path
    lines = header.get("lineskip", header.get("line skip", 0))
    skipped = header.get("byteskip", header.get("byte skip", 0))
    if lines < 0 or skipped < -1:
        raise ValueError("its lineskip or byteskip is below 0")
    size = dtype.itemsize * prod(shape)
    with data_path.open("rb") as file:
        file.seek(0 if apart else end)
        for _ in range(lines):
            if not file.readline():
                raise ValueError("its lineskip is larger than its number of lines")
        start = file.tell()
        if encoding == "raw":
            # The voxels are the last bytes if -1 is skipped.
            start = file.seek(0, 2) - size if skipped == -1 else start + skipped
            if start < 0 or start + size > file.seek(0, 2):
                raise ValueError(
                    f"it says that its voxels take {size} bytes, and its end is missing"
                )
            return np.memmap(data_path, dtype, "r", start, shape)
        check_block(size, f"{path}: the {encoding} data")
        if encoding in _TEXT:
            voxels = np.fromfile(file, dtype, prod(shape), sep=" ")
        else:
            content = _unpacked(file, encoding, max(skipped, 0), size)
            voxels = np.frombuffer(content, dtype)
    if voxels.size != prod(shape):
        raise ValueError(f"it holds {voxels.size} voxels, and its sizes are of {prod(shape)}")
    return voxels.reshape(shape)


def _beside(path: Path, name: str) -> Path:
    """The file with the voxels that a header names. Raises DataRefused outside of its folder."""
    folder, found = path.parent.resolve(), (path.parent / name).resolve()
    if Path(name).is_absolute() or not found.is_relative_to(folder):
        raise DataRefused(
            f"{path} names {name} for its voxels, and may only name files in its folder\n    copy "
            "that file beside it, and write its name alone after data file:"
        )
    return path.parent / name


def _unpacked(file: BinaryIO, encoding: str, skipped: int, size: int) -> bytes:
    """`size` bytes of what is compressed, after those that are skipped; fewer at its end.

    Raises ValueError for another encoding, or if there is more.
    """
    unpacker: Any
    if encoding in ("gzip", "gz"):
        unpacker = gzip.GzipFile(fileobj=file)
    elif encoding in ("bzip2", "bz2"):
        unpacker = bz2.BZ2File(file)
    else:
        raise ValueError(f"its encoding {encoding} is not known")
    try:
        while skipped > 0:
            passed = len(unpacker.read(min(skipped, _PART)))
            skipped = skipped - passed if passed else 0
        content: bytes = unpacker.read(size)
        if unpacker.read(1):
            raise ValueError(f"it holds more than the {size} bytes of its sizes")
    except EOFError:
        raise ValueError("its end is missing; copy or make it again") from None
    return content
