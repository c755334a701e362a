from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.job.grid import Boxes, Grid
from chunkflow_worker.job.tree import Tree
from tests.job.test_grid import cover_once

starts = st.builds(Vec3, *[st.integers(-50, 50)] * 3)
counts = st.builds(Vec3, *[st.integers(1, 9)] * 3)
chunks = st.builds(Vec3, *[st.integers(1, 4)] * 3)


@st.composite
def grids(draw: st.DrawFn) -> Boxes:
    """Grids with whole boxes at their ends, or with boxes that are cut."""
    start, count, chunk = draw(starts), draw(counts), draw(chunks)
    short = Vec3(*(draw(st.integers(0, size - 1)) for size in chunk))
    return Grid(
        roi_start=start,
        roi_stop=start + count * chunk - short,
        chunk_size=chunk,
        respect_chunk_size=draw(st.booleans()),
    ).boxes()


@given(grids())
def test_a_region_covers_its_two_to_eight_children_and_nothing_else(leaves: Boxes) -> None:
    tree = Tree(leaves)
    assume(leaves.grid_size.product > 1)
    below = set(leaves)
    for wave in tree.waves():
        for region in wave:
            children = tree.children(region)
            assert 2 <= len(children) <= 8
            assert below.issuperset(children)  # they are complete before this wave begins
            assert all(region.contains(child) for child in children)
            assert cover_once(region, children)
        below |= set(wave)


@given(grids())
def test_each_box_below_the_last_wave_is_a_child_of_one_region(leaves: Boxes) -> None:
    tree = Tree(leaves)
    assume(leaves.grid_size.product > 1)
    waves = tree.waves()
    names = [str(box) for part in (leaves, *waves) for box in part]
    assert len(names) == len(set(names))
    children = [str(child) for wave in waves for region in wave for child in tree.children(region)]
    assert sorted([*children, str(tree.region)]) == sorted(names)


@given(grids())
def test_the_last_wave_is_the_whole_grid(leaves: Boxes) -> None:
    tree = Tree(leaves)
    *_, last = tree.waves()
    assert list(last) == [tree.region]
    assert cover_once(tree.region, list(leaves))


@given(grids(), st.data())
def test_a_part_of_a_job_has_the_tree_of_its_grid(leaves: Boxes, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, len(leaves) - 1))
    part = Boxes(*list(vars(leaves).values())[:4], first, len(leaves))
    assert Tree(part).waves() == Tree(leaves).waves()


def test_regions_that_would_have_a_single_child_are_left_out() -> None:
    tree = Tree(Grid(roi_start=(0, 0, 0), roi_size=(4, 4, 20), chunk_size=(4, 4, 4)).boxes())
    texts = [list(wave.texts()) for wave in tree.waves()]
    assert texts == [
        ["0-4_0-4_0-8", "0-4_0-4_8-16"],
        ["0-4_0-4_0-16"],
        ["0-4_0-4_0-20"],
    ]
    assert list(map(str, tree.children(tree.region))) == ["0-4_0-4_0-16", "0-4_0-4_16-20"]


def test_a_grid_of_one_box_is_one_region() -> None:
    tree = Tree(Grid(bounding_box="0-4_0-4_0-4").boxes())
    assert [list(wave.texts()) for wave in tree.waves()] == [["0-4_0-4_0-4"]]
    assert tree.children(tree.region) == []


def test_a_box_that_is_not_in_the_tree_is_refused() -> None:
    tree = Tree(Grid(roi_start=(0, 0, 0), roi_size=(4, 4, 20), chunk_size=(4, 4, 4)).boxes())
    with pytest.raises(ValueError, match="not in the tree"):
        tree.children(BoundingBox.parse("0-4_0-4_4-12"))
