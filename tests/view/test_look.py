"""`Scene`: what is found at a path, the state of the page, and what independent readers find."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

from chunkflow_worker.cli.chunkflow import cli
from chunkflow_worker.errors import ConfigError
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.view.file_server import FileServer
from chunkflow_worker.view.look import Asked, Scene, is_here, names_of
from chunkflow_worker.volumes.create_volume import create_volume
from chunkflow_worker.volumes.open_volume import open_volume
from chunkflow_worker.volumes.precomputed.compression import Compression
from chunkflow_worker.volumes.scene.annotations import IN_A_STATE
from chunkflow_worker.volumes.scene.shading import GREY, PROBABILITY

BOX = BoundingBox(Vec3(10, 20, 30), Vec3(42, 84, 94))
VOXELS = np.random.default_rng(0).integers(1, 255, BOX.size, np.uint8)
VOXEL_SIZE = (40.0, 8.0, 4.0)


@pytest.fixture
def scene() -> Iterator[Scene]:
    with FileServer().serving() as server:
        yield Scene(server)


def make(path: str, voxels: np.ndarray = VOXELS, **options: Any) -> str:
    """A volume whose blocks are *.gz, where the format has them."""
    kind = "segmentation" if voxels.dtype.itemsize > 1 else "image"
    create_volume(
        path,
        bounds=BOX,
        voxel_size=VOXEL_SIZE,
        block_size=Vec3(16, 32, 32),
        dtype=voxels.dtype.name,
        layer_type=kind,
    )
    open_volume(path, compression=Compression("gzip")).write(BOX, voxels)
    return path


def address(scene: Scene) -> str:
    """Of the last layer's data."""
    source = scene.shown[-1].layer["source"]
    url = source["url"] if isinstance(source, dict) else source
    return str(url).partition("|")[0]


def parsed(scene: Scene) -> Any:
    neuroglancer = pytest.importorskip("neuroglancer")
    state = neuroglancer.ViewerState(scene.state())
    assert len(state.layers) == len(scene.shown)
    return state.to_json()


def test_other_readers_read_the_served_blocks(scene: Scene, tmp_path: Path) -> None:
    shown = scene.add(Asked(make(str(tmp_path / "em")), None, "em"))
    assert list((tmp_path / "em").rglob("*.gz"))
    assert (shown.kind, shown.layer["shader"]) == ("image", GREY)
    import tensorstore
    from cloudvolume import CloudVolume

    spec = {"driver": "neuroglancer_precomputed", "kvstore": f"{address(scene)}/"}
    array = tensorstore.open(spec).result().read().result()
    assert np.array_equal(array[..., 0].transpose(), VOXELS)
    volume = CloudVolume(f"precomputed://{address(scene)}", progress=False)
    assert np.array_equal(np.asarray(volume[volume.bounds])[..., 0].transpose(), VOXELS)


@pytest.mark.parametrize(("name", "driver"), [("zarr2", "zarr"), ("zarr3", "zarr3"), ("n5", "n5")])
def test_arrays_of_each_format_are_read_by_tensorstore(
    scene: Scene, tmp_path: Path, name: str, driver: str
) -> None:
    import tensorstore

    path = f"{tmp_path}/em"
    make(f"{name}://file://{path}")
    scene.add(Asked(path, None, "em"))
    source = scene.shown[-1].layer["source"]
    url = source["url"] if isinstance(source, dict) else source
    assert url.endswith(f"|{name}:")
    inside = Path(open_volume(path).path.removeprefix("file://")).relative_to(path)
    below = "" if address(scene).endswith(f"/{inside}") else f"{inside}/"
    spec = {"driver": driver, "kvstore": f"{address(scene)}/{below}"}
    array = tensorstore.open(spec).result().read().result()
    zyx = array.transpose() if driver == "n5" else array
    assert np.array_equal(np.squeeze(zyx), VOXELS)
    parsed(scene)


