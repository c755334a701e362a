"""Model files and the frameworks that read them."""

from __future__ import annotations

from pathlib import Path

import pytest

from chunkflow_worker.inference.model_kind import STAR, Reads, names_in


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("def load_model(path): pass", {"load_model"}),
        ("class PatchInferencer:\n    def inner(self): pass", {"PatchInferencer"}),
        ("InstantiatedModel = Net()", {"InstantiatedModel"}),
        ("InstantiatedModel: Net = Net()", {"InstantiatedModel"}),
        ("a, (InstantiatedModel, b) = 1, (2, 3)", {"a", "InstantiatedModel", "b"}),
        ("from nets import build as load_model", {"load_model"}),
        ("from nets import *", {STAR}),
        ("if True:\n    x = 1\nelse:\n    def load_model(p): pass", {"x", "load_model"}),
        ("try:\n    import a\nexcept ImportError:\n    load_model = None", {"a", "load_model"}),
        ("def f():\n    def load_model(p): pass", {"f"}),
        ("this is no Python", set()),
        ("\0", set()),
    ],
)
def test_the_names_of_a_python_file_are_found_without_running_it(
    tmp_path: Path, source: str, names: set[str]
) -> None:
    (tmp_path / "net").write_text(source)
    assert names_in(tmp_path / "net") == names


def test_a_folder_has_no_names(tmp_path: Path) -> None:
    assert names_in(tmp_path) == set()


@pytest.mark.parametrize(
    ("reads", "name", "content", "expected"),
    [
        (Reads(defines=("A",)), "net.py", b"A = 1", True),
        (Reads(defines=("A",)), "net.py", b"B = 1", False),
        (Reads(starts=(b"PK",)), "net.pt", b"PK\x03\x04", True),
        (Reads(starts=(b"PK",)), "net.pt", b"", False),
        (Reads(endings=(".onnx",)), "net.ONNX", b"", True),
        (Reads(endings=(".onnx",)), "net.onnx.py", b"", False),
        (Reads(folder=True), "net", b"", False),
        (Reads(), "net", b"A = 1", False),
    ],
)
def test_files_that_suit_a_framework(
    tmp_path: Path, reads: Reads, name: str, content: bytes, expected: bool
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert reads.suits(path, names_in(path)) is expected


def test_a_folder_suits_those_that_read_folders(tmp_path: Path) -> None:
    assert Reads(folder=True).suits(tmp_path, set())
    assert not Reads(defines=("A",), endings=("",)).suits(tmp_path, {"A"})
