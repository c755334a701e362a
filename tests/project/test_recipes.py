"""The pipeline files in deploy/pipelines: each is checked, and run on data."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cc3d
import h5py
import numpy as np
import pyarrow.dataset
import pytest

from chunkflow_worker.cli.chunkflow import main as chunkflow
from chunkflow_worker.cli.worker import main as worker
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.volumes.create_volume import create_volume
from chunkflow_worker.volumes.open_volume import open_volume
from producer.look.job_link import look_command
from producer.plan.pipeline_file import PipelineFile
from tests.support.paths import DATA, ROOT
from tests.support.run_command import run_command

FOLDER = ROOT / "deploy" / "pipelines"
RECIPES = sorted(path.name for path in FOLDER.glob("*.yaml"))
PINKY, FIB25 = DATA / "pinky100", DATA / "fib25" / "training_sample2.h5"


def local(name: str, folder: Path) -> Path:
    """A recipe whose paths are in a folder."""
    path = folder / name
    text = (FOLDER / name).read_text().replace("s3://your-bucket", f"file://{folder}")
    path.write_text(text.replace("examples/plugins", str(ROOT / "examples" / "plugins")))
    return path


def store(path: Path, voxels: np.ndarray, voxel_size: tuple[float, float, float]) -> None:
    bounds = BoundingBox.sized(Vec3(0, 0, 0), Vec3(*voxels.shape))
    create_volume(
        f"file://{path}",
        bounds=bounds,
        voxel_size=voxel_size,
        block_size=Vec3(64, 64, 64),
        dtype=str(voxels.dtype),
    )
    open_volume(f"file://{path}").write(bounds, voxels)


def read(path: Path, mip: int = 0) -> np.ndarray:
    volume = open_volume(f"file://{path}", mip)
    return np.asarray(volume.read(volume.bounds)).squeeze()


def run(path: Path) -> str:
    done = run_command(chunkflow, "--pipeline", str(path))
    assert done.status == 0, done.stderr
    return done.stderr


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_right(name: str) -> None:
    done = run_command(worker, "check", str(FOLDER / name))
    assert done.status == 0, done.stderr
    for file in PipelineFile.load_all(FOLDER / name):
        assert file.tasks or file.stage.tree_of
        assert file.file_ledger


def test_the_table_of_recipes_has_all_of_them() -> None:
    text = (ROOT / "docs" / "recipes.md").read_text()
    assert [name for name in RECIPES if f"| `{name}` |" not in text] == []


@pytest.mark.slow
def test_pyramid_and_shards(tmp_path: Path) -> None:
    image = np.random.default_rng(1).integers(1, 255, (64, 512, 512), np.uint8)
    store(tmp_path / "em", image, (40, 4, 4))
    run(local("reshard.yaml", tmp_path))
    np.testing.assert_array_equal(read(tmp_path / "em-sharded"), image)
    assert len([*(tmp_path / "em-sharded").glob("4_4_40/*.shard")]) == 1
    run(local("pyramid.yaml", tmp_path))
    info = json.loads((tmp_path / "em" / "info").read_text())
    assert [scale["size"] for scale in info["scales"]] == [
        [512 >> n, 512 >> n, 64] for n in range(7)
    ]
    for mip in range(7):
        size = 1 << mip
        mean = image.reshape(64, 512 // size, size, 512 // size, size).mean(axis=(2, 4))
        assert np.abs(read(tmp_path / "em", mip) - mean).max() <= mip, mip


@pytest.mark.long
@pytest.mark.skipif(not PINKY.exists(), reason="pinky100 is not in CHUNKFLOW_TEST_DATA")
def test_clefts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The objects are those of one pass over the map, and each has a row and a mesh."""
    with h5py.File(PINKY / "sample1_input.h5") as file:
        store(tmp_path / "em", file["main"][:], (40, 7.16, 7.16))
    for name in ("cleft_net.py", "cleft_weights.pt"):
        shutil.copy(PINKY / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    path = local("clefts.yaml", tmp_path)
    run(path)
    objects = read(tmp_path / "objects")
    parts = cc3d.connected_components(read(tmp_path / "map") > 63, connectivity=26)
    sizes = np.bincount(parts.ravel())
    large = np.flatnonzero(sizes >= 50)[1:]
    np.testing.assert_array_equal(objects > 0, np.isin(parts, large))
    table = pyarrow.dataset.dataset(tmp_path / "table").to_table().to_pydict()
    assert table["id"] == [1, 2, 3]
    assert table["voxels"] == np.bincount(objects.ravel())[1:].tolist()
    assert sorted(table["voxels"]) == sorted(sizes[large].tolist())
    meshes = {file.name for file in tmp_path.glob("objects/*_multires/*.index")}
    assert meshes == {"1.index", "2.index", "3.index"}
    shown = look_command(PipelineFile.load_all(path)).replace(f"file://{tmp_path}/", "")
    assert shown == "chunkflow look em map objects"


@pytest.mark.long
@pytest.mark.skipif(not FIB25.exists(), reason="fib25 is not in CHUNKFLOW_TEST_DATA")
def test_neurons(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Stitched from eight boxes, they are as right as those of one box."""
    from scipy.ndimage import gaussian_filter

    with h5py.File(FIB25) as file:
        smooth, truth = gaussian_filter(file["raw"][:], 1), file["groundtruth_bodies"][:]
    membranes = np.interp(smooth, (60, 150), (255, 0)).round().astype(np.uint8)
    store(tmp_path / "membranes", membranes, (10, 10, 10))
    run(local("neurons.yaml", tmp_path))
    with h5py.File(tmp_path / "truth.h5", "w") as file:
        file["main"] = truth
    plugin = ["plugin", "-f", str(ROOT / "examples" / "plugins" / "agglomerate")]
    options = "threshold=0.3;aff_threshold_low=0.05;aff_threshold_high=0.99"
    small = ["mask-out-objects", "--dust-size-threshold", "500"]
    segment = [*plugin, "-i", "chunk", "-o", "chunk", "-a", options, *small]
    errors = []
    for name, made in (("membranes", segment), ("neurons", [])):
        load = ["load-precomputed", "-v", f"file://{tmp_path}/{name}", *made]
        h5 = ["load-h5", "-f", f"{tmp_path}/truth.h5", "--voxel-size", "10", "10", "10"]
        done = run_command(chunkflow, *load, *h5, "-o", "groundtruth", "evaluate-segmentation")
        assert done.status == 0, done.stderr
        scores = [text for text in caplog.messages if "rand_error" in text]
        errors.append(json.loads(scores[-1][scores[-1].index("{") :])["rand_error"])
    assert len(scores) == len(errors)
    whole, stitched = errors
    assert abs(stitched - whole) < 0.01
    assert len(json.loads((tmp_path / "neurons" / "info").read_text())["scales"]) == 3
    ids = {str(number) for number in np.unique(read(tmp_path / "neurons")) if number}
    assert {file.stem for file in tmp_path.glob("neurons/*_multires/*.index")} == ids
