from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from chunkflow_worker.bbox import BoundingBox, Vec3
from chunkflow_worker.chunk import Chunk
from chunkflow_worker.errors import BoxNotAligned, BoxOutsideVolume, ChunkMismatch, ConfigError, StorageUnavailable
from chunkflow_worker.operator import Run
from chunkflow_worker.operators.save_precomputed import SavePrecomputed
from chunkflow_worker.storage.precomputed import PrecomputedVolume
from chunkflow_worker.storage.volume import checksum
from chunkflow_worker.task import Task, Written

BOUNDS = BoundingBox.parse("0-20_0-32_0-40")
RunStep = Callable[..., Task]
MakeVolume = Callable[..., PrecomputedVolume]


def noise(box: BoundingBox) -> Chunk:
    return Chunk(np.random.default_rng(0).integers(1, 255, box.size, np.uint8), box.start)


def test_a_box_at_the_volumes_end_is_written_whole(volume: MakeVolume, run_step: RunStep) -> None:
    made = volume("v", BOUNDS, dtype="uint8")
    chunk = noise(BoundingBox.parse("16-20_16-32_32-40"))
    task = run_step(SavePrecomputed(volume_path=made.path), chunk=chunk)
    assert np.array_equal(made.read(chunk.bbox), chunk.array)
    assert task.bytes_written == chunk.array.nbytes
    assert task.written == [Written(made.path, 0, "16-20_16-32_32-40", checksum(chunk.array))]


def test_margins_and_what_hangs_over_the_volume_are_cut_off(volume: MakeVolume, run_step: RunStep) -> None:
    made = volume("v", BOUNDS, dtype="uint8")
    box = BoundingBox.parse("16-24_16-32_32-48")
    chunk = noise(box.grow(3))
    run_step(SavePrecomputed(volume_path=made.path), bbox=box, chunk=chunk)
    inside = BoundingBox.parse("16-20_16-32_32-40")
    assert np.array_equal(made.read(inside), chunk.cutout(inside).array)
    assert len(made.missing(BOUNDS)) == 3 * 2 * 3 - 1


def test_margins_are_cut_off_at_the_end_of_the_image_too(volume: MakeVolume, run_step: RunStep) -> None:
    made = volume("v", BOUNDS, dtype="uint8")
    chunk = noise(BoundingBox.parse("8-20_12-32_28-40"))  # 4 voxels around the box, as far as there is image
    chunk = Chunk(chunk.array, chunk.voxel_offset, bounds=BOUNDS)
    run_step(SavePrecomputed(volume_path=made.path), bbox=BoundingBox.parse("8-24_16-32_32-48"), chunk=chunk)
    inside = BoundingBox.parse("8-20_16-32_32-40")
    assert np.array_equal(made.read(inside), chunk.cutout(inside).array)


def test_a_hole_in_a_larger_output_volume_is_refused(volume: MakeVolume, run_step: RunStep) -> None:
    made = volume("v", BOUNDS, dtype="uint8")
    part = noise(BoundingBox.parse("0-8_0-16_0-16"))
    task = Task(bbox=BoundingBox.parse("0-8_0-16_0-32"), values={"chunk": part}, voxel_size=part.voxel_size)
    with pytest.raises(ChunkMismatch, match="would leave a hole"):
        run_step(SavePrecomputed(volume_path=made.path), task)
    assert len(made.missing(BOUNDS)) == 18


def test_boxes_that_share_blocks_are_refused_and_nothing_is_written(volume: MakeVolume, run_step: RunStep) -> None:
    made = volume("v", BOUNDS, dtype="uint8")
    with pytest.raises(BoxNotAligned, match="0-8_0-16_0-32"):
        run_step(SavePrecomputed(volume_path=made.path), chunk=noise(BoundingBox.parse("0-8_0-16_0-30")))
    with pytest.raises(BoxOutsideVolume):
        run_step(SavePrecomputed(volume_path=made.path), chunk=noise(BoundingBox.parse("40-48_0-16_0-16")))
    assert len(made.missing(BOUNDS)) == 18


def test_float_saturates_and_the_chunk_in_memory_stays(volume: MakeVolume, run_step: RunStep) -> None:
    """Named defects of the peer: 1.5 became 126, and the chunk itself was scaled."""
    made = volume("v", BOUNDS, dtype="uint8")
    chunk = Chunk(np.full(BOUNDS.size, 1.5, np.float32))
    run_step(SavePrecomputed(volume_path=made.path), chunk=chunk)
    assert (made.read(BOUNDS) == 255).all()
    assert (chunk.array == 1.5).all()


def test_voxels_that_were_not_numbers_are_counted(volume: MakeVolume, run_step: RunStep) -> None:
    made = volume("v", BOUNDS, dtype="uint8")
    array = np.full(BOUNDS.size, 0.5, np.float32)
    array[3, 4, 5:7] = np.nan
    (written,) = run_step(SavePrecomputed(volume_path=made.path), chunk=Chunk(array, BOUNDS.start)).written
    assert written.nan == 2


def test_black_blocks_are_written_too(volume: MakeVolume, run_step: RunStep) -> None:
    """Named defect of the peer: black blocks were deleted, which looks like a hole."""
    made = volume("v", BOUNDS, dtype="uint8")
    run_step(SavePrecomputed(volume_path=made.path), chunk=Chunk(np.zeros(BOUNDS.size, np.uint8)))
    assert made.missing(BOUNDS) == []


def test_volume_is_not_made_by_saving(tmp_path: Path, run_step: RunStep) -> None:
    with pytest.raises(ConfigError, match="create-info"):
        run_step(SavePrecomputed(volume_path=f"file://{tmp_path}/v"), chunk=noise(BOUNDS))
    assert not (tmp_path / "v").exists()


def test_blocks_that_did_not_arrive_are_noticed(volume: MakeVolume, run_step: RunStep, monkeypatch: pytest.MonkeyPatch) -> None:
    made = volume("v", BOUNDS, dtype="uint8")
    monkeypatch.setattr(PrecomputedVolume, "write", lambda *_: None)
    with pytest.raises(StorageUnavailable, match="18 blocks are absent after writing"):
        run_step(SavePrecomputed(volume_path=made.path), chunk=noise(BOUNDS))


def test_dry_run_and_dark_chunks_write_nothing(volume: MakeVolume, run_step: RunStep) -> None:
    made = volume("v", BOUNDS, dtype="uint8")
    task = Task(values={"chunk": noise(BOUNDS)})
    with SavePrecomputed(volume_path=made.path).open(Run(needed_box=lambda b, _: b, dry_run=True)) as step:
        step(task)
    run_step(SavePrecomputed(volume_path=made.path, intensity_threshold=254), chunk=noise(BOUNDS))
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
