from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.image.points import Points
from chunkflow_worker.image.synapses import Synapses
from chunkflow_worker.operators.skip_none import SkipNone
from chunkflow_worker.pipeline.task import SkipTask, Task

BOX = BoundingBox.parse("0-4_0-4_0-4")


EMPTY = {
    "None": None,
    "list": [],
    "dict": {},
    "array": np.empty((0, 3)),
    "points": Points(np.empty((0, 3))),
}


@pytest.mark.parametrize("value", [*EMPTY.values(), Synapses.empty()], ids=[*EMPTY, "synapses"])
@pytest.mark.parametrize(
    ("options", "files"),
    [
        ({"prefix": "p_", "suffix": ".x"}, ["p_0-4_0-4_0-4.x"]),
        ({"prefix": "p_", "touch": False}, []),
        ({}, []),
    ],
)
def test_an_empty_value_skips_the_task(
    run_step: Callable[..., Task],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    value: Any,
    options: Any,
    files: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SkipTask, match="there is nothing in 'points'"):
        run_step(SkipNone(input_name="points", **options), bbox=BOX, points=value)
    assert [p.name for p in tmp_path.iterdir()] == files


@pytest.mark.parametrize(
    "value",
    [Chunk(np.zeros((1, 1, 1))), [0], np.zeros((1, 3)), 0],
    ids=["chunk", "list", "points", "0"],
)
def test_other_values_continue(run_step: Callable[..., Task], value: Any) -> None:
    run_step(SkipNone(), bbox=BOX, chunk=value)
