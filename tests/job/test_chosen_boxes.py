from __future__ import annotations

import base64
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chunkflow_worker.errors import ConfigError
from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.job.chosen_boxes import ChosenBoxes
from chunkflow_worker.job.grid import Boxes, Grid
from chunkflow_worker.job.job_record import JobRecord


def grid_of(count: int, start: int = 0) -> Boxes:
    size = Vec3(1, -(-count // 7), 7)
    grid = Grid(chunk_size=Vec3(2, 2, 2), grid_size=size, task_index_start=start)
    return grid.model_copy(update={"task_index_stop": count}).boxes()


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chunkflow_worker.job.chosen_boxes._PAGE", 16)


@given(st.lists(st.booleans(), min_size=4, max_size=90), st.integers(0, 3), st.data())
def test_they_are_a_list_of_the_marked_boxes(
    marks: list[bool], start: int, data: st.DataObject
) -> None:
    grid = grid_of(len(marks), start)
    chosen = ChosenBoxes.of(grid, np.array(marks[start:], bool))
    wanted = [box for box, mark in zip(grid, marks[start:], strict=True) if mark]
    assert (list(chosen), len(chosen)) == (wanted, len(wanted))
    assert [chosen[i] for i in range(len(chosen))] == wanted
    assert [chosen.index_of(box) for box in wanted] == list(range(len(wanted)))
    assert [box for box in grid if box in chosen] == wanted
    assert [grid[chosen.task_index(i) - start] for i in range(len(wanted))] == wanted
    first = data.draw(st.integers(0, len(wanted)))
    last = data.draw(st.integers(first, len(wanted)))
    assert list(chosen.texts(first, last)) == [str(box) for box in wanted[first:last]]
    assert chosen.chosen.tolist() == marks[start:]
    assert ChosenBoxes.from_text(grid, chosen.text()) == chosen


@pytest.mark.parametrize(
    "text",
    ["?", "AAAA", *(base64.b64encode(zlib.compress(bits)).decode() for bits in (
        b"", b"\xff", b"\xff\xff", b"\x00" * 3, b"\x00" * 10_000_000))],
)  # fmt: skip
def test_marks_of_other_boxes_are_refused(text: str) -> None:
    grid = {"chunk_size": [2, 2, 2], "grid_size": [1, 1, 11]}
    with pytest.raises(ConfigError, match="its record can't be read"):
        JobRecord(job="j", queue="q", tasks=11, grid=grid, chosen=text).boxes()


def test_most_boxes_of_a_large_grid_take_a_bit_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chunkflow_worker.job.chosen_boxes._PAGE", 1 << 16)
    grid = Grid(chunk_size=Vec3(2, 2, 2), grid_size=Vec3(100, 100, 100)).boxes()
    marks = np.zeros(len(grid), bool)
    marks[300_000:400_000] = True
    chosen = ChosenBoxes.of(grid, marks)
    assert len(chosen.bits) == 125_000
    assert len(chosen.text()) < 1000
    assert list(chosen.texts(99_999)) == [str(grid[399_999])]