def test_the_page_begins_where_the_data_are(scene: Scene, tmp_path: Path) -> None:
    voxels = np.zeros_like(VOXELS)
    voxels[4:8, 10:20, 40:60] = 7
    scene.add(Asked(make(str(tmp_path / "em"), voxels), None, "em"))
    state = parsed(scene)
    assert state["dimensions"] == {"x": [4e-9, "m"], "y": [8e-9, "m"], "z": [4e-8, "m"]}
    assert state["position"] == [30 + 50, 20 + 15, 10 + 6.5]


def test_layers_lie_over_each_other(scene: Scene, tmp_path: Path) -> None:
    em, over = make(str(tmp_path / "em")), make(str(tmp_path / "over"))
    ids = make(str(tmp_path / "seg"), VOXELS.astype(np.uint32) // 64)
    kinds = [scene.add(Asked(p, None, p[-2:])).kind for p in (em, over, ids)]
    assert kinds == ["image", "map", "segmentation"]
    layer = scene.shown[1].layer
    assert (layer["shader"], layer["shaderControls"]) == (
        PROBABILITY,
        {"probability": {"range": [0, 255]}},
    )
    assert scene.add(Asked(over, "image", "grey")).layer["shader"] == GREY
    parsed(scene)


def test_meshes_are_found_and_read(scene: Scene, tmp_path: Path) -> None:
    pytest.importorskip("zmesh")
    ids = np.zeros(BOX.size, np.uint32)
    ids[4:20, 10:30, 10:30] = 5
    seg = make(f"file://{tmp_path}/seg", ids)
    found = CliRunner().invoke(cli, ["load-volume", "-v", seg, "mesh", "-o", seg, "--manifest"])
    assert found.exit_code == 0, found.output
    assert scene.add(Asked(seg, None, "seg")).layer["segments"] == ["5"]
    from cloudvolume import CloudVolume

    mesh = CloudVolume(f"precomputed://{address(scene)}", progress=False).mesh.get(5)
    assert len((mesh[5] if isinstance(mesh, dict) else mesh).faces) > 10
    [folder] = [p for p in (tmp_path / "seg").iterdir() if "mesh" in p.name]
    alone = scene.add(Asked(str(folder), None, "mesh"))
    assert (alone.kind, alone.layer["segments"]) == ("mesh", ["5"])
    assert alone.region is not None
    parsed(scene)


@pytest.mark.parametrize("count", [3, IN_A_STATE + 1])
def test_points_are_in_the_state_or_served(scene: Scene, tmp_path: Path, count: int) -> None:
    points = np.random.default_rng(0).integers(0, 100, (count, 3))
    with h5py.File(tmp_path / "somata.h5", "w") as file:
        file["points"], file["voxel_size"] = points, VOXEL_SIZE
    shown = scene.add(Asked(str(tmp_path / "somata.h5"), None, "somata"))
    assert shown.kind == "points"
    if count == 3:
        place = shown.layer["annotations"][0]["point"]
        assert place == (points[0, ::-1] + 0.5).tolist()
    else:
        from urllib.request import urlopen

        base = shown.layer["source"][0].partition("|")[0]
        with urlopen(f"{base}/spatial0/0_0_0", timeout=20) as answer:
            content = answer.read()
        assert int.from_bytes(content[:8], "little") == count
        places = np.frombuffer(content[8 : -8 * count], "<f4").reshape(-1, 3)
        assert np.array_equal(places, points[:, ::-1] + 0.5)
    parsed(scene)


@pytest.mark.parametrize("kind", [None, "image", "mesh", "points"])
def test_what_is_not_there_is_told(scene: Scene, tmp_path: Path, kind: Any) -> None:
    with pytest.raises(ConfigError, match=r"does not exist|no such|there is no"):
        scene.add(Asked(str(tmp_path / "absent"), kind, "absent"))


def test_layers_have_different_names() -> None:
    assert names_of(["a/em", "b/em", "s3://c/em"], ["x"]) == ["x", "em", "em 2"]
    assert is_here("a/em")
    assert not is_here("s3://c/em")
