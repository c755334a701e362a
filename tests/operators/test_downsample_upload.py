from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore
from cloudvolume import CloudVolume

from chunkflow_worker.errors import BoxNotAligned, BoxOutsideVolume, ChunkMismatch, ConfigError
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.image.pyramid import downsample
from chunkflow_worker.job.record import Record
from chunkflow_worker.operators.downsample_upload import DownsampleUpload
from chunkflow_worker.pipeline.chain import Pipeline
from chunkflow_worker.pipeline.operator import Run
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.storage.files import Files
from chunkflow_worker.volumes.create_volume import create_volume
from chunkflow_worker.volumes.open_volume import open_volume
from chunkflow_worker.volumes.precomputed.info import read_info
from chunkflow_worker.volumes.precomputed.volume import PrecomputedVolume
from chunkflow_worker.volumes.volume import blocks_of, checksum
from producer.look.verify import Verifier

RunStep = Callable[..., Task]
MakeVolume = Callable[..., PrecomputedVolume]
BOUNDS = BoundingBox.parse("0-16_0-64_0-60")
IMAGE = np.random.default_rng(0).integers(1, 250, BOUNDS.size, np.uint8)
TWICE = Vec3(1, 2, 2)


def level(path: str, mip: int) -> np.ndarray:
    volume = PrecomputedVolume(path, mip)
    return volume.read(volume.bounds)


