"""A block of a fly's brain, cut in 27 and in 64 boxes that no size divides."""

from __future__ import annotations

from functools import partial

import cc3d
import h5py
import numpy as np
import pytest

from chunkflow_worker.labels.layout import Links
from tests.support.labelled import labelled
from tests.support.paths import DATA

BLOCK = DATA / "fib25" / "training_sample2.h5"


def volume(name: str) -> np.ndarray:
    """`bodies`: all neurons as one mask; `classes`: each is a class; `membranes`: dark voxels."""
    with h5py.File(BLOCK) as file:
        if name == "membranes":
            return (file["raw"][:] < 100).astype(np.uint8)
        bodies = file["groundtruth_bodies"][:]
        return (bodies > 0).astype(np.uint8) if name == "bodies" else bodies


@pytest.mark.long
@pytest.mark.skipif(not BLOCK.exists(), reason="fib25 is not in CHUNKFLOW_TEST_DATA")
@pytest.mark.parametrize(("chunk", "count"), [((90, 84, 100), 27), ((64, 70, 63), 64)])
@pytest.mark.parametrize("connectivity", [6, 18, 26])
@pytest.mark.parametrize("name", ["bodies", "classes", "membranes"])
def test_boxes_make_what_one_pass_makes(name: str, connectivity: int, chunk, count: int) -> None:
    data = volume(name)
    segment = partial(cc3d.connected_components, connectivity=connectivity)
    made = labelled(
        data, segment, chunk, links=Links(connectivity=connectivity), cut=True, classes=True
    )
    assert len(made.folder.layout().boxes) == count
    truth = segment(data)
    found, first, place = np.unique(truth, return_index=True, return_inverse=True)
    ids = np.where(found > 0, first + 1, 0).astype(np.uint64)
    assert np.array_equal(ids[place].reshape(data.shape), made.ids)
    statistics = cc3d.statistics(truth, no_slice_conversion=True)
    order = np.argsort(ids[found > 0])
    rows = found[found > 0][order]
    assert np.array_equal(made.final_ids, ids[found > 0][order])
    assert np.array_equal(made.objects.voxels, statistics["voxel_counts"][rows])
    boxes = statistics["bounding_boxes"][rows].astype(int)
    assert np.array_equal(made.objects.starts, boxes[:, ::2])
    assert np.array_equal(made.objects.stops, boxes[:, 1::2] + 1)
    for axis in range(3):
        at = np.arange(250).reshape([-1 if n == axis else 1 for n in range(3)])
        weights = np.broadcast_to(at, data.shape).ravel()
        sums = np.bincount(truth.ravel(), weights=weights)[rows]
        assert np.array_equal(made.objects.sums[:, axis], sums.astype(np.int64)), axis
