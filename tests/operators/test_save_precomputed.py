from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore
from cloudvolume import CloudVolume
from PIL import Image

from chunkflow_worker.errors import (
    BoxNotAligned,
    BoxOutsideVolume,
    ChunkMismatch,
    ConfigError,
    StorageUnavailable,
)
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.job.record import Written
from chunkflow_worker.operators.create_info import CreateInfo
from chunkflow_worker.operators.save_precomputed import SavePrecomputed
from chunkflow_worker.pipeline.operator import Run
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.storage.files import Packing
from chunkflow_worker.volumes.precomputed.volume import PrecomputedVolume
from chunkflow_worker.volumes.volume import blocks_of, checksum

BOUNDS = BoundingBox.parse("0-20_0-32_0-40")
RunStep = Callable[..., Task]
MakeVolume = Callable[..., PrecomputedVolume]


def noise(box: BoundingBox) -> Chunk:
    return Chunk(np.random.default_rng(0).integers(1, 255, box.size, np.uint8), box.start)


def test_a_box_at_the_end_of_the_volume_is_written_completely(
    volume: MakeVolume, run_step: RunStep
) -> None:
    made = volume("v", BOUNDS, dtype="uint8")
    chunk = noise(BoundingBox.parse("16-20_16-32_32-40"))
    task = run_step(SavePrecomputed(volume_path=made.path), chunk=chunk)
    assert np.array_equal(made.read(chunk.bbox), chunk.array)
    assert task.bytes_written == chunk.array.nbytes
    (written,) = task.written
    times = {time.isoformat() for time in made.stored_at(blocks_of(made, chunk.bbox)).values()}
    assert written == Written(
        made.path,
        0,
        "16-20_16-32_32-40",
        blocks=" ".join(checksum(chunk.cutout(b).array) for b in blocks_of(made, chunk.bbox)),
        stored=(min(times), max(times)),
    )


def test_margins_and_voxels_outside_the_volume_are_cut_off(
    volume: MakeVolume, run_step: RunStep
) -> None:
    made = volume("v", BOUNDS, dtype="uint8")
    box = BoundingBox.parse("16-24_16-32_32-48")
    chunk = noise(box.grow(3))
    run_step(SavePrecomputed(volume_path=made.path), bbox=box, chunk=chunk)
    inside = BoundingBox.parse("16-20_16-32_32-40")
    assert np.array_equal(made.read(inside), chunk.cutout(inside).array)
    assert len(made.missing(BOUNDS)) == 3 * 2 * 3 - 1


def test_clipped_margins_at_the_end_of_the_image_are_cut_off(
    volume: MakeVolume, run_step: RunStep
) -> None:
    made = volume("v", BOUNDS, dtype="uint8")
    box = BoundingBox.parse("8-24_16-32_32-48")
    # A margin of 4 voxels around the box, clipped to the image.
    chunk = noise(BoundingBox.parse("8-20_12-32_28-40"))
    chunk = Chunk(chunk.array, chunk.voxel_offset, bounds=BOUNDS)
    run_step(SavePrecomputed(volume_path=made.path), bbox=box, chunk=chunk)
    inside = BoundingBox.parse("8-20_16-32_32-40")
    assert np.array_equal(made.read(inside), chunk.cutout(inside).array)


def test_a_hole_in_a_larger_output_volume_is_refused(volume: MakeVolume, run_step: RunStep) -> None:
    made = volume("v", BOUNDS, dtype="uint8")
    part = noise(BoundingBox.parse("0-8_0-16_0-16"))
    task = Task(
        bbox=BoundingBox.parse("0-8_0-16_0-32"), values={"chunk": part}, voxel_size=part.voxel_size
    )
    with pytest.raises(ChunkMismatch, match="would leave a hole"):
        run_step(SavePrecomputed(volume_path=made.path), task)
    assert len(made.missing(BOUNDS)) == 18


def test_another_voxel_size_is_refused(volume: MakeVolume, run_step: RunStep) -> None:
    made = volume("v", BOUNDS, dtype="uint8", voxel_size=(40, 7.16, 7.16), max_mip=1)
    voxels = noise(BoundingBox.parse("0-8_0-16_0-16"))
    for size in ((40, 8, 8), (40, 14.32, 14.32), (8, 7.16, 7.16)):
        with pytest.raises(ChunkMismatch, match=r"of \[40.0, 7.16, 7.16\] nm: write to the mip"):
            run_step(SavePrecomputed(volume_path=made.path), chunk=replace(voxels, voxel_size=size))
    assert len(made.missing(BOUNDS)) == 18
    # 1 1 1 means that the voxel size is unknown; the other one differs only by rounding.
    for size in ((1.0, 1.0, 1.0), (40, 7.1600001, 7.16)):
        run_step(SavePrecomputed(volume_path=made.path), chunk=replace(voxels, voxel_size=size))
    run_step(
        SavePrecomputed(volume_path=made.path, mip=1),
        chunk=replace(voxels, voxel_size=(40, 14.32, 14.32)),
    )