def reduce_blocks(
    array: np.ndarray, factor: tuple[int, int, int], reduce: Callable[[np.ndarray], Any]
) -> np.ndarray:
    """Apply `reduce` to the fine voxels below each coarse voxel."""
    size = [-(-n // f) for n, f in zip(array.shape, factor, strict=True)]

    def below(position: tuple[int, ...]) -> np.ndarray:
        return array[tuple(slice(i * f, i * f + f) for i, f in zip(position, factor, strict=True))]

    reduced = [reduce(below(position)) for position in product(*map(range, size))]
    return np.array(reduced, array.dtype).reshape(size)


def mean(voxels: np.ndarray) -> int:
    return round(voxels.astype(float).mean())


def mode(voxels: np.ndarray) -> int:
    return Counter(voxels.ravel().tolist()).most_common(1)[0][0]


def empty(volume: MakeVolume, **options: Any) -> PrecomputedVolume:
    """An empty volume: mips 0 to 2 that halve y and x, in blocks of 8 x 8 x 8."""
    defaults = {"dtype": "uint8", "max_mip": 2, "factor": TWICE, "block_size": Vec3(8, 8, 8)}
    return volume("v", BOUNDS, **(defaults | options))


@pytest.fixture
def pyramid(volume: MakeVolume) -> PrecomputedVolume:
    return empty(volume)


def chunk_of(text: str) -> Chunk:
    box = BoundingBox.parse(text)
    return Chunk(IMAGE[box.slices()], box.start, (40.0, 8.0, 8.0))


def test_a_grid_of_boxes_fills_all_levels_of_a_volume(volume: MakeVolume) -> None:
    source, made = volume("in", IMAGE), empty(volume)
    chain = [{"op": "load-precomputed", "volume_path": source.path}, _upload(made.path)]
    with Pipeline.parse({"operators": chain}).open() as opened:
        for box in BOUNDS.split(Vec3(8, 32, 32)):
            opened.run(Task(bbox=box))
    first = reduce_blocks(IMAGE, TWICE, mean)
    assert np.array_equal(level(made.path, 1), first)
    assert np.array_equal(level(made.path, 2), reduce_blocks(first, TWICE, mean))
    assert level(made.path, 2).shape == (16, 16, 15)
    assert len(made.missing(BOUNDS)) == 2 * 8 * 8, "the level of the chunk is not written"


def _upload(path: str, **options: Any) -> dict[str, Any]:
    return {
        "op": "downsample-upload",
        "volume_path": path,
        "factor": [1, 2, 2],
        "stop_mip": 3,
    } | options


def test_a_segmentation_keeps_its_ids_at_every_level(volume: MakeVolume, run_step: RunStep) -> None:
    ids = np.random.default_rng(1).choice(np.array([0, 7, 2**60 + 1], np.uint64), BOUNDS.size)
    made = empty(
        volume,
        dtype="uint64",
        layer_type="segmentation",
        encoding="compressed_segmentation",
        factor=Vec3(2, 2, 2),
        max_mip=1,
    )
    run_step(
        DownsampleUpload(volume_path=made.path, stop_mip=2),
        chunk=Chunk(ids, layer_type="segmentation"),
    )
    assert np.array_equal(level(made.path, 1), reduce_blocks(ids, (2, 2, 2), mode))


def test_a_map_of_channels_is_averaged_before_it_becomes_8_bit(
    volume: MakeVolume, run_step: RunStep
) -> None:
    array = np.random.default_rng(2).random((3, *BOUNDS.size), np.float32)
    made = empty(volume, channels=3, max_mip=1)
    run_step(DownsampleUpload(volume_path=made.path, factor=TWICE, stop_mip=2), chunk=Chunk(array))
    expected = array.reshape(3, 16, 32, 2, 30, 2).mean(axis=(3, 5)) * 255
    assert np.abs(level(made.path, 1) - expected).max() <= 0.501


def test_start_mip_equal_to_the_mip_of_the_chunk_writes_the_chunk_too(
    pyramid: PrecomputedVolume, run_step: RunStep
) -> None:
    """chunkflow 1.2.0 refused this start_mip."""
    chunk = chunk_of(str(BOUNDS))
    run_step(
        DownsampleUpload(volume_path=pyramid.path, factor=TWICE, start_mip=0, stop_mip=2),
        chunk=chunk,
    )
    assert np.array_equal(level(pyramid.path, 0), IMAGE)
    assert np.array_equal(level(pyramid.path, 1), reduce_blocks(IMAGE, TWICE, mean))
    coarsest = PrecomputedVolume(pyramid.path, 2)
    assert coarsest.missing(coarsest.bounds), "stop_mip itself is not written"


def test_levels_below_start_mip_are_computed_but_not_written(
    pyramid: PrecomputedVolume, run_step: RunStep
) -> None:
    run_step(
        DownsampleUpload(volume_path=pyramid.path, factor=TWICE, start_mip=2, stop_mip=3),
        chunk=chunk_of(str(BOUNDS)),
    )
    first = reduce_blocks(IMAGE, TWICE, mean)
    assert np.array_equal(level(pyramid.path, 2), reduce_blocks(first, TWICE, mean))
    between = PrecomputedVolume(pyramid.path, 1)
    assert len(between.missing(between.bounds)) == 2 * 4 * 4


def test_the_voxel_size_gives_the_mip_of_the_chunk(
    pyramid: PrecomputedVolume, run_step: RunStep
) -> None:
    small = Chunk(reduce_blocks(IMAGE, TWICE, mean), voxel_size=(40.0, 16.0, 16.0))
    upload = DownsampleUpload(volume_path=pyramid.path, factor=TWICE, stop_mip=3)
    task = run_step(upload, chunk=small)
    assert [(w.mip, w.bbox) for w in task.written] == [(2, "0-16_0-16_0-15")]
    assert np.array_equal(level(pyramid.path, 2), reduce_blocks(small.array, TWICE, mean))
    with pytest.raises(
        ChunkMismatch, match=r"\[40.0, 9.0, 9.0\] nm, .* 1 \[40.0, 16.0, 16.0\].* give --chunk-mip"
    ):
        run_step(upload, chunk=Chunk(IMAGE, voxel_size=(40.0, 9.0, 9.0)))
    with pytest.raises(
        ConfigError,
        match="start_mip 3 must not be below the chunk's mip 2, and must be below stop_mip 3",
    ):
        run_step(upload, chunk=Chunk(IMAGE, voxel_size=(40.0, 32.0, 32.0)))
    with_chunk_mip = DownsampleUpload(
        volume_path=pyramid.path, factor=TWICE, chunk_mip=1, stop_mip=3
    )
    task = run_step(with_chunk_mip, chunk=Chunk(small.array, voxel_size=(40.0, 9.0, 9.0)))
    assert [w.mip for w in task.written] == [2]


def test_verify_finds_damage_at_any_level_from_the_records(
    pyramid: PrecomputedVolume, run_step: RunStep
) -> None:
    task = run_step(
        DownsampleUpload(volume_path=pyramid.path, factor=TWICE, stop_mip=3),
        chunk=chunk_of("8-16_0-32_0-32"),
    )
    first = reduce_blocks(IMAGE[8:16, :32, :32], TWICE, mean)
    assert [(w.volume, w.mip, w.bbox) for w in task.written] == [
        (pyramid.path, 1, "8-16_0-16_0-16"),
        (pyramid.path, 2, "8-16_0-8_0-8"),
    ]
    halves = [half for rows in np.split(first, 2, 1) for half in np.split(rows, 2, 2)]
    assert task.written[0].blocks == " ".join(map(checksum, halves))
    assert task.bytes_written == first.size + first.size // 4
    record = Record(
        bbox="8-16_0-32_0-32",
        job="j",
        task_id="1",
        state="done",
        attempts=1,
        worker="w",
        written=task.written,
        started="",
    )
    assert Verifier().check(record) == []
    PrecomputedVolume(pyramid.path, 2).write(
        BoundingBox.parse("8-16_0-8_0-8"), np.ones((8, 8, 8), np.uint8)
    )
    assert [(p.kind, p.detail) for p in Verifier().check(record)] == [
        ("stale", "other voxels than the task wrote")
    ]


def test_boxes_that_share_a_coarse_block_are_refused_and_the_error_gives_a_legal_size(
    pyramid: PrecomputedVolume, run_step: RunStep
) -> None:
    upload = DownsampleUpload(volume_path=pyramid.path, factor=TWICE, stop_mip=3)
    with pytest.raises(
        BoxNotAligned, match=r"mip 2 of .* blocks of \[8, 8, 8\].* --stop-mip"
    ) as caught:
        run_step(upload, chunk=chunk_of("0-8_0-16_16-32"))
    multiples = re.search(r"multiples of \[(\d+), (\d+), (\d+)\]", str(caught.value))
    assert multiples is not None
    size = Vec3(*map(int, multiples.groups()))
    assert size == Vec3(8, 32, 32)
    for mip in (1, 2):
        untouched = PrecomputedVolume(pyramid.path, mip)
        assert len(untouched.missing(untouched.bounds)) == {1: 32, 2: 8}[mip], (
            "nothing is written when one level is refused"
        )
    for box in BOUNDS.split(size):
        run_step(upload, chunk=chunk_of(str(box)))
    assert level(pyramid.path, 2).all()
    fewer = DownsampleUpload(volume_path=pyramid.path, factor=TWICE, stop_mip=2)
    assert len(run_step(fewer, chunk=chunk_of("0-8_0-16_16-32")).written) == 1


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"dtype": "uint64", "layer_type": "segmentation", "encoding": "compressed_segmentation"},
        {"encoding": "jpeg"},
        {"voxel_size": (40, 7.16, 7.16)},
        {"dtype": "float32", "channels": 3},
    ],
)
@pytest.mark.parametrize("have", [0, 1])
def test_levels_that_the_volume_lacks_are_added(
    have: int, options: dict[str, Any], volume: MakeVolume, run_step: RunStep
) -> None:
    """Exactly those that create-info would have made."""
    box = BOUNDS.shift((3, 8, -16))
    defaults = {"dtype": "uint8", "factor": TWICE, "block_size": Vec3(8, 8, 8)} | options
    made = volume("v", box, max_mip=have, **defaults)
    whole = volume("whole", box, max_mip=3, **defaults)
    chunk = Chunk(np.ones((made.channels, *box.size), made.dtype), box.start)
    run_step(DownsampleUpload(volume_path=made.path, factor=TWICE, stop_mip=4), chunk=chunk)
    assert read_info(made.path) == read_info(whole.path)
    assert all(level(made.path, mip).any() for mip in (1, 2, 3))


