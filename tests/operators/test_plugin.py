from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from chunkflow_worker.bbox import Vec3
from chunkflow_worker.chunk import Chunk
from chunkflow_worker.errors import ChunkflowError, ConfigError
from chunkflow_worker.operators.plugin import Plugin

CHUNK = Chunk(np.arange(8, dtype=np.uint8).reshape(2, 2, 2), Vec3(1, 2, 3), (40.0, 4.0, 4.0))


@pytest.fixture
def plugin(tmp_path: Path):
    def make(code: str, **options: str) -> Plugin:
        (tmp_path / "own.py").write_text(code)
        return Plugin(file=str(tmp_path / "own"), **options)

    return make


def test_an_array_becomes_a_chunk_at_the_place_of_the_first_input(run_step, plugin) -> None:
    own = plugin(
        "def execute(a, b, args):\n    return a.array + int(args) * b.array", input_names="a,b", output_names="c", args="3"
    )
    made = run_step(own, a=CHUNK, b=CHUNK).chunk("c")
    assert made.array.tolist() == (4 * CHUNK.array).tolist()
    assert (made.voxel_offset, made.voxel_size) == (Vec3(1, 2, 3), (40, 4, 4))


def test_several_results_and_none(run_step, plugin) -> None:
    task = run_step(plugin("def execute(a):\n    return a, {'n': 2}", input_names="a", output_names="b,n"), a=CHUNK)
    assert task.values["b"] is CHUNK
    assert task.values["n"] == {"n": 2}
    assert set(run_step(plugin("def execute(a):\n    pass", input_names="a"), a=CHUNK).values) == {"a"}


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("def execute(a):\n    x = 1\n    return a.missing", r"own.py \(line 3\) raised AttributeError"),
        ("def execute(a):\n    return a, a", "returned 2 values, and output_names has 1"),
        ("def execute(a):\n    pass", "returned 0 values"),
        ("def execute(a):\n    return a.array[:1]", "return a Chunk"),
    ],
)
def test_mistakes_in_a_task(run_step, plugin, code: str, text: str) -> None:
    with pytest.raises(ChunkflowError, match=text):
        run_step(plugin(code, input_names="a", output_names="b"), a=CHUNK)


@pytest.mark.parametrize(
    ("code", "text"), [("1 / 0", r"\(line 1\) fails with ZeroDivisionError"), ("x = 1", "no function named execute")]
)
def test_mistakes_are_told_before_the_first_task(run_step, plugin, code: str, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        run_step(plugin(code))
    with pytest.raises(ConfigError, match="there is no file"):
        run_step(Plugin(file="/nowhere/own.py"))


def test_an_input_that_is_not_there(run_step, plugin) -> None:
    with pytest.raises(ChunkflowError, match="no value named 'b'; made so far: a"):
        run_step(plugin("def execute(b):\n    pass", input_names="b"), a=CHUNK)
