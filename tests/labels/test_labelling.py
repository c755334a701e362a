"""What boxes and regions make together is what one pass over the whole volume makes."""

from __future__ import annotations

from functools import partial
from typing import Any

import cc3d
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.labels.layout import Links
from chunkflow_worker.labels.objects import Filter
from tests.support.labelled import Labelled, labelled

sizes = st.tuples(*[st.integers(1, 10)] * 3)
chunks = st.tuples(*[st.integers(2, 6)] * 3) | st.sampled_from([(1, 3, 3), (3, 1, 2), (2, 2, 1)])
starts = st.tuples(*[st.integers(-9, 9)] * 3)


@st.composite
def volumes(draw: st.DrawFn) -> np.ndarray:
    """Noise of up to three classes, from nearly empty to nearly full; 0 is background."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    shape, density = draw(sizes), draw(st.sampled_from([0.1, 0.2, 0.3, 0.5, 0.95]))
    classes = draw(st.integers(1, 3))
    return (rng.random(shape) < density) * rng.integers(1, classes + 1, shape).astype(np.uint8)


def truth_of(volume: np.ndarray, connectivity: int) -> np.ndarray:
    """Components of each class over the whole volume, by scipy; numbered by their first voxels."""
    structure = ndimage.generate_binary_structure(3, {6: 1, 18: 2, 26: 3}[connectivity])
    parts = np.zeros(volume.shape, np.int64)
    for kind in np.unique(volume[volume > 0]):
        found, _ = ndimage.label(volume == kind, structure)
        parts += np.where(found > 0, found + parts.max(), 0)
    ids, first, place = np.unique(parts, return_index=True, return_inverse=True)
    return np.where(ids == 0, 0, first + 1)[place].reshape(volume.shape)


def check_table(made: Labelled, start: tuple[int, int, int]) -> None:
    """Each row is what its voxels say."""
    assert made.final_ids.tolist() == sorted({*made.ids.ravel().tolist()} - {0})
    for row, number in enumerate(made.final_ids):
        places = np.argwhere(made.ids == number)
        assert made.objects.voxels[row] == len(places)
        assert made.objects.sums[row].tolist() == places.sum(axis=0).tolist()
        assert made.objects.starts[row].tolist() == (places.min(axis=0) + start).tolist()
        assert made.objects.stops[row].tolist() == (places.max(axis=0) + 1 + start).tolist()


@settings(max_examples=30)
@given(volumes(), chunks, starts, st.sampled_from([6, 18, 26]), st.booleans())
def test_components_are_those_of_the_whole_volume(
    volume: np.ndarray, chunk: Any, start: Any, connectivity: int, cut: bool
) -> None:
    """The very same ids, so they do not depend on how the volume is cut."""
    segment = partial(cc3d.connected_components, connectivity=connectivity)
    made = labelled(
        volume, segment, chunk, start=start, cut=cut, classes=True,
        links=Links(connectivity=connectivity),
    )  # fmt: skip
    truth, whole = truth_of(volume, connectivity), made.folder.layout().region.size
    index = np.ravel_multi_index(np.indices(volume.shape).reshape(3, -1), whole)
    assert np.array_equal(
        np.where(truth > 0, index[truth.ravel() - 1].reshape(volume.shape) + 1, 0), made.ids
    )
    check_table(made, start)


@settings(max_examples=15)
@given(
    volumes(), chunks, st.sampled_from([6, 26]), st.booleans(),
    st.builds(Filter, st.none() | st.integers(1, 9), st.none() | st.integers(5, 50), st.booleans()),
)  # fmt: skip
def test_filters_see_whole_objects_and_the_rest_is_numbered_without_gaps(
    volume: np.ndarray, chunk: Any, connectivity: int, cut: bool, keeps: Filter
) -> None:
    volume = (volume > 0).astype(np.uint8)
    segment = partial(cc3d.connected_components, connectivity=connectivity)
    made = labelled(
        volume, segment, chunk, links=Links(connectivity=connectivity), cut=cut, keeps=keeps,
        compact=True,
    )  # fmt: skip
    truth = truth_of(volume, connectivity)
    inner = np.pad(
        np.zeros(Vec3.of(volume.shape).max(Vec3(2, 2, 2)) - 2, bool), 1, constant_values=True
    )
    border = (
        {*truth[inner[tuple(map(slice, volume.shape))]]} if min(volume.shape) > 1 else {*truth.flat}
    )
    sizes = dict(zip(*np.unique(truth, return_counts=True), strict=True))
    stay = [
        n for n, size in sizes.items()
        if n and (keeps.min_size or 0) <= size <= (keeps.max_size or size)
        and not (keeps.drops_border and n in border)
    ]  # fmt: skip
    kept = np.where(np.isin(truth, stay), truth, 0)
    pairs = {*zip(kept.ravel().tolist(), made.ids.ravel().tolist(), strict=True)} - {(0, 0)}
    assert sorted(id for id, _ in pairs) == sorted(stay)
    assert sorted(number for _, number in pairs) == list(range(1, len(stay) + 1))
    check_table(made, (0, 0, 0))


@settings(max_examples=15)
@given(volumes(), chunks, st.integers(1, 2), st.booleans())
def test_boxes_that_overlap_and_share_any_voxel_make_the_same_components(
    volume: np.ndarray, chunk: Any, overlap: int, cut: bool
) -> None:
    volume = (volume > 0).astype(np.uint8)
    margin = Vec3.of(overlap).min(Vec3.of(chunk))
    made = labelled(
        volume, partial(cc3d.connected_components, connectivity=6), chunk, cut=cut,
        links=Links("overlap", overlap=margin, min_share=1e-9),
    )  # fmt: skip
    pairs = {*zip(truth_of(volume, 6).ravel().tolist(), made.ids.ravel().tolist(), strict=True)}
    assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})
    check_table(made, (0, 0, 0))


def test_an_overlap_counts_as_a_share_of_the_smaller_or_of_both() -> None:
    """Of a row of voxels, the left box sees 1 to 6 as one object, and the right one 5 to 12."""
    volume = np.arange(16, dtype=np.uint8).reshape(1, 1, 16)

    def segment(part: np.ndarray) -> np.ndarray:
        left = part[0, 0, 0] == 0
        return (np.isin(part, range(1, 7)) if left else np.isin(part, range(5, 13))).astype(
            np.uint8
        )

    # Both boxes read 4 to 11: the left object has 3 voxels there, the right one 7, and both have 2.
    for share, of, objects in ((0.66, "smaller", 1), (0.67, "smaller", 2),
                               (0.25, "union", 1), (0.26, "union", 2)):  # fmt: skip
        links = Links("overlap", overlap=Vec3(0, 0, 4), min_share=share, share_of=of)
        made = labelled(volume, segment, (1, 1, 8), links=links)
        assert len(made.objects) == objects, (share, of)


def test_skipped_boxes_leave_no_file_and_hold_no_objects() -> None:
    volume = np.zeros((4, 4, 12), np.uint8)
    volume[:, :, :3] = volume[1, 1, 9:] = 1
    made = labelled(
        volume, cc3d.connected_components, (2, 2, 2), compact=True,
        skip=lambda box: box.start.x in (4, 6),
    )  # fmt: skip
    assert made.objects.voxels.tolist() == [48, 3]
    assert {*made.ids[volume > 0].tolist()} == {1, 2}


def test_a_region_holds_little_more_than_the_objects_at_its_faces() -> None:
    """A comb: 64 teeth of one object through 512 boxes, all joined in the last layer."""
    volume = np.zeros((32, 32, 32), np.uint8)
    volume[:, ::4, ::2] = volume[-1] = 1
    made = labelled(volume, cc3d.connected_components, (4, 4, 4))
    assert made.objects.voxels.tolist() == [int(volume.sum())]
    files = {
        name: sum(a.nbytes for a in arrays.values()) for name, arrays in made.folder.stored.items()
    }
    region = made.folder.layout().region
    top = [files[f"open/{box}.npz"] for box in made.folder.layout().children(region)]
    assert len(made.folder.layout().boxes) == 512
    assert max(top) < volume.nbytes
