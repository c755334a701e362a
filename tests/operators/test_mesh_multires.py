"""mesh-multires: the tests read the meshes with CloudVolume and Draco, and draw them with
Neuroglancer.
"""

from __future__ import annotations

import json
import struct
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import DracoPy
import numpy as np
import pytest
import zmesh
from cloudvolume import CloudVolume

from chunkflow_worker.errors import ConfigError, DataMissing
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.job.grid import Grid
from chunkflow_worker.job.share import Share, grid_of_shares
from chunkflow_worker.operators.download_mesh import DownloadMesh
from chunkflow_worker.operators.mesh import Mesh
from chunkflow_worker.operators.mesh_multires import MeshMultires
from chunkflow_worker.pipeline.operator import Run
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.storage.written_file import WrittenFile, noting
from chunkflow_worker.volumes.create_volume import create_volume
from chunkflow_worker.volumes.mesh import MeshSource
from tests.support.s3_semantics import S3Semantics

VOXEL = (40.0, 8.0, 8.0)


def run(operator: Any, task: Task | None = None, dry_run: bool = False) -> None:
    with operator.open(Run(needed_box=lambda b, _: b, dry_run=dry_run)) as step:
        step(task or Task())


def objects() -> np.ndarray:
    """A ball with id 7 and many triangles, and a small box with id 2 ** 40."""
    z, y, x = np.ogrid[:24, :96, :96]
    ids = np.zeros((24, 96, 96), np.uint64)
    ids[((z - 12) * 4.5) ** 2 + (y - 48) ** 2 + (x - 50) ** 2 < 42**2] = 7
    ids[2:4, 2:6, 2:8] = 2**40
    return ids


@pytest.fixture
def meshed(volume: Any) -> str:
    """A volume with mesh fragments of its objects. The boxes cut through the objects."""
    stored = volume("seg", objects(), (3, -5, 7), layer_type="segmentation")
    whole = Chunk(objects(), Vec3(3, -5, 7), VOXEL, "segmentation", stored.bounds)
    operator = Mesh(output_path=stored.path, mip=0, simplification_factor=0)
    for box in stored.bounds.split(Vec3(13, 50, 41)):
        run(operator, Task(box, {"chunk": whole.cutout(operator.input_box(box, stored.bounds))}))
    return str(stored.path)


def folder(path: str) -> Path:
    return Path(path.removeprefix("file://")) / "mesh_mip_0_err_40_multires"


def volume_inside(triangles: np.ndarray) -> float:
    """Volume inside a closed surface, by the divergence theorem."""
    a, b, c = triangles.astype(float).transpose(1, 0, 2)
    return float((a * np.cross(b, c)).sum() / 6)


def triangles_of(mesh: Any) -> np.ndarray:
    return np.asarray(mesh.vertices)[np.asarray(mesh.faces).reshape(-1, 3)]


def read_index(
    content: bytes,
) -> tuple[np.ndarray, np.ndarray, list[float], list[list[tuple[tuple[int, ...], int]]]]:
    """Parse an index by the page of the format.

    Returns the size of the finest piece, the origin, and for each level its scale and the position
    and byte count of each piece.
    """
    size = np.array(struct.unpack_from("<3f", content))
    origin = np.array(struct.unpack_from("<3f", content, 12))
    (count,) = struct.unpack_from("<I", content, 24)
    scales = list(struct.unpack_from(f"<{count}f", content, 28))
    assert not any(struct.unpack_from(f"<{3 * count}f", content, 28 + 4 * count))
    numbers = struct.unpack_from(f"<{count}I", content, 28 + 16 * count)
    at, levels = 28 + 20 * count, []
    for number in numbers:
        words = struct.unpack_from(f"<{4 * number}I", content, at)
        places = zip(
            words[:number], words[number : 2 * number], words[2 * number : 3 * number], strict=True
        )
        levels.append(list(zip(places, words[3 * number :], strict=True)))
        at += 16 * number
    assert at == len(content)
    return size, origin, scales, levels


