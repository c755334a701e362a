from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from chunkflow_worker.errors import BoxOutsideVolume
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.operators.skip_task_by_blocks_in_volume import SkipTaskByBlocksInVolume
from chunkflow_worker.pipeline.task import SkipTask, Task
from chunkflow_worker.volumes.precomputed.volume import PrecomputedVolume

BOUNDS = BoundingBox.sized((3, 0, 0), (20, 32, 32))  # the last blocks along z are clipped
MakeVolume = Callable[..., PrecomputedVolume]


def skips(run_step: Callable[..., Task], path: str, box: BoundingBox) -> bool:
    try:
        run_step(SkipTaskByBlocksInVolume(volume_path=path), bbox=box)
    except SkipTask:
        return True
    return False


def test_an_empty_volume_skips_nothing(run_step: Callable[..., Task], volume: MakeVolume) -> None:
    """Named defect of the peer: an empty volume counted as complete, so that a resumed job did
    nothing and reported success.
    """
    assert not skips(run_step, volume("v", BOUNDS, dtype="uint8").path, BOUNDS)


def test_checks_the_blocks_of_the_given_mip(
    run_step: Callable[..., Task], volume: MakeVolume
) -> None:
    path = volume("v", np.ones((8, 32, 32), np.uint8), factor=Vec3(1, 2, 2), max_mip=1).path
    box = BoundingBox.parse("0-8_0-16_0-16")
    run_step(SkipTaskByBlocksInVolume(volume_path=path, mip=1), bbox=box)
    PrecomputedVolume(path, 1).write(box, np.ones(box.size, np.uint8))
    with pytest.raises(SkipTask):
        run_step(SkipTaskByBlocksInVolume(volume_path=path, mip=1), bbox=box)


starts = st.tuples(st.integers(-2, 22), st.integers(-5, 31), st.integers(-5, 31))
sizes = st.tuples(*[st.integers(1, 40)] * 3)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(starts, sizes)
@example((3, 0, 0), (8, 16, 32))
@example((4, 1, 1), (1, 1, 1))
def test_skips_only_if_all_blocks_exist(
    run_step: Callable[..., Task], volume: MakeVolume, start: tuple, size: tuple
) -> None:
    made = volume("v", BOUNDS, dtype="uint8")
    stored = np.zeros(BOUNDS.size, bool)
    for i, block in enumerate(BOUNDS.split(Vec3(8, 16, 16))):
        if i not in (2, 7):
            file = Path(made.path.removeprefix("file://")) / made.block_name(block)
            file.parent.mkdir(exist_ok=True)
            file.touch()
            stored[block.slices(BOUNDS.start)] = True
    box = BoundingBox.sized(start, size)
    inside = box.clip(BOUNDS)
    if inside is None:
        with pytest.raises(BoxOutsideVolume):
            skips(run_step, made.path, box)
    else:
        assert skips(run_step, made.path, box) == stored[inside.slices(BOUNDS.start)].all()


@pytest.mark.parametrize("offset", [(0, 0, 0), (-7, 5, 3)])
def test_finds_blocks_in_shards(
    run_step: Callable[..., Task], sharded_volume: Callable[..., str], offset: tuple
) -> None:
    image = np.random.default_rng(0).integers(1, 255, (20, 70, 40), np.uint8)
    blocks = list(BoundingBox.sized(offset, image.shape).split(Vec3(8, 16, 16)))
    missing = {0, 7, 11, 12, 30, len(blocks) - 1}
    path = sharded_volume(
        "v", image, offset, [block for i, block in enumerate(blocks) if i not in missing]
    )
    assert {i for i, block in enumerate(blocks) if not skips(run_step, path, block)} == missing
    assert not skips(run_step, path, BoundingBox(blocks[1].start, blocks[-1].stop))
    assert skips(run_step, path, BoundingBox(blocks[1].start, blocks[4].stop))


def test_an_empty_sharded_volume_skips_nothing(
    run_step: Callable[..., Task], sharded_volume: Callable[..., str]
) -> None:
    path = sharded_volume("v", np.ones((8, 16, 16), np.uint8), (0, 0, 0), [])
    assert not skips(run_step, path, BoundingBox.parse("0-8_0-16_0-16"))