@pytest.mark.parametrize(
    ("name", "shards"),
    [
        # Of blocks: 4 x 4 x 4, then 2 x 2 x 2 since x comes first there, then single ones.
        ("precomputed", [Vec3(32, 32, 32), Vec3(16, 16, 16), Vec3(8, 8, 8)]),
        ("zarr3", [Vec3(32, 32, 32), Vec3(32, 16, 16), Vec3(32, 8, 8)]),
    ],
)
def test_levels_that_a_volume_in_shards_lacks_are_in_shards_that_its_boxes_fill(
    name: str, shards: list[Vec3], tmp_path: Path, run_step: RunStep
) -> None:
    address, bounds = f"{name}://file://{tmp_path}/v", BoundingBox.sized((-32, 0, 64), (64, 90, 70))
    image = np.random.default_rng(1).integers(1, 250, bounds.size, np.uint8)
    shape: dict[str, Any] = {"bounds": bounds, "voxel_size": (40, 8, 8), "dtype": "uint8"}
    create_volume(address, **shape, block_size=Vec3(8, 8, 8), shard_size=shards[0])
    upload = DownsampleUpload(volume_path=address, factor=TWICE, start_mip=0, stop_mip=3)
    for box in bounds.split(shards[0]):
        chunk = Chunk(image[box.slices(bounds.start)], box.start, (40.0, 8.0, 8.0), bounds=bounds)
        run_step(upload, chunk=chunk)
    whole = Chunk(image, bounds.start, bounds=bounds)
    for mip, shard in enumerate(shards):
        opened = open_volume(address, mip)
        assert (opened.block_size, opened.chunk_size) == (shard, Vec3(8, 8, 8))
        folder = Path(opened.path.removeprefix("file://"))
        boxes = {opened.block_name(box) for box in blocks_of(opened, opened.bounds)}
        assert all((folder / block).is_file() for block in boxes)
        assert np.array_equal(opened.read(opened.bounds), whole.array)
        assert np.array_equal(by_tensorstore(address, name, mip), whole.array)
        if name == "precomputed":
            theirs = CloudVolume(opened.path, mip=mip, progress=False)[:]
            assert np.array_equal(np.asarray(theirs)[..., 0].T, whole.array)
        whole = downsample(whole, TWICE)


