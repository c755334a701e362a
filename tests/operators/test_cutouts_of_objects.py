"""Objects of a cutout: every loader that can cut, and every operator that makes fragments."""

from __future__ import annotations

import logging
from pathlib import Path

import h5py
import imagecodecs
import numpy as np
import pytest
import zmesh
from click.testing import CliRunner

from chunkflow_worker.cli.chunkflow import cli
from chunkflow_worker.report.once import forget_warnings

CUTOUT = {
    "h5": "load-h5 -f s.h5 -x 40 8 8 -t 0 0 0 -s 16 32 32",
    "h5 stop": "load-h5 -f s.h5 -x 40 8 8 -t 0 0 0 -p 16 32 32",
    "png": "load-png -p pngs -x 40 8 8 -c 0 0 0 -s 16 32 32",
    "zarr": "load-zarr -f file://s.zarr -s 0 0 0 -z 16 32 32",
    "precomputed": "load-precomputed -v file://seg -s 0 0 0 -z 16 32 32",
}
MAKES_A_BOX = {"zarr", "precomputed"}


def run(line: str) -> None:
    done = CliRunner().invoke(cli, line.split(), catch_exceptions=False)
    assert done.exit_code == 0, done.output


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One object in all formats. It leaves the cutout after x."""
    monkeypatch.chdir(tmp_path)
    array = np.zeros((20, 48, 64), np.uint8)
    array[4:12, 8:24, 20:50] = 3
    with h5py.File("s.h5", "w") as file:
        file["main"] = array
        file.attrs["layer_type"] = "segmentation"
    Path("pngs").mkdir()
    for z, section in enumerate(array):
        Path(f"pngs/{z:05d}.png").write_bytes(imagecodecs.png_encode(section))
    run("create-info -v file://seg -z 20 48 64 -b 4 16 16 -s 40 8 8 -t segmentation -d uint8")
    run("load-h5 -f s.h5 -x 40 8 8 save-precomputed -v file://seg")
    run("load-h5 -f s.h5 -x 40 8 8 save-zarr -s file://s.zarr -c 4 16 16 -o zyx")
    forget_warnings()


@pytest.mark.parametrize("loader", CUTOUT)
def test_a_cutout_is_skeletonized(loader: str) -> None:
    run(f"{CUTOUT[loader]} skeletonize -d 10 -c 20 save-swc -p swc/")
    (swc,) = Path("swc").glob("3*.swc")
    x = np.loadtxt(swc)[:, 2]
    assert x.max() == pytest.approx(32 * 8, abs=12), "it ends where the cutout ends"


@pytest.mark.parametrize("loader", CUTOUT)
@pytest.mark.parametrize("kind", ["ply", "obj"])
def test_a_cutout_is_meshed(loader: str, kind: str) -> None:
    run(f"{CUTOUT[loader]} mesh -t {kind} -f 0 -o meshes")
    (path,) = Path("meshes").iterdir()
    content = path.read_bytes()
    mesh = zmesh.Mesh.from_ply(content) if kind == "ply" else zmesh.Mesh.from_obj(content.decode())
    assert mesh.vertices[:, 0].min() == pytest.approx(20 * 8, abs=4)
    assert mesh.vertices[:, 0].max() == pytest.approx(32 * 8, abs=8)


@pytest.mark.parametrize("loader", sorted({*CUTOUT} - MAKES_A_BOX))
def test_the_surface_of_a_cutout_without_a_box_is_closed(loader: str) -> None:
    run(f"{CUTOUT[loader]} mesh -t ply -f 0 -o meshes")
    (path,) = Path("meshes").iterdir()
    faces = zmesh.Mesh.from_ply(path.read_bytes()).faces
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    _, count = np.unique(edges, axis=0, return_counts=True)
    assert (count == 2).all()


@pytest.mark.parametrize("loader", CUTOUT)
@pytest.mark.parametrize("operator", ["mesh -o fragments", "skeletonize -d 10 -f fragments"])
def test_fragments_that_would_not_meet_are_told(
    loader: str, operator: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        run(f"{CUTOUT[loader]} {operator}")
    told = [r.getMessage() for r in caplog.records if "do not meet" in r.getMessage()]
    assert len(told) == (loader not in MAKES_A_BOX)
    assert all("--set-bbox" in text and "generate-tasks" in text for text in told)
    assert [p for p in Path("fragments").iterdir() if p.name.startswith("3:")]


def test_with_set_bbox_the_overlap_is_read_too() -> None:
    run(f"{CUTOUT['h5']} --set-bbox skeletonize -d 10 -f a")
    run("load-precomputed -v file://seg -s 0 0 0 -z 16 32 32 skeletonize -d 10 -f b")
    (a,), (b,) = Path("a").iterdir(), Path("b").iterdir()
    assert a.name == b.name == "3:0-32_0-32_0-16"
    assert a.read_bytes() == b.read_bytes()


@pytest.mark.parametrize("operator", ["skeletonize -d 10", "mesh -t ply -o meshes"])
@pytest.mark.parametrize(
    "line",
    [
        "load-precomputed -v file://seg -e 0 0 0",
        "load-precomputed -v file://seg -s 0 0 0 -z 16 32 32",
        "load-h5 -f s.h5 -x 40 8 8 -t 0 0 0 -s 16 32 32",
        "load-png -p pngs -x 40 8 8 -c 0 0 0 -s 16 32 32",
        "load-zarr -f file://s.zarr -s 0 0 0 -z 16 32 32",
    ],
)
def test_a_box_without_its_overlap_is_told_the_cure(line: str, operator: str) -> None:
    done = CliRunner().invoke(cli, f"create-bbox -s 0 0 0 -z 16 32 32 {line} {operator}".split())
    told = " ".join(str(done.exception).split())
    assert "read it without a cutout and without a fixed margin" in told
