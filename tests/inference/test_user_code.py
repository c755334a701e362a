"""What went wrong in a user's model file: the line, the error, and the cure if it is known."""

from __future__ import annotations

from pathlib import Path

import pytest

from chunkflow_worker.errors import ModelError
from chunkflow_worker.inference.model_file import load_source
from chunkflow_worker.inference.user_code import takes_one


@pytest.mark.parametrize(
    ("source", "told", "cure"),
    [
        (
            "x = 1\ny = 1 / 0",
            " in line 2, `y = 1 / 0`: ZeroDivisionError: division by zero",
            "mend",
        ),
        ("assert 1 > 2", " in line 1, `assert 1 > 2`: AssertionError", "mend the file"),
        ("raise RuntimeError('a\\nb')", "line 1, `raise RuntimeError('a\\nb')`: a b", "mend"),
        ("from .unet import UNet", "ImportError: attempted relative import", "without the dot"),
        ("raise AssertionError('Torch not compiled with CUDA enabled')", "CUDA", r"out .cuda()"),
        ("raise RuntimeError('Found no NVIDIA driver on your system')", "NVIDIA", r"out .cuda()"),
        ("raise RuntimeError('use torch.load with map_location')", "use", "map_location='cpu'"),
    ],
)
def test_a_file_that_fails_is_told_with_its_line(
    tmp_path: Path, source: str, told: str, cure: str
) -> None:
    path = tmp_path / "net.py"
    path.write_text(source + "\n")
    with pytest.raises(ModelError) as error:
        load_source(str(path))
    first, second = str(error.value).splitlines()
    assert first.startswith(f"model file {path} fails")
    assert told in first
    assert cure in second


def test_the_line_is_that_of_the_users_own_code(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("import torch\ntorch.zeros(2) @ torch.zeros(3)\n")
    with pytest.raises(ModelError, match=r"in line 2, `torch\.zeros"):
        load_source(str(tmp_path / "net.py"))


def test_functions_that_take_one_argument() -> None:
    assert takes_one(lambda path: path)
    assert takes_one(lambda path=None, width=8: path)
    assert takes_one(lambda *paths: paths)
    assert not takes_one(lambda: None)
    assert not takes_one(lambda path, width: path)