def by_tensorstore(address: str, name: str, mip: int) -> np.ndarray:
    folder = address.removeprefix(f"{name}://file://")
    if name == "zarr3":
        return np.asarray(
            tensorstore.open(f"file://{folder}/|zarr3:{mip}/").result().read().result()
        )
    spec = {
        "driver": "neuroglancer_precomputed",
        "kvstore": {"driver": "file", "path": f"{folder}/"},
    }
    opened = tensorstore.open(spec | {"scale_index": mip}).result()
    return np.asarray(opened.read().result())[..., 0].T


@pytest.mark.parametrize("name", ["precomputed", "zarr3"])
def test_a_box_that_is_no_whole_shard_of_each_level_is_refused(
    name: str, tmp_path: Path, run_step: RunStep
) -> None:
    address, bounds = f"{name}://file://{tmp_path}/v", BoundingBox.sized((0, 0, 0), (16, 64, 64))
    shape: dict[str, Any] = {"bounds": bounds, "voxel_size": (40, 8, 8), "dtype": "uint8"}
    size: dict[str, Any] = {"block_size": Vec3(8, 8, 8), "shard_size": Vec3(16, 16, 16)}
    create_volume(address, **shape, **size, max_mip=1, factor=TWICE)
    upload = DownsampleUpload(volume_path=address, factor=TWICE, stop_mip=2)
    with pytest.raises(
        BoxNotAligned, match=r"blocks of \[16, 16, 16\].* multiples of \[16, 32, 32\]"
    ):
        run_step(upload, chunk=Chunk(np.ones((16, 16, 16), np.uint8), Vec3(0, 0, 0), (40, 8, 8)))


def test_no_level_is_added_before_a_box_is_right(volume: MakeVolume, run_step: RunStep) -> None:
    made = empty(volume, max_mip=0)
    upload = DownsampleUpload(volume_path=made.path, factor=TWICE, stop_mip=3)
    before = read_info(made.path)
    with pytest.raises(BoxNotAligned, match="would share blocks"):
        run_step(upload, chunk=chunk_of("0-8_0-16_0-16"))
    chain = Pipeline((upload,))
    with chain.open(dry_run=True) as opened:
        opened.run(Task(values={"chunk": chunk_of(str(BOUNDS))}))
    assert read_info(made.path) == before


def test_the_volume_may_be_created_again(volume: MakeVolume, run_step: RunStep) -> None:
    """A script that begins with create-info can be repeated, and adds levels by itself."""
    made = empty(volume, max_mip=0)
    upload = DownsampleUpload(volume_path=made.path, factor=TWICE, stop_mip=2)
    run_step(upload, chunk=chunk_of(str(BOUNDS)))
    filled = level(made.path, 1)
    empty(volume, max_mip=0)
    assert len(read_info(made.path)["scales"]) == 2
    empty(volume, max_mip=2)
    assert len(read_info(made.path)["scales"]) == 3
    assert np.array_equal(level(made.path, 1), filled)
    with pytest.raises(ConfigError, match=r"its resolution at mip 1 is .*\n +choose another path"):
        empty(volume, max_mip=2, factor=Vec3(2, 2, 2))


def test_keys_of_other_tools_stay_in_the_info(volume: MakeVolume, run_step: RunStep) -> None:
    made = empty(volume, max_mip=0)
    info = read_info(made.path) | {"mesh": "mesh_mip_0"}
    Files(made.path).put_json("info", info)
    upload = DownsampleUpload(volume_path=made.path, factor=TWICE, stop_mip=2)
    run_step(upload, chunk=chunk_of(str(BOUNDS)))
    assert read_info(made.path)["mesh"] == "mesh_mip_0"


