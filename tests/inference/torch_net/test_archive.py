"""Files of nets, told apart by their content."""

from __future__ import annotations

import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from chunkflow_worker.inference.torch_net.archive import WORDS, kind_of

NET = torch.nn.Conv3d(1, 1, 1)


def export(path: Path) -> None:
    torch.export.save(torch.export.export(NET, (torch.rand(1, 1, 1, 1, 1),)), path)


def archive_of(*names: str) -> Callable[[Path], object]:
    def make(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, "")

    return make


MAKE: dict[str, list[Callable[[Path], object]]] = {
    "saved": [
        lambda path: torch.save(NET.state_dict(), path),
        lambda path: torch.save(NET, path),
        lambda path: torch.save({}, path, _use_new_zipfile_serialization=False),
    ],
    "script": [
        lambda path: torch.jit.save(torch.jit.script(NET), path),
        lambda path: torch.jit.save(torch.jit.trace(NET, torch.rand(1, 1, 1, 1, 1)), path),
        archive_of("code/net.py", "data.pkl"),
        archive_of("a/constants.pkl", "a/data.pkl"),
    ],
    "export": [export, archive_of("a/data.pkl", "serialized_exported_program.json")],
    # What can run code is told, whatever else is in the archive.
    "compiled": [archive_of("net/archive_format", "net/data/aotinductor/model/c1.wrapper.so")],
    # As the specification of safetensors writes it: the length of a header, and the header.
    "safetensors": [lambda path: path.write_bytes(struct.pack("<Q", 2) + b"{}")],
    "numpy": [lambda path: np.savez(path.open("wb"), a=np.zeros(2))],
    "hdf5": [lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n...")],
    "lfs": [lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid 1")],
    "cut": [lambda path: path.write_bytes(b"PK\x03\x04 half")],
    "empty": [lambda path: path.touch()],
    "folder": [lambda path: path.mkdir()],
    "text": [
        lambda path: path.write_text("import torch\n"),
        lambda path: path.write_bytes(b"\xe9"),
    ],
    "other": [lambda path: path.write_bytes(b"\x00\x01\x02")],
}


@pytest.mark.parametrize(
    ("kind", "make"), [(kind, make) for kind, makes in MAKE.items() for make in makes]
)
def test_a_file_is_told_by_its_content(
    tmp_path: Path, kind: str, make: Callable[[Path], object]
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch plans to drop TorchScript
        make(tmp_path / "file")
    assert kind_of(str(tmp_path / "file")) == kind
    assert WORDS[kind]


@pytest.mark.parametrize("name", ["net.onnx", "NET.ONNX", "net.ort"])
def test_onnx_is_told_by_its_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x08\x07\x12\x07pytorch")
    assert kind_of(str(tmp_path / name)) == "onnx"