def test_cloudvolume_reads_each_level(meshed: str) -> None:
    run(MeshMultires(volume_path=meshed, levels=3))
    source = CloudVolume(meshed, progress=False).mesh
    info = json.loads((folder(meshed) / "info").read_text())
    assert info["@type"] == "neuroglancer_multilod_draco"
    ids = objects()
    true = float((ids == 7).sum()) * np.prod(VOXEL)
    count = []
    for level in range(3):
        triangles = triangles_of(source.get(7, lod=level)[7])
        count.append(len(triangles))
        assert volume_inside(triangles) == pytest.approx(true, rel=0.02), (
            "vertices are in nanometres, and faces point outwards"
        )
        places = np.argwhere(ids == 7)[:, ::-1] + [7, -5, 3]
        for found, expected in (
            (triangles.min(axis=(0, 1)), places.min(axis=0)),
            (triangles.max(axis=(0, 1)), places.max(axis=0) + 1),
        ):
            assert (np.abs(found - expected * VOXEL[::-1]) <= np.array(VOXEL[::-1])).all()
    assert count[0] > 3 * count[1] > 9 * count[2] > 0
    small = source.get(2**40)[2**40]
    alone = zmesh.Mesher(VOXEL[::-1])
    alone.mesh((ids == 2**40).transpose())
    expected = alone.get(1, voxel_centered=True)
    assert len(small.faces) == len(expected.faces), "equal vertices of the fragments are merged"
    moved = expected.vertices + np.array([56, -40, 120])
    assert np.abs(np.sort(small.vertices, axis=0) - np.sort(moved, axis=0)).max() < 0.01


def test_the_reduction_option_divides_the_number_of_triangles_of_each_level(meshed: str) -> None:
    run(MeshMultires(volume_path=meshed, levels=2, reduction=9))
    source = CloudVolume(meshed, progress=False).mesh
    fine, coarse = (len(triangles_of(source.get(7, lod=level)[7])) for level in range(2))
    # The tolerance covers the triangles that are added where pieces are cut.
    assert fine / coarse == pytest.approx(9, rel=0.3)


