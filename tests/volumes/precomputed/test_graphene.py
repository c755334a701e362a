from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from chunkflow_worker.errors import ConfigError, StorageRefused, StorageUnavailable
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.operators.load_volume import LoadVolume
from chunkflow_worker.operators.mask import Mask
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.volumes.open_volume import open_volume, volume_bounds
from chunkflow_worker.volumes.precomputed.info import create_volume, read_info
from chunkflow_worker.volumes.precomputed.volume import PrecomputedVolume
from producer.cli import main
from tests.support.graph_server import TOKEN, GraphServer, graph_server, root, supervoxel
from tests.support.web_server import web_server

BOUNDS = BoundingBox.parse("-4-12_8-40_0-50")  # no block divides it
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
SUPERVOXELS = np.where(np.indices(BOUNDS.size)[2] < 25, supervoxel(7), supervoxel(8)).astype(
    np.uint64
)
SUPERVOXELS[:, :5] = 0
SUPERVOXELS[:, 20:] = supervoxel(9)
ROOTS = {supervoxel(7): root(1), supervoxel(8): root(1), supervoxel(9): root(2)}

RunStep = Callable[..., Task]


@pytest.fixture
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    """The token of the server is where CloudVolume looks for it."""
    monkeypatch.setattr(
        "cloudvolume.datasource.graphene.metadata.cave_credentials", lambda domain: {"token": TOKEN}
    )


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GraphServer]:
    path = f"file://{tmp_path}/watershed"
    create_volume(
        path,
        bounds=BOUNDS,
        voxel_size=(40, 8, 8),
        block_size=Vec3(8, 16, 16),
        dtype="uint64",
        layer_type="segmentation",
        encoding="compressed_segmentation",
    )
    PrecomputedVolume(path).write(BOUNDS, SUPERVOXELS)
    with ExitStack() as stack:
        files = stack.enter_context(web_server(tmp_path))
        info = read_info(path)
        yield stack.enter_context(graph_server(info, f"{files.address}/watershed", ROOTS))


@pytest.mark.usefixtures("token")
@pytest.mark.parametrize("prefix", ["graphene://", "graphene://middleauth+"])
def test_supervoxels_are_read(server: GraphServer, run_step: RunStep, prefix: str) -> None:
    load = LoadVolume(volume_path=f"{prefix}{server.address}")
    task = run_step(load)
    chunk = task.chunk("chunk")
    assert (chunk.bbox, chunk.voxel_size, chunk.is_segmentation) == (BOUNDS, (40, 8, 8), True)
    assert np.array_equal(chunk.array, SUPERVOXELS)
    assert server.times == []
    box = BoundingBox.parse("0-3_10-20_20-30")
    part = run_step(load, Task(bbox=box)).chunk("chunk")
    assert np.array_equal(part.array, SUPERVOXELS[box.slices(BOUNDS.start)])


@pytest.mark.usefixtures("token")
@pytest.mark.parametrize(
    "text", ["2026-01-31T12:00:00Z", "2026-01-31T12:00", "2026-01-31T13:00+01:00"]
)
def test_objects_are_read_as_they_were_at_a_time(
    server: GraphServer, run_step: RunStep, text: str
) -> None:
    load = LoadVolume(volume_path=f"graphene://{server.address}", agglomerate=text)
    objects = run_step(load).chunk("chunk").array
    expected = np.zeros_like(SUPERVOXELS)
    for part, whole in ROOTS.items():
        expected[part == SUPERVOXELS] = whole
    assert np.array_equal(objects, expected)
    assert server.times == [NOON.timestamp()]


@pytest.mark.usefixtures("token")
def test_a_grid_and_a_mask_take_it(
    server: GraphServer, run_step: RunStep, capsys: pytest.CaptureFixture[str]
) -> None:
    address = f"graphene://{server.address}"
    assert volume_bounds(address) == BOUNDS
    line = ["enqueue", "--queue", "q", "-v", address, "-c", "8", "16", "16", "--dry-run"]
    assert main(line) == 0
    assert "16 tasks" in capsys.readouterr().out
    image = Chunk(np.ones(BOUNDS.size, np.uint8), BOUNDS.start, (40, 8, 8))
    masked = run_step(Mask(volume_path=address, mip=0), chunk=image).chunk("chunk").array
    assert np.array_equal(masked != 0, SUPERVOXELS != 0)


def test_without_a_token_the_error_says_where_to_put_it(
    server: GraphServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "cloudvolume.datasource.graphene.metadata.cave_credentials", lambda domain: {}
    )
    with pytest.raises(ConfigError, match=r"token: No Graphene .*\n.*cave-secret\.json"):
        open_volume(f"graphene://{server.address}")


def test_a_token_that_the_server_refuses_is_told(
    server: GraphServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "cloudvolume.datasource.graphene.metadata.cave_credentials", lambda domain: {"token": "abc"}
    )
    with pytest.raises(StorageRefused, match="401"):
        open_volume(f"graphene://{server.address}")


@pytest.mark.usefixtures("token")
@pytest.mark.parametrize(
    ("place", "error", "text"),
    [
        ("", ConfigError, "names no table of a server"),
        ("/segmentation/table/other", StorageUnavailable, "404"),
    ],
)
def test_a_place_without_a_table_is_told(
    server: GraphServer, place: str, error: type[Exception], text: str
) -> None:
    host = server.address.partition("/segmentation")[0]
    with pytest.raises(error, match=text):
        open_volume(f"graphene://{host}{place}")


@pytest.mark.usefixtures("token")
def test_a_server_names_no_place_on_this_machine(tmp_path: Path, server: GraphServer) -> None:
    info = read_info(f"file://{tmp_path}/watershed")
    with (
        graph_server(info, f"file://{tmp_path}/watershed", ROOTS) as local,
        pytest.raises(
            ConfigError, match=r"data_dir: 'file://.*' is no place that a server may name"
        ),
    ):
        open_volume(f"graphene://{local.address}")


def test_only_graphene_has_objects_that_change(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="agglomerate: only volumes of graphene have objects"):
        open_volume(f"file://{tmp_path}/v", agglomerate=NOON)
