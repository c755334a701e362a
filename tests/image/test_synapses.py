from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chunkflow_worker.errors import ChunkMismatch
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.image.synapses import Synapses

PRE = [[1, 2, 3], [40, 50, 60]]
POST = [[1, 40, 50, 61], [0, 1, 2, 4], [1, 41, 50, 60]]  # the parent comes first


def some(**changes: Any) -> Synapses:
    """Two presynaptic sites with three postsynaptic ones, and all that may be known of them."""
    synapses = Synapses(
        pre=np.array(PRE, np.int32),
        post=np.array(POST, np.int32)[:, 1:],
        parents=np.array([1, 0, 1], np.int32),
        pre_confidence=np.array([0.25, 0.5], np.float32),
        post_confidence=np.array([0.1, 0.2, 0.3], np.float32),
        voxel_size=(40.0, 8.0, 4.0),
        users=("ada", "grace"),
        pre_users=np.array([0, -1], np.int32),
        post_users=np.array([1, 0, 1], np.int32),
    )
    return replace(synapses, **changes)


def assert_equal(first: Synapses, second: Synapses) -> None:
    for name in ("pre", "post", "parents", "pre_confidence", "post_confidence"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name), name)
    for name in ("pre_users", "post_users"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name), name)
    assert (first.voxel_size, first.users) == (second.voxel_size, second.users)


def test_a_file_of_chunkflow_reads_back() -> None:
    content = some().mapping()
    assert content["pre"].tolist() == PRE
    assert content["post"].tolist() == POST
    assert (content["users"], content["resolution"].tolist()) == ("ada;grace", [40, 8, 4])
    assert_equal(Synapses.from_mapping(content), some())


def test_what_is_not_known_is_left_out_of_the_file() -> None:
    plain = Synapses(some().pre, some().post, some().parents)
    assert set(plain.mapping()) == {"pre", "post"}
    assert_equal(Synapses.from_mapping(plain.mapping()), plain)


@pytest.mark.parametrize(
    ("content", "zyx"),
    [({"order": ["x", "y", "z"]}, True), ({"order": "XYZ"}, True), ({}, False)],
)
def test_axes_in_xyz_are_turned(content: dict[str, Any], zyx: bool) -> None:
    content = {"pre": PRE, "post": POST, "resolution": [4, 8, 40], **content}
    synapses = Synapses.from_mapping(content, zyx=zyx)
    assert synapses.pre.tolist() == [[3, 2, 1], [60, 50, 40]]
    assert synapses.post.tolist() == [[61, 50, 40], [4, 2, 1], [60, 50, 41]]
    assert synapses.parents.tolist() == [1, 0, 1]
    assert synapses.voxel_size == (40.0, 8.0, 4.0)


def test_a_given_voxel_size_overrides_the_file() -> None:
    content = {"pre": PRE, "post": POST, "resolution": [4, 8, 40]}
    assert Synapses.from_mapping(content, voxel_size=(1.0, 2.0, 3.0)).voxel_size == (1.0, 2.0, 3.0)


def test_the_older_json_has_an_entry_for_each_synapse() -> None:
    content = {
        "resolution": [40, 8, 4],
        "first": {"coord": PRE[0], "postsynapses": [[1, 2, 4]]},
        "second": {"coord": PRE[1], "postsynapses": [[40, 50, 61], [41, 50, 60]]},
        "third": {"coord": [7, 7, 7]},
    }
    synapses = Synapses.from_mapping(content)
    assert synapses.pre.tolist() == [*PRE, [7, 7, 7]]
    assert synapses.post.tolist() == [[1, 2, 4], [40, 50, 61], [41, 50, 60]]
    assert synapses.parents.tolist() == [0, 1, 1]


def test_no_synapses_are_legal() -> None:
    for none in (Synapses.empty((40.0, 8.0, 4.0)), Synapses.from_mapping({"pre": [], "post": []})):
        assert len(none) == 0
        assert none.pre.shape == none.post.shape == (0, 3)
        assert none.parents.shape == (0,)
    assert Synapses.empty((40.0, 8.0, 4.0)).voxel_size == (40.0, 8.0, 4.0)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"pre": PRE, "order": "yxz"}, r"order is \['y', 'x', 'z'\]"),
        ({"pre": [[1, 2]]}, r"pre has the shape \(1, 2\), not \(n, 3\)"),
        ({"pre": PRE, "post": PRE}, r"post has the shape \(2, 3\), not \(n, 4\)"),
        ({"pre": [["a", 1, 2]]}, "pre holds something else than rows of 3 numbers"),
        ({"pre": [[0.5, 1, 2]]}, "pre holds numbers that are not whole"),
        ({"pre": [[2**40, 1, 2]]}, "too large for 32 bits"),
        ({"pre": PRE, "post": [[2, 0, 0, 0]]}, "a post belongs to pre 2, and there are 2"),
        ({"pre": PRE, "post": [[0, 0, 0, 0], [-1, 0, 0, 0]]}, "belongs to pre -1"),
        ({"pre": PRE, "pre_confidence": [0.5]}, r"pre_confidence has the shape \(1,\), not \(2,\)"),
        ({"a": {"place": [1, 2, 3]}}, "neither a list `pre` nor an entry with `coord`"),
    ],
)
def test_other_content_is_refused(content: dict[str, Any], text: str) -> None:
    with pytest.raises(ChunkMismatch, match=text):
        Synapses.from_mapping(content)


sites = st.lists(st.tuples(*[st.integers(-9, 9)] * 3), min_size=1, max_size=8)


@given(st.data())
def test_inside_keeps_the_sites_in_the_box_with_all_their_posts(data: st.DataObject) -> None:
    pre = np.array(data.draw(sites), np.int32)
    post = np.array(data.draw(sites), np.int32)
    parents = [data.draw(st.integers(0, len(pre) - 1)) for _ in post]
    confidence = np.arange(len(pre), dtype=np.float32)
    all_of_them = Synapses(pre, post, np.array(parents, np.int32), confidence)
    box = BoundingBox.sized(data.draw(sites)[0], (6, 7, 8))
    part = all_of_them.inside(box)

    def tree(synapses: Synapses) -> list[tuple[list[int], list[list[int]]]]:
        children: list[list[list[int]]] = [[] for _ in synapses.pre]
        for parent, site in zip(synapses.parents, synapses.post.tolist(), strict=True):
            children[parent].append(site)
        return list(zip(synapses.pre.tolist(), children, strict=True))

    inside = [
        all(a <= n < b for n, a, b in zip(site, box.start, box.stop, strict=True))
        for site in pre.tolist()
    ]
    expected = [pair for pair, kept in zip(tree(all_of_them), inside, strict=True) if kept]
    assert tree(part) == expected
    assert part.pre_confidence is not None
    assert part.pre_confidence.tolist() == [i for i, kept in enumerate(inside) if kept]


def test_inside_compares_in_the_voxels_of_the_box() -> None:
    box = BoundingBox.parse("0-10_0-10_0-10")
    assert some().inside(box).pre.tolist() == [[1, 2, 3]]
    # The second site lies at 40 * 40 / 160 = 10, 50 * 8 / 48 = 8.3 and 60 * 4 / 28 = 8.6.
    assert some().inside(box, voxel_size=(160.0, 48.0, 28.0)).pre.tolist() == [[1, 2, 3]]
    assert some().inside(box, voxel_size=(161.0, 48.0, 28.0)).pre.tolist() == PRE
    unknown = some(voxel_size=None).inside(box, voxel_size=(161.0, 48.0, 28.0))
    assert unknown.pre.tolist() == [[1, 2, 3]]
