"""`kind_of`: what a file of a net is, by its content."""

from __future__ import annotations

import zipfile
from pathlib import Path

_START = 64  # bytes that are looked at
_LARGEST_HEADER = 100_000_000  # bytes; of safetensors

WORDS = {
    "folder": "a folder",
    "empty": "an empty file",
    "script": "a TorchScript file, which holds a net with its weights",
    "export": "a file of torch.export, which holds a net with its weights",
    "compiled": "a package of AOTInductor, which holds a net as compiled code",
    "saved": "a file of torch.save, which holds weights but not the code of a net",
    "onnx": "an ONNX file, which holds a net with its weights",
    "safetensors": "a file of safetensors, which holds weights but not the code of a net",
    "numpy": "a file of numpy.savez",
    "hdf5": "an HDF5 file, as Keras writes",
    "cut": "a zip file that ends too early",
    "lfs": "a pointer of Git LFS, in place of the file itself",
    "text": "a text file",
    "other": "a file of another kind",
}
"""The kinds of files, in words that follow "is"."""

RUN_CODE = {
    "script": "its code can read any file",
    "export": "loading it can run code",
    "compiled": "it is code",
}
"""The kinds that whoever made them can make do more than compute, and how."""


def kind_of(path: str) -> str:
    """One of the keys of `WORDS`. The file must exist."""
    if Path(path).is_dir():
        return "folder"
    if zipfile.is_zipfile(path):
        return _kind_of_zip(path)
    with Path(path).open("rb") as file:
        start = file.read(_START)
    if not start:
        return "empty"
    if start.startswith(b"PK\x03\x04"):
        return "cut"
    if start.startswith(b"\x80"):  # a pickle, as torch.save wrote before version 1.6
        return "saved"
    if start.startswith(b"\x89HDF"):
        return "hdf5"
    if start.startswith(b"version https://git-lfs"):
        return "lfs"
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < _LARGEST_HEADER:
        return "safetensors"
    if path.lower().endswith((".onnx", ".ort")):
        return "onnx"
    return "text" if _is_text(path) else "other"


def _kind_of_zip(path: str) -> str:
    """What can run code comes first: one archive may look like several kinds."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError):
        return "cut"
    last = {name.rpartition("/")[2] for name in names}
    if any("/code/" in f"/{name}" for name in names) or "constants.pkl" in last:
        return "script"
    if any("/aotinductor/" in f"/{name}" for name in names) or any(
        name.endswith((".so", ".cubin")) for name in names
    ):
        return "compiled"
    if last & {"archive_format", "serialized_exported_program.json"}:
        return "export"
    if "data.pkl" in last:
        return "saved"
    return "numpy" if all(name.endswith(".npy") for name in names) else "other"


def _is_text(path: str) -> bool:
    return b"\0" not in Path(path).read_bytes()
