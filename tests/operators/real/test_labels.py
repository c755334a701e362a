"""Objects of many boxes as one labelling, on real neurons, compared with one pass over all."""

from __future__ import annotations

from pathlib import Path

import cc3d
import numpy as np
import pyarrow.dataset
import pytest

from chunkflow_worker.volumes.open_volume import open_volume

REGION = "-s 40 0 0 -r 104 100 150"
CUT = "--respect-stop"


@pytest.mark.shows("unique-labels", "merge-labels", "relabel", "object-table")
def test_parts_of_neurons_are_those_of_the_whole_block(chunkflow, bodies, tmp_path: Path) -> None:
    """2 x 2 x 3 boxes, of which the last ones are cut: components of the bodies, by their class."""
    box = "-c 48 64 64"
    grid = f"{box} {REGION} {CUT}"
    chunkflow(
        f"generate-tasks {grid}",
        bodies.load,
        "connected-components -c 26 -o parts",
        f"unique-labels -i parts -o parts --input-class-name chunk -w labels -n 26 {grid}",
        "save-zarr -i parts -s parts.zarr --shape 64 100 150 --voxel-offset 40 0 0 -c 16 64 64",
    )
    for size in ("96 128 128", "192 256 256"):
        regions = f"generate-tasks {REGION} -c {size} {CUT}"
        chunkflow(regions, "merge-labels -w labels --min-size 50")
    chunkflow(
        f"generate-tasks {grid}",
        "load-zarr -f parts.zarr",
        "relabel -w labels --compact -d uint32",
        "save-zarr -s objects.zarr -c 16 64 64",
    )
    for size in ("96 128 128", "192 256 256"):
        regions = f"generate-tasks {REGION} -c {size} {CUT}"
        chunkflow(regions, "object-table -w labels -o table --compact")
    volume = open_volume(f"zarr://file://{tmp_path}/objects.zarr", 0)
    objects = volume.read(volume.bounds).squeeze()
    truth = cc3d.connected_components(bodies.array[40:104, :100, :150], connectivity=26)
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


def test_neurons_that_fill_the_block_are_joined_by_overlap(chunkflow, bodies, tmp_path) -> None:
    """Neurons touch everywhere. Each box reads 4 voxels more, and saves its own voxels alone."""
    box = "-c 48 64 64"
    region = "-s 40 0 0 -r 120 120 120"
    grid = f"generate-tasks {region} {box} {CUT}"
    whole = "--shape 80 120 120 --voxel-offset 40 0 0 -c 16 64 64"
    chunkflow(f"generate-tasks {region}", bodies.load, f"save-zarr -s bodies.zarr {whole}")
    chunkflow(
        grid,
        "load-zarr -f bodies.zarr",
        f"unique-labels -w labels {box} {region} {CUT} --link-by overlap --overlap 4 4 4",
        f"save-zarr -s parts.zarr {whole}",
    )
    chunkflow(f"generate-tasks {region} -c 96 128 128 {CUT}", "merge-labels -w labels")
    chunkflow(
        grid,
        "load-zarr -f parts.zarr",
        "relabel -w labels",
        f"save-zarr -s objects.zarr {whole}",
    )
    volume = open_volume(f"zarr://file://{tmp_path}/objects.zarr", 0)
    objects = volume.read(volume.bounds).squeeze()
    truth = bodies.array[40:120, :120, :120]
    pairs = np.unique(np.stack([truth.ravel(), objects.ravel()]), axis=1)
    assert len(np.unique(pairs[1])) == pairs.shape[1], "no object is of two neurons"
    for axis in range(3):
        one, next_one = (np.moveaxis(a, axis, 0) for a in (truth, objects))
        same = one[1:] == one[:-1]
        assert (next_one[1:] == next_one[:-1])[same].all(), "neighbours in a neuron are one object"
