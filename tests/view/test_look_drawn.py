"""What headless Chromium draws of the page that this machine serves; skipped without it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.view.file_server import FileServer
from chunkflow_worker.view.look import Asked, Scene
from chunkflow_worker.volumes.create_volume import create_volume
from chunkflow_worker.volumes.open_volume import open_volume
from chunkflow_worker.volumes.precomputed.compression import Compression
from tests.support.browser import BROWSER, draw

BOX = BoundingBox(Vec3(0, 0, 0), Vec3(16, 64, 64))


@pytest.mark.skipif(shutil.which(BROWSER) is None, reason="needs chromium")
@pytest.mark.parametrize(
    "kind", ["precomputed", "zarr2", "zarr3", "n5", "plain zarr2", "plain zarr3"]
)
@pytest.mark.slow
def test_volume_and_map_are_drawn(tmp_path: Path, kind: str) -> None:
    """Plain: arrays of Zarr that no group of OME-Zarr lists."""
    from chunkflow_worker.view.neuroglancer import page

    plain, _, driver = kind.rpartition(" ")
    voxels = {"em": np.full(BOX.size, 100, np.uint8), "map": np.zeros(BOX.size, np.uint8)}
    voxels["em"][:, 32:] = 200
    voxels["map"][:, :, 32:] = 255
    with FileServer().serving() as server, page() as viewer:
        scene = Scene(server)
        for name, array in voxels.items():
            path = f"{driver}://file://{tmp_path}/{name}"
            create_volume(
                path,
                bounds=BOX,
                voxel_size=(8, 8, 8),
                block_size=Vec3(16, 32, 32),
                dtype="uint8",
            )
            open_volume(path, compression=Compression("gzip")).write(BOX, array)
            asked = tmp_path / name
            if plain:
                asked = (tmp_path / name / "0").rename(tmp_path / f"{name}-alone")
            scene.add(Asked(str(asked), None, name))
        viewer.set_state(scene.state() | {"layout": "xy", "showAxisLines": False})
        picture = draw(viewer, 400, 400, tmp_path)
    size = 64 / scene.state()["crossSectionScale"] / 2  # pixels of half the volume
    at = {
        (y, x): picture[int(200 + y * size / 2), int(200 + x * size / 2)]
        for y in (-1, 1)
        for x in (-1, 1)
    }
    assert len(set(at[-1, -1])) == 1, "grey, where there is no map"
    assert at[1, -1][0] > at[-1, -1][0] + 50, "lighter below"
    for y in (-1, 1):
        red, green, blue = at[y, 1]
        assert red > green + 50 > blue + 100, "orange, where the map is high"
