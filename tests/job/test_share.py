"""Shares: tasks that are parts of the objects."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.job.grid import Grid
from chunkflow_worker.job.share import LEGAL, Share, grid_of_shares

COUNTS = st.sampled_from(LEGAL[:4])


def shares_of(count: int) -> list[Share]:
    boxes = Grid.model_validate(grid_of_shares(count)).boxes()
    found = [Share.of(BoundingBox.parse(str(box))) for box in boxes]
    return [share for share in found if share is not None]


@given(count=COUNTS, number=st.integers(0, 2**64 - 1))
def test_each_object_is_in_one_share(count: int, number: int) -> None:
    name = f"{number}:0:0-64_0-64_0-64"
    prefixes = [prefix for share in shares_of(count) for prefix in share.prefixes()]
    assert len(prefixes) == count
    assert sum(name.startswith(prefix) for prefix in prefixes) == 1


@given(count=COUNTS, total=st.integers(0, 3000))
def test_each_numbered_thing_is_in_one_share(count: int, total: int) -> None:
    found = [number for share in shares_of(count) for number in share.part_of(total)]
    assert found == list(range(total))


def test_a_task_may_be_several_shares() -> None:
    share = Share.of(BoundingBox.parse("8-11_0-100_1-2"))
    assert share == Share(8, 11, 100)
    assert [*share.prefixes()] == ["8:", "9:", "10"]


@pytest.mark.parametrize(
    "box",
    [
        "0-1_0-1_0-1",
        "0-1_0-10_0-1",
        "9-11_0-10_1-2",
        "0-1_0-7_1-2",
        "0-1_1-10_1-2",
        "-1-1_0-10_1-2",
    ],
)
def test_other_boxes_are_no_shares(box: str) -> None:
    assert Share.of(BoundingBox.parse(box)) is None
