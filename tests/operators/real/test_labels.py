"""Objects of many boxes as one labelling, on real neurons, compared with one pass over all."""

from __future__ import annotations

from pathlib import Path

import cc3d
import numpy as np
import pyarrow.dataset
import pytest

from chunkflow_worker.volumes.open_volume import open_volume

REGION = "-s 40 0 0 -r 120 150 150"
CUT = "--respect-stop"


@pytest.mark.shows("unique-labels", "merge-labels", "relabel", "object-table")
def test_parts_of_neurons_are_those_of_the_whole_block(chunkflow, bodies, tmp_path: Path) -> None:
    """2 x 3 x 3 boxes, of which the last ones are cut: components of the bodies, by their class."""
    box = "-c 64 64 64"
    chunkflow(
        f"generate-tasks {REGION} {box} {CUT}",
        bodies.load,
        "connected-components -c 26 -o parts",
        f"unique-labels -i parts -o parts --input-class-name chunk -w labels {box} {REGION} {CUT} -n 26",
        "save-zarr -i parts -s parts.zarr --shape 80 150 150 --voxel-offset 40 0 0 -c 64 64 64",
    )
    for size in (128, 256):
        regions = f"generate-tasks {REGION} -c {size} {size} {size} {CUT}"
        chunkflow(regions, "merge-labels -w labels --min-size 50")
    chunkflow(
        f"generate-tasks {REGION} {box} {CUT}",
        "load-zarr -f parts.zarr",
        "relabel -w labels --compact -d uint32",
        "save-zarr -s objects.zarr -c 64 64 64",
    )
    for size in (128, 256):
        regions = f"generate-tasks {REGION} -c {size} {size} {size} {CUT}"
        chunkflow(regions, "object-table -w labels -o table --compact")
    volume = open_volume(f"zarr://file://{tmp_path}/objects.zarr", 0)
    objects = volume.read(volume.bounds).squeeze()
    truth = cc3d.connected_components(bodies.array[40:120, :150, :150], connectivity=26)
    truth[np.isin(truth, np.flatnonzero(np.bincount(truth.ravel()) < 50))] = 0
    pairs = np.unique(np.stack([truth.ravel(), objects.ravel()]), axis=1)
    count = objects.max()
    assert 20 < count == len(np.unique(truth[truth > 0]))
    assert pairs.shape[1] == count + bool((truth == 0).any())
    table = pyarrow.dataset.dataset(tmp_path / "table").to_table().sort_by("id").to_pydict()
    found = cc3d.statistics(objects, no_slice_conversion=True)
    assert table["id"] == [*range(1, count + 1)]
    assert table["voxels"] == found["voxel_counts"][1:].tolist()
    centroids = np.stack([table["z_voxel"], table["y_voxel"], table["x_voxel"]], axis=1)
    np.testing.assert_allclose(centroids - (40, 0, 0), found["centroids"][1:], rtol=1e-12)
    starts = np.stack([table[f"{axis}_start"] for axis in "zyx"], axis=1) - (40, 0, 0)
    assert np.array_equal(starts, found["bounding_boxes"][1:, ::2])