def test_boxes_that_share_blocks_are_refused_and_nothing_is_written(
    volume: MakeVolume, run_step: RunStep
) -> None:
    made = volume("v", BOUNDS, dtype="uint8")
    save = SavePrecomputed(volume_path=made.path)
    not_aligned, outside = (BoundingBox.parse(s) for s in ("0-8_0-16_0-30", "40-48_0-16_0-16"))
    with pytest.raises(BoxNotAligned, match="0-8_0-16_0-32"):
        run_step(save, chunk=noise(not_aligned))
    with pytest.raises(BoxOutsideVolume):
        run_step(save, chunk=noise(outside))
    assert len(made.missing(BOUNDS)) == 18


def test_float_saturates_and_the_chunk_in_memory_stays(
    volume: MakeVolume, run_step: RunStep
) -> None:
    """Named defect of the peer: 1.5 became 126, and the chunk itself was scaled."""
    made = volume("v", BOUNDS, dtype="uint8")
    chunk = Chunk(np.full(BOUNDS.size, 1.5, np.float32))
    run_step(SavePrecomputed(volume_path=made.path), chunk=chunk)
    assert (made.read(BOUNDS) == 255).all()
    assert (chunk.array == 1.5).all()


def test_the_record_counts_nan_voxels(volume: MakeVolume, run_step: RunStep) -> None:
    made = volume("v", BOUNDS, dtype="uint8")
    array = np.full(BOUNDS.size, 0.5, np.float32)
    array[3, 4, 5:7] = np.nan
    task = run_step(SavePrecomputed(volume_path=made.path), chunk=Chunk(array, BOUNDS.start))
    (written,) = task.written
    assert written.nan == 2


def test_black_blocks_are_written_too(volume: MakeVolume, run_step: RunStep) -> None:
    """Named defect of the peer: black blocks were deleted, which looks like a hole."""
    made = volume("v", BOUNDS, dtype="uint8")
    run_step(SavePrecomputed(volume_path=made.path), chunk=Chunk(np.zeros(BOUNDS.size, np.uint8)))
    assert made.missing(BOUNDS) == []


def test_saving_does_not_create_a_volume(tmp_path: Path, run_step: RunStep) -> None:
    with pytest.raises(ConfigError, match="create-volume"):
        run_step(SavePrecomputed(volume_path=f"file://{tmp_path}/v"), chunk=noise(BOUNDS))
    assert not (tmp_path / "v").exists()