def test_pieces_follow_the_format(meshed: str) -> None:
    """Each piece has a parent, pieces are in Morton order, and no triangle crosses the middle of a
    coarser piece.
    """
    run(MeshMultires(volume_path=meshed, levels=3))
    size, origin, scales, levels = read_index((folder(meshed) / "7.index").read_bytes())
    content = (folder(meshed) / "7").read_bytes()
    assert sum(length for level in levels for _, length in level) == len(content)
    assert scales[0] < scales[1] < scales[2]
    at = 0
    for n, level in enumerate(levels):
        places = [place for place, _ in level]
        codes = [
            int("".join(f"{z >> b & 1}{y >> b & 1}{x >> b & 1}" for b in (3, 2, 1, 0)), 2)
            for x, y, z in places
        ]
        assert codes == sorted(set(codes))
        if n < len(levels) - 1:
            parents = {tuple(p // 2 for p in place) for place in places}
            assert parents <= {place for place, _ in levels[n + 1]}
        assert max(max(place) for place in places) < 2 ** (len(levels) - 1 - n)
        inside = []
        for place, length in level:
            if length:
                piece = DracoPy.decode(content[at : at + length])
                steps = piece.points[piece.faces]
                assert np.array_equal(steps, np.rint(steps))
                assert 0 <= steps.min() <= steps.max() <= 2**16 - 1
                if n:
                    assert ((steps <= 2**15).all(axis=1) | (steps >= 2**15).all(axis=1)).all()
                inside.append(origin + size * 2**n * (place + steps / (2**16 - 1)))
            at += length
        assert volume_inside(np.concatenate(inside)) == pytest.approx(
            float((objects() == 7).sum()) * np.prod(VOXEL), rel=0.02
        )
    assert len(levels[0]) > 8 >= len(levels[1]) > len(levels[2]) == 1


def test_download_mesh_reads_an_object_and_reports_a_missing_one(
    tmp_path: Path, meshed: str
) -> None:
    run(MeshMultires(volume_path=meshed))
    run(DownloadMesh(volume_path=meshed, input="7", out_pre=f"{tmp_path}/out_"))
    mesh = zmesh.Mesh.from_ply((tmp_path / "out_7.ply").read_bytes())
    assert volume_inside(triangles_of(mesh)) == pytest.approx(
        float((objects() == 7).sum()) * np.prod(VOXEL), rel=0.02
    )
    with pytest.raises(DataMissing, match="no whole mesh of object 9"):
        run(DownloadMesh(volume_path=meshed, input="9", out_pre=f"{tmp_path}/"))


def test_it_can_run_again_by_prefix_and_with_another_output(tmp_path: Path, meshed: str) -> None:
    run(MeshMultires(volume_path=meshed, prefix="7"))
    assert sorted(p.name for p in folder(meshed).iterdir()) == ["7", "7.index", "info"]
    run(MeshMultires(volume_path=meshed, prefix="1"))
    assert (folder(meshed) / str(2**40)).exists(), (
        "the volume names the new folder, but the fragments beside it are still found"
    )
    run(
        MeshMultires(
            volume_path=f"{meshed}/mesh_mip_0_err_40", output_path=f"{tmp_path}/elsewhere", levels=1
        )
    )
    assert (tmp_path / "elsewhere" / "7.index").exists()
    info = json.loads((Path(meshed.removeprefix("file://")) / "info").read_text())
    assert info["mesh"] == "mesh_mip_0_err_40_multires"
    before = sorted(p.name for p in folder(meshed).iterdir())
    whole = Chunk(objects(), Vec3(3, -5, 7), VOXEL, "segmentation")
    run(Mesh(output_path=meshed, mip=0), Task(None, {"chunk": whole}))
    assert sorted(p.name for p in folder(meshed).iterdir()) == before, (
        "new fragments are written to the folder of the old ones"
    )


def test_shares_of_a_stage_make_the_files_of_one_run(meshed: str, tmp_path: Path) -> None:
    run(MeshMultires(volume_path=meshed, output_path=f"{tmp_path}/whole"))
    operator = MeshMultires(volume_path=meshed)
    made = []
    for box in Grid.model_validate(grid_of_shares(10)).boxes():
        files: dict[str, WrittenFile] = {}
        with noting(files):
            run(operator, Task(box))
        made += [Path(path).name for path in files if Path(path).name != "info"]
    whole = {path.name: path.read_bytes() for path in (tmp_path / "whole").iterdir()}
    assert {path.name: path.read_bytes() for path in folder(meshed).iterdir()} == whole
    assert sorted(made) == sorted(whole.keys() - {"info"}), "each object is made once"
    assert CloudVolume(meshed, progress=False).mesh.get(7)
    with pytest.raises(ConfigError, match="is given, and the task is a share, too"):
        run(MeshMultires(volume_path=meshed, prefix="7"), Task(Share(0, 1, 10).box))


@pytest.mark.parametrize("crowd", [0], indirect=True)
def test_shares_of_a_stage_write_the_shards_of_one_run(
    crowd: tuple[str, int, np.ndarray], tmp_path: Path
) -> None:
    path, _, _ = crowd
    options = {"volume_path": path, "sharded": True, "shard_size": 2000}
    run(MeshMultires(**options))
    alone = {file.name: file.read_bytes() for file in shards_of(path)}
    assert len(alone) > 2
    for file in shards_of(path):
        file.unlink()
    run(MeshMultires(**options, prepare=True), Task(Share(0, 1, 1).box))
    for number in range(10):
        run(MeshMultires(**options), Task(Share(number, number + 1, 10).box))
    assert {file.name: file.read_bytes() for file in shards_of(path)} == alone


def shards_of(path: str) -> list[Path]:
    return [*Path(path.removeprefix("file://")).glob("*_multires/*.shard")]


def test_wrong_input_is_refused_and_a_dry_run_writes_nothing(tmp_path: Path, meshed: str) -> None:
    run(MeshMultires(volume_path=meshed), dry_run=True)
    assert not folder(meshed).exists()
    with pytest.raises(ConfigError, match="holds only a part of the fragments"):
        run(MeshMultires(volume_path=meshed), Task(BoundingBox.parse("0-1_0-1_0-1")))
    with pytest.raises(ConfigError, match="meshes of another format are already here"):
        run(MeshMultires(volume_path=meshed, output_path=f"{meshed}/mesh_mip_0_err_40"))
    next(Path(meshed.removeprefix("file://")).glob("mesh_mip_0_err_40/7:0:*")).write_bytes(
        b"no mesh"
    )
    with pytest.raises(DataMissing, match=r"7:0:.* cannot be read as a mesh"):
        run(MeshMultires(volume_path=meshed))


def many_objects() -> np.ndarray:
    """Boxes of 4 voxels a side, with ids of all sizes, and a ball that has several levels."""
    ids = objects()
    for n, (y, x) in enumerate((y, x) for y in range(0, 96, 8) for x in (0, 90)):
        ids[18:22, y : y + 4, x : x + 4] = 2**63 + 977 * n if n % 2 else n + 100
    return ids


@pytest.fixture
def crowd(volume: Any, request: pytest.FixtureRequest) -> tuple[str, int, np.ndarray]:
    """A volume, the mip of the fragments of its objects, and these objects."""
    mip, ids = request.param, many_objects()
    stored = volume("crowd", ids, (3, -5, 7), layer_type="segmentation")
    size = VOXEL
    if mip:  # the objects are of the second level, which has the same offset in its own voxels
        path = Path(stored.path.removeprefix("file://")) / "info"
        info = json.loads(path.read_text())
        (scale,) = info["scales"]
        size = (40.0, 16.0, 16.0)
        info["scales"].append(scale | {"key": "16_16_40", "resolution": [16, 16, 40]})
        path.write_text(json.dumps(info))
    whole = Chunk(ids, Vec3(3, -5, 7), size, "segmentation", stored.bounds)
    operator = Mesh(output_path=stored.path, mip=mip, simplification_factor=0, spatial_index=True)
    for box in stored.bounds.split(Vec3(13, 50, 41)):
        run(operator, Task(box, {"chunk": whole.cutout(operator.input_box(box, stored.bounds))}))
    return str(stored.path), mip, ids


@pytest.mark.parametrize("crowd", [1], indirect=True)
def test_shards_hold_the_meshes_of_single_files_and_cloudvolume_finds_them(
    crowd: tuple[str, int, np.ndarray],
) -> None:
    path, mip, ids = crowd
    run(MeshMultires(volume_path=path, levels=3))
    objects_there = [int(i) for i in np.unique(ids) if i]
    single = {i: CloudVolume(path, progress=False).mesh.get(i)[i] for i in objects_there}
    coarse = CloudVolume(path, progress=False).mesh.get(7, lod=2)[7]

    out = f"{path}/shards"
    options = {"levels": 3, "sharded": True, "shard_size": 100_000, "output_path": out}
    run(MeshMultires(volume_path=path, spatial_index=True, **options))
    files = [p.suffix for p in Path(out.removeprefix("file://")).iterdir()]
    assert 1 < files.count(".shard") < len(objects_there) / 2
    assert files.count(".spatial") == 2 * 2 * 3

    volume = CloudVolume(path, mip=mip, progress=False, mesh_dir="shards")
    for object_id, expected in single.items():
        found = volume.mesh.get(object_id)[object_id]
        assert np.array_equal(found.vertices, expected.vertices)
        assert np.array_equal(found.faces, expected.faces)
    assert np.array_equal(volume.mesh.get(7, lod=2)[7].vertices, coarse.vertices)

    index = volume.mesh.spatial_index
    assert index.query(volume.bounds * volume.resolution) == set(objects_there)
    for object_id in (7, 2**40, objects_there[-1]):
        box, vertices = index.get_bbox(object_id), single[object_id].vertices
        assert np.abs(np.array(box.minpt) - vertices.min(axis=0)).max() <= 1
        assert np.abs(np.array(box.maxpt) - vertices.max(axis=0)).max() <= 1
        assert object_id in index.query(box)


def test_the_volume_names_the_folder_of_shards(meshed: str) -> None:
    run(MeshMultires(volume_path=meshed, sharded=True))
    assert sorted(p.name for p in folder(meshed).iterdir()) == ["0.shard", "info"]
    assert len(CloudVolume(meshed, progress=False).mesh.get(7)[7].faces) > 1000
    with pytest.raises(ConfigError, match="meshes of another format are already here"):
        run(MeshMultires(volume_path=meshed))
    with pytest.raises(ConfigError, match="output_path: is needed with --sharded"):
        run(MeshMultires(volume_path=f"{meshed}/mesh_mip_0_err_40", sharded=True))


@pytest.mark.parametrize("crowd", [0], indirect=True)
def test_the_tasks_of_a_job_write_the_shards_of_one_run(
    crowd: tuple[str, int, np.ndarray], tmp_path: Path
) -> None:
    path, _, _ = crowd
    for name in ("one", "job"):
        out = f"{path}/{name}"
        options = {"sharded": True, "shard_size": 40_000, "output_path": out}
        operator = MeshMultires(volume_path=path, **options)
        index = {"spatial_index": True}
        if name == "one":
            run(MeshMultires(volume_path=path, **options, **index))
            continue
        run(MeshMultires(volume_path=path, prepare=True, **options, **index))
        made = Path(out.removeprefix("file://"))
        assert {p.suffix for p in made.iterdir()} == {".fragments", ""}
        count, noted = len(list(made.glob("*.fragments"))), dict[str, WrittenFile]()
        for n in reversed(range(count)):
            with noting(noted):
                run(operator, Task(BoundingBox(Vec3(n, 0, 0), Vec3(n + 1, 1, 1))))
        files = {p.name for p in made.iterdir() if p.suffix != ".fragments"}
        assert {file.rpartition("/")[2] for file in noted} == files, "the records know all"
    one, job = (
        {p.name: p.read_bytes() for p in Path(f"{path}/{name}".removeprefix("file://")).iterdir()}
        for name in ("one", "job")
    )
    assert {name: content for name, content in job.items() if ".fragments" not in name} == one


def test_shards_in_s3_are_written_by_one_request_each_and_read(
    real_s3: S3Semantics, unique_name: str
) -> None:
    boto3.client("s3").create_bucket(Bucket=unique_name)
    path, ids = f"s3://{unique_name}/seg", many_objects()
    bounds = BoundingBox.sized((3, -5, 7), ids.shape)
    shape: dict[str, Any] = {"bounds": bounds, "voxel_size": VOXEL, "block_size": Vec3(8, 16, 16)}
    create_volume(path, **shape, dtype="uint64", layer_type="segmentation")
    whole = Chunk(ids, bounds.start, VOXEL, "segmentation", bounds)
    operator = Mesh(output_path=path, mip=0, simplification_factor=0, spatial_index=True)
    for box in bounds.split(Vec3(13, 101, 97)):
        run(operator, Task(box, {"chunk": whole.cutout(operator.input_box(box, bounds))}))
    options: dict[str, Any] = {"sharded": True, "shard_size": 100_000, "levels": 2}
    real_s3.requests.clear()
    run(MeshMultires(volume_path=path, prepare=True, spatial_index=True, **options))
    run(MeshMultires(volume_path=path, **options), Task(BoundingBox.parse("0-64_0-1_0-1")))
    place = f"/{unique_name}/seg/mesh_mip_0_err_40_multires/"
    puts = {line: n for line, n in real_s3.requests.items() if line.startswith(f"PUT {place}")}
    assert sum(".shard" in line for line in puts) > 1
    assert sum(".spatial" in line for line in puts) == 2
    assert set(puts.values()) == {1}
    source = MeshSource(path)
    for object_id in (7, 2**40, 100):
        inside = volume_inside(triangles_of(source.read(object_id)))
        voxels = int((ids == object_id).sum())
        assert inside == pytest.approx(voxels * 40 * 8 * 8, rel=0.3), object_id


def test_fragments_without_places_have_no_spatial_index(meshed: str) -> None:
    with pytest.raises(DataMissing, match=r"no cell of a spatial index .*with --spatial-index"):
        run(MeshMultires(volume_path=meshed, sharded=True, spatial_index=True))
    assert not folder(meshed).exists()


class _Served(BaseHTTPRequestHandler):
    """Serves whole files of a folder or byte ranges of them, also to pages of another origin."""

    folder = Path()

    def do_GET(self) -> None:
        path = self.folder / self.path.strip("/")
        if not path.is_file():
            self.send_error(404)
            return
        content, part = path.read_bytes(), self.headers.get("Range", "").removeprefix("bytes=")
        first, _, last = part.partition("-")
        self.send_response(206 if part else 200)
        if part:
            content, size = content[int(first) : int(last) + 1], len(content)
            self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Access-Control-Allow-Origin", "*")
        self.end_headers()
        self.wfile.write(content)

    def do_OPTIONS(self) -> None:
        self.send_response(200)
        self.send_header("Access-Control-Allow-Origin", "*")
        self.send_header("Access-Control-Allow-Headers", "range")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Print no log."""


@pytest.mark.parametrize("sharded", [pytest.param(False, marks=pytest.mark.long), True])
def test_neuroglancer_draws_it(
    meshed: str, drawn: Callable[[Any, int, int], np.ndarray], sharded: bool
) -> None:
    """A ball seen along z, 672 nm wide, at 2 nm per pixel, drawn from the finest and from the
    coarsest level.
    """
    import neuroglancer

    run(MeshMultires(volume_path=meshed, sharded=sharded))
    handler = type("Served", (_Served,), {"folder": Path(meshed.removeprefix("file://"))})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            pictures = [
                draw_ball(neuroglancer, server.server_port, drawn, detail) for detail in (1, 1000)
            ]
        finally:
            server.shutdown()
            neuroglancer.stop()
    y, x = np.mgrid[:400, :400] - 200
    for shown in pictures:
        ball = shown[..., 1] > shown[..., 0] + 40
        assert ball[np.hypot(y, x) < 168].all()
        assert not ball[np.hypot(y, x) > 188].any()
    assert (np.abs(pictures[0] - pictures[1]).max(axis=2) > 8).sum() > 100, (
        "the two levels have different triangles"
    )


def draw_ball(neuroglancer: Any, port: int, drawn: Any, detail: float) -> np.ndarray:
    neuroglancer.set_server_bind_address("127.0.0.1")
    viewer = neuroglancer.Viewer()
    with viewer.txn() as state:
        state.dimensions = neuroglancer.CoordinateSpace(
            names=["x", "y", "z"], units="nm", scales=[8, 8, 40]
        )
        state.position = [57, 43, 15]
        layer = neuroglancer.SegmentationLayer(
            source=f"precomputed://http://127.0.0.1:{port}", segments=[7]
        )
        layer.segment_colors, layer.mesh_render_scale = {7: "#00ff00"}, detail
        state.layers["objects"] = layer
        state.layout, state.show_slices, state.projection_scale = "3d", False, 400 * 2 / 8
        state.projection_orientation = [0, 0, 0, 1]
        state.show_axis_lines = state.show_scale_bar = state.show_default_annotations = False
        state.projection_background_color = "#000000"
    return np.asarray(drawn(viewer, 400, 400))