def test_levels_of_another_factor_are_refused(
    pyramid: PrecomputedVolume, run_step: RunStep
) -> None:
    """chunkflow 1.2.0 took the levels from the factor, and ignored those of the volume."""
    with pytest.raises(
        ConfigError,
        match=r"is \[2, 2, 2\], and mip 1 of .* is coarser than mip 0 by \[1.0, 2.0, 2.0\]",
    ):
        run_step(
            DownsampleUpload(volume_path=pyramid.path, stop_mip=3), chunk=chunk_of(str(BOUNDS))
        )


def test_margins_are_cut_off_and_a_hole_is_refused(
    pyramid: PrecomputedVolume, run_step: RunStep
) -> None:
    upload = DownsampleUpload(volume_path=pyramid.path, factor=TWICE, stop_mip=3)
    task = Task(
        bbox=BoundingBox.parse("0-8_0-32_0-32"),
        voxel_size=(40.0, 8.0, 8.0),
        values={"chunk": chunk_of("0-9_0-35_0-35")},
    )
    assert [w.bbox for w in run_step(upload, task).written] == ["0-8_0-16_0-16", "0-8_0-8_0-8"]
    task = Task(
        bbox=BoundingBox.parse("0-8_0-32_0-32"),
        voxel_size=(40.0, 8.0, 8.0),
        values={"chunk": chunk_of("0-8_0-32_0-30")},
    )
    with pytest.raises(ChunkMismatch, match="would leave a hole"):
        run_step(upload, task)
    with pytest.raises(BoxOutsideVolume):
        run_step(upload, chunk=Chunk(IMAGE, Vec3(100, 0, 0)))


def test_a_volume_that_starts_at_no_multiple_of_the_factor_keeps_its_last_voxels(
    volume: MakeVolume, run_step: RunStep
) -> None:
    """A coarse voxel i covers 2i and 2i + 1. The image goes from 1 to 9, so the first and the last
    coarse voxel cover one fine voxel each.
    """
    bounds = BoundingBox.parse("0-8_0-8_1-9")
    made = volume("odd", bounds, dtype="uint8", max_mip=1, block_size=Vec3(8, 8, 8))
    array = np.broadcast_to(np.arange(1, 9, dtype=np.uint8) * 10, bounds.size)
    run_step(
        DownsampleUpload(volume_path=made.path, factor=TWICE, stop_mip=2),
        chunk=Chunk(array, bounds.start),
    )
    assert PrecomputedVolume(made.path, 1).bounds == BoundingBox.parse("0-8_0-4_0-5")
    assert level(made.path, 1)[0, 0].tolist() == [10, 25, 45, 65, 80]


def test_a_black_chunk_is_written(pyramid: PrecomputedVolume, run_step: RunStep) -> None:
    """chunkflow 1.2.0 deleted black blocks, so they were missing."""
    black = Chunk(np.zeros(BOUNDS.size, np.uint8), voxel_size=(40.0, 8.0, 8.0))
    run_step(DownsampleUpload(volume_path=pyramid.path, factor=TWICE, stop_mip=3), chunk=black)
    for mip in (1, 2):
        made = PrecomputedVolume(pyramid.path, mip)
        assert made.missing(made.bounds) == []


def test_dry_run_writes_nothing(pyramid: PrecomputedVolume) -> None:
    upload = DownsampleUpload(volume_path=pyramid.path, factor=TWICE, stop_mip=3)
    task = Task(values={"chunk": chunk_of(str(BOUNDS))})
    with upload.open(Run(needed_box=lambda box, bounds: box, dry_run=True)) as step:
        step(task)
    assert task.written == []
    untouched = PrecomputedVolume(pyramid.path, 1)
    assert len(untouched.missing(untouched.bounds)) == 32


@pytest.mark.parametrize(
    "mips",
    [
        {"start_mip": 5},
        {"chunk_mip": 4},
        {"chunk_mip": 2, "start_mip": 1},
        {"stop_mip": 1, "chunk_mip": 1},
    ],
)
def test_mips_that_leave_nothing_to_write_are_refused(mips: dict[str, int]) -> None:
    with pytest.raises(
        ValueError,
        match=r"start_mip \d must not be below the chunk's mip \d, and must be below stop_mip \d",
    ):
        DownsampleUpload(volume_path="file://v", **mips)
