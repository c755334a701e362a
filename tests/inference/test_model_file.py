"""`load_source`: users' Python files."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import pytest

from chunkflow_worker.errors import ConfigError, ModelError
from chunkflow_worker.inference.model_file import load_source


@pytest.mark.parametrize("name", ["net.py", "net", "net.model", "my net.v2.txt"])
def test_a_file_may_have_any_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("answer = 42\n")
    assert load_source(str(tmp_path / name)).answer == 42


@pytest.mark.parametrize("name", ["net.pt", "NET.PT2", "net.pth", "net.onnx", "net.safetensors"])
def test_code_that_is_named_like_an_archive_is_not_run(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("raise SystemExit('it ran')\n")
    with pytest.raises(ConfigError, match=r"(?s)named like an archive.*name it net\.py"):
        load_source(str(tmp_path / name))


def test_classes_of_a_file_can_be_pickled(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "from dataclasses import dataclass\n@dataclass\nclass Widths:\n    first: int = 2\n"
    )
    source = load_source(str(tmp_path / "net.py"))
    widths = source.Widths(3)
    assert pickle.loads(pickle.dumps(widths)) == widths


def test_files_with_the_same_name_are_different_modules(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "net.py").write_text(f"folder = {folder!r}\n")
    first, second = (load_source(str(tmp_path / folder / "net.py")) for folder in ("a", "b"))
    assert (first.folder, second.folder) == ("a", "b")
    assert sys.modules[first.__name__] is first
    assert first.__name__ != second.__name__


def test_a_file_is_read_again_after_it_was_changed(tmp_path: Path) -> None:
    path = tmp_path / "net.py"
    path.write_text("value = 1\n")
    assert load_source(str(path)).value == 1
    path.write_text("value = 22\n")
    assert load_source(str(path)).value == 22


@pytest.mark.parametrize("made", ["nothing", "folder"])
def test_a_path_that_is_not_a_file_is_refused_with_a_cure(tmp_path: Path, made: str) -> None:
    path = tmp_path / "net.py"
    if made == "folder":
        path.mkdir()
    with pytest.raises(ConfigError, match=r"net\.py is not a file") as error:
        load_source(str(path))
    (fault,) = error.value.faults
    assert (fault.place, fault.cure) == ("convnet_model", "give the path of a Python model file")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("x = (", "SyntaxError"),
        ("raise KeyError('layer')", "KeyError: 'layer'"),
    ],
)
def test_the_error_of_a_file_is_quoted(tmp_path: Path, content: str, text: str) -> None:
    (tmp_path / "net.py").write_text(content)
    with pytest.raises(
        ModelError, match=rf"model file .*net\.py fails(?: in line \d, `.*`)?: {text}"
    ):
        load_source(str(tmp_path / "net.py"))


@pytest.mark.parametrize(
    ("beside", "cure"),
    [
        ("", "install it where the net runs"),
        ("layers_of_this_test.py", "set PYTHONPATH="),
        ("layers_of_this_test/unet.py", "set PYTHONPATH="),
    ],
)
def test_a_module_that_is_missing_is_named_with_the_cure(
    tmp_path: Path, beside: str, cure: str
) -> None:
    """It may lie beside the file, where Python does not look."""
    (tmp_path / "net.py").write_text("from layers_of_this_test import UNet\n")
    if beside:
        (tmp_path / beside).parent.mkdir(exist_ok=True)
        (tmp_path / beside).touch()
    with pytest.raises(
        ModelError, match=r"imports layers_of_this_test, which is not found"
    ) as error:
        load_source(str(tmp_path / "net.py"))
    assert str(error.value).splitlines()[1].strip().startswith(cure)