def test_blocks_that_are_missing_after_writing_are_an_error(
    volume: MakeVolume, run_step: RunStep, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = volume("v", BOUNDS, dtype="uint8")
    monkeypatch.setattr(PrecomputedVolume, "write", lambda *_: None)
    with pytest.raises(StorageUnavailable, match="18 blocks are missing after writing"):
        run_step(SavePrecomputed(volume_path=made.path), chunk=noise(BOUNDS))


def test_dry_run_and_dark_chunks_write_nothing(volume: MakeVolume, run_step: RunStep) -> None:
    made = volume("v", BOUNDS, dtype="uint8")
    task = Task(values={"chunk": noise(BOUNDS)})
    with SavePrecomputed(volume_path=made.path).open(
        Run(needed_box=lambda b, _: b, dry_run=True)
    ) as step:
        step(task)
    assert task.written == []
    save = SavePrecomputed(volume_path=made.path, intensity_threshold=254)
    task = run_step(save, chunk=noise(BOUNDS))
    assert task.written == [Written(made.path, 0, str(BOUNDS), empty=True)]
    assert len(made.missing(BOUNDS)) == 18


def test_other_mips_can_be_written(volume: MakeVolume, run_step: RunStep) -> None:
    made = volume("v", BOUNDS, dtype="uint8", max_mip=1, factor=Vec3(1, 2, 2))
    coarse = PrecomputedVolume(made.path, 1)
    chunk = noise(coarse.bounds)
    run_step(SavePrecomputed(volume_path=made.path, mip=1), chunk=chunk)
    assert np.array_equal(coarse.read(coarse.bounds), chunk.array)


def test_log_and_thumbnail(volume: MakeVolume, run_step: RunStep, tmp_path: Path) -> None:
    made = volume("v", BOUNDS, dtype="uint8")
    task = Task(values={"chunk": noise(BOUNDS)}, seconds={"inference": 1.5}, device="GPU")
    run_step(SavePrecomputed(volume_path=made.path, upload_log=True, create_thumbnail=True), task)
    log = json.loads((tmp_path / "v" / "log" / f"{BOUNDS}.json").read_text())
    assert log == {"timer": {"inference": 1.5}, "compute_device": "GPU", "bbox": str(BOUNDS)}
    with Image.open(tmp_path / "v" / "thumbnail" / f"{BOUNDS}.png") as picture:
        assert np.array_equal(np.asarray(picture), task.chunk("chunk").array[10])


def test_the_thumbnail_of_uint16_is_scaled_to_8_bits(
    volume: MakeVolume, run_step: RunStep, tmp_path: Path
) -> None:
    made = volume("v", BOUNDS, dtype="uint16")
    grey = noise(BOUNDS).array.astype(np.uint16) * 100
    run_step(
        SavePrecomputed(volume_path=made.path, create_thumbnail=True),
        chunk=Chunk(grey, BOUNDS.start),
    )
    with Image.open(tmp_path / "v" / "thumbnail" / f"{BOUNDS}.png") as picture:
        assert np.array_equal(np.asarray(picture), np.rint(grey[10] * (255 / grey[10].max())))


@contextmanager
def plain_web_server(folder: Path) -> Iterator[str]:
    """The address of what `python -m http.server` would serve."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


def open_with_tensorstore(store: dict[str, Any]) -> tensorstore.TensorStore:
    return tensorstore.open(
        {"driver": "neuroglancer_precomputed", "kvstore": store}, open=True
    ).result()


@pytest.mark.parametrize(
    ("encoding", "dtype", "channels", "tolerance"),
    [
        ("raw", "uint8", 1, 0),
        ("raw", "float32", 3, 0),
        ("raw", "uint64", 1, 0),
        ("compressed_segmentation", "uint32", 1, 0),
        ("compressed_segmentation", "uint64", 1, 0),
        ("jpeg", "uint8", 1, 12),
    ],
)
def test_what_reads_local_folders_and_web_servers_reads_it(
    run_step: RunStep, tmp_path: Path, encoding, dtype, channels, tolerance
) -> None:
    """By the default options: tensorstore, also through a web server that knows nothing of volumes,
    from which Neuroglancer reads too; and CloudVolume.
    """
    ramp = np.indices((11, 23, 37)).sum(axis=0) * 3
    array = np.stack([ramp + channel for channel in range(channels)]).astype(dtype)
    chunk = Chunk(
        array,
        Vec3(-3, 10, 100),
        (40.0, 7.16, 8.0),
        "segmentation" if encoding.startswith("comp") else "image",
    )
    path = f"file://{tmp_path}/v"
    run_step(CreateInfo(volume_path=path, block_size=(8, 16, 16), encoding=encoding), chunk=chunk)
    run_step(SavePrecomputed(volume_path=path), chunk=chunk)
    opened = open_with_tensorstore({"driver": "file", "path": f"{tmp_path}/v/"})
    assert opened.domain.labels == ("x", "y", "z", "channel")
    assert (opened.domain.origin, opened.dtype.name) == ((100, 10, -3, 0), dtype)
    assert [unit and unit.multiplier for unit in opened.dimension_units] == [8.0, 7.16, 40.0, None]
    with plain_web_server(tmp_path) as address:
        served = open_with_tensorstore({"driver": "http", "base_url": f"{address}/v/"})
        from_the_web = served.read().result()
    for voxels in (opened.read().result(), from_the_web, CloudVolume(path, progress=False)[:]):
        difference = np.asarray(voxels).transpose().astype(float) - array.astype(float)
        assert np.abs(difference).max() <= tolerance


@pytest.mark.parametrize("encoding", ["raw", "compressed_segmentation"])
def test_tensorstore_reads_compressed_blocks_of_an_object_store(
    run_step: RunStep, aws: dict[str, str], unique_name: str, encoding: str
) -> None:
    """Objects in S3 have Content-Encoding: gzip. On a local disk, compressed blocks are files *.gz,
    which tensorstore treats as missing.
    """
    import boto3

    s3 = boto3.client("s3")
    s3.create_bucket(Bucket=unique_name)
    chunk = Chunk(
        np.arange(11 * 23 * 37, dtype=np.uint32).reshape(11, 23, 37),
        Vec3(-3, 10, 100),
        layer_type="segmentation",
    )
    path = f"s3://{unique_name}/v"
    run_step(CreateInfo(volume_path=path, block_size=(8, 16, 16), encoding=encoding), chunk=chunk)
    run_step(SavePrecomputed(volume_path=path), chunk=chunk)
    first = s3.list_objects_v2(Bucket=unique_name, Prefix="v/1")["Contents"][0]["Key"]
    assert s3.head_object(Bucket=unique_name, Key=first)["ContentEncoding"] == "gzip"
    place = {
        "bucket": unique_name,
        "path": "v/",
        "endpoint": aws["AWS_ENDPOINT_URL"],
        "aws_region": "us-east-1",
    }
    opened = open_with_tensorstore(
        {"driver": "s3", **place, "aws_credentials": {"type": "environment"}}
    )
    assert np.array_equal(opened[..., 0].read().result().transpose(), chunk.array)


@pytest.mark.parametrize("packings", [("gzip", "none"), ("none", "gzip")])
def test_rewriting_with_the_other_compression_replaces_the_old_block(
    volume: MakeVolume, run_step: RunStep, packings: tuple[Packing, Packing]
) -> None:
    made = volume("v", BOUNDS, dtype="uint8")
    old, new = noise(BOUNDS), noise(BOUNDS).with_array(np.full(BOUNDS.size, 7, np.uint8))
    for chunk, compress in zip((old, new), packings, strict=True):
        run_step(SavePrecomputed(volume_path=made.path, compress=compress), chunk=chunk)
        names = [p.name for p in Path(made.path.removeprefix("file://")).glob("8_8_40/*")]
        assert len(names) == 3 * 2 * 3
        assert {name.endswith(".gz") for name in names} == {compress == "gzip"}
        assert np.array_equal(PrecomputedVolume(made.path).read(BOUNDS), chunk.array)
        assert made.missing(BOUNDS) == []


def test_shards_of_several_boxes_are_refused(run_step: RunStep, tmp_path: Path) -> None:
    path = f"file://{tmp_path}/v"
    chunk = noise(BOUNDS)
    run_step(CreateInfo(volume_path=path, block_size=(8, 16, 16)), chunk=chunk)
    info = json.loads((tmp_path / "v" / "info").read_text())
    info["scales"][0]["sharding"] = {
        "@type": "neuroglancer_uint64_sharded_v1",
        **{"preshift_bits": 1, "hash": "identity", "minishard_bits": 1, "shard_bits": 0},
    }
    (tmp_path / "v" / "info").write_text(json.dumps(info))
    with pytest.raises(ConfigError, match="sharding: a shard holds blocks of many boxes"):
        run_step(SavePrecomputed(volume_path=path), chunk=chunk)


@pytest.mark.parametrize(
    ("options", "smaller"),
    [
        ({"compress": "gzip"}, {"compress": "gzip", "compression_level": 9}),
        ({"compress": "br", "compression_level": 1}, {"compress": "br", "compression_level": 11}),
        ({"compress": "zstd"}, {"compress": "zstd", "compression_level": 22}),
    ],
)
def test_levels_make_blocks_smaller_and_keep_the_voxels(
    volume: MakeVolume, run_step: RunStep, options: Any, smaller: Any
) -> None:
    made, sizes = volume("v", BOUNDS, dtype="uint16"), []
    z, y, x = np.indices(BOUNDS.size)
    ramp = ((z * 7 + y * 3 + x * x) % 900).astype(np.uint16)
    chunk = Chunk(ramp, BOUNDS.start, made.voxel_size)
    for given in (options, smaller):
        run_step(SavePrecomputed(volume_path=made.path, **given), chunk=chunk)
        files = Path(made.path.removeprefix("file://")).glob("8_8_40/*")
        sizes.append(sum(file.stat().st_size for file in files))
        assert np.array_equal(PrecomputedVolume(made.path).read(BOUNDS), ramp)
    assert sizes[1] < sizes[0] < ramp.nbytes


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"compression_level": 10}, "compression_level 10 is none of gzip"),
        ({"compress": "br", "compression_level": 12}, "compression_level 12 is none of br"),
        ({"compress": "none", "compression_level": 1}, "leave compression_level out"),
        ({"compress": "lzma"}, "compress"),
    ],
)
def test_a_level_that_a_compression_does_not_have_is_refused(options: Any, text: str) -> None:
    with pytest.raises((ConfigError, ValueError), match=text):
        SavePrecomputed(volume_path="mem://v", **options)
