from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from chunkflow_worker.config.catalog import folder_names
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.job.grid import Grid
from chunkflow_worker.job.output import output_blocks, refusal
from chunkflow_worker.job.volumes import Configured
from chunkflow_worker.pipeline.operator import find_operator

VOLUME = {"type": "image", "data_type": "uint8", "num_channels": 1}
SCALE = {
    "voxel_offset": [0, 0, 0],
    "chunk_sizes": [[4, 4, 4]],
    "resolution": [1, 1, 1],
    "key": "1_1_1",
    "encoding": "raw",
}


@pytest.mark.parametrize("respect", [True, False])
def test_membership_is_that_of_the_list(respect: bool) -> None:
    grid = Grid.model_validate(
        {
            "roi_start": [1, 2, 3],
            "roi_stop": [8, 9, 10],
            "chunk_size": [4, 3, 5],
            "respect_chunk_size": respect,
            "task_index_start": 1,
        }
    )
    boxes = grid.boxes()
    assert all(box in boxes for box in boxes)
    assert BoundingBox.parse("1-5_2-5_3-8") not in boxes, "before the part of this job"
    assert BoundingBox.parse("5-9_8-11_13-18") not in boxes
    assert "1-5_2-5_3-8" not in boxes


@pytest.mark.parametrize(
    ("grid", "operators", "why"),
    [
        (
            {"chunk_size": (8, 8, 8), "roi_size": (20, 16, 16)},
            "",
            None,
        ),  # the last ones end where the volume does
        (
            {"chunk_size": (8, 8, 6), "roi_size": (8, 8, 12)},
            "",
            "box 0-8_0-8_0-6 would share blocks of [4, 4, 4] voxels",
        ),
        (
            {"chunk_size": (8, 8, 8), "roi_start": (0, 2, 0), "roi_size": (8, 8, 8)},
            "",
            "the nearest box of whole blocks is 0-8_0-12",
        ),
        ({"chunk_size": (4, 4, 4), "roi_size": (40, 4, 4)}, "", "box 20-24_0-4_0-4 is outside"),
        (
            {"chunk_size": (8, 8, 6), "roi_size": (8, 8, 12)},
            "{op: downsample}, ",
            None,
        ),  # what is written is another box
        (
            {"chunk_size": (8, 8, 6), "roi_size": (8, 8, 12)},
            "{op: save-precomputed, volume_path: 3}, ",
            "would share",
        ),
    ],
)
def test_boxes_that_do_not_fit_the_output_are_noticed(
    tmp_path: Path, grid: dict[str, Any], operators: str, why: str | None
) -> None:
    scale = SCALE | {"size": [16, 16, 20]}
    (tmp_path / "info").write_text(json.dumps(VOLUME | {"scales": [scale]}))
    chain = yaml.safe_load(f"[{operators}{{op: save-precomputed, volume_path: /absent}}]")
    chain.append({"op": "save-precomputed", "volume_path": str(tmp_path)})
    reason = refusal(Grid.model_validate(grid).boxes(), map(Configured.read, chain))
    assert reason is None if why is None else why in (reason or "")


@pytest.mark.parametrize(
    ("chunk", "options", "why"),
    [
        ((64, 64, 64), {}, None),
        ((32, 64, 64), {}, "chunk sizes must be multiples of [64, 64, 64]"),
        ((32, 64, 64), {"stop_mip": 4}, None),
        ((32, 60, 64), {"stop_mip": 2}, "level that is [2, 2, 2] times as coarse"),
        ((4, 32, 32), {"factor": [1, 2, 2], "stop_mip": 4}, None),
        ((4, 32, 16), {"factor": [1, 2, 2], "stop_mip": 4}, "multiples of [4, 32, 32]"),
        ((8, 8, 8), {"start_mip": 0, "stop_mip": 2}, None),
        ((8, 8, 8), {"stop_mip": "high"}, None),  # workers tell
    ],
)
def test_boxes_must_fit_the_coarsest_level_that_a_chain_makes(
    tmp_path: Path, chunk: tuple[int, int, int], options: dict[str, Any], why: str | None
) -> None:
    """The volume may lack these levels: the workers add them."""
    scale = SCALE | {"size": [256, 256, 256]}
    (tmp_path / "info").write_text(json.dumps(VOLUME | {"scales": [scale]}))
    operator = {"op": "downsample-upload", "volume_path": str(tmp_path)} | options
    boxes = Grid(chunk_size=chunk, roi_size=(128, 128, 128)).boxes()
    reason = refusal(boxes, [Configured.read(operator)])
    assert reason is None if why is None else why in (reason or "")


def test_the_levels_of_a_chain_are_those_of_its_operators() -> None:
    """The producer reads the defaults from the facts."""
    for name in folder_names():
        kind = find_operator(name)
        for option, default in kind.pyramid.items():
            assert kind.model_fields[option].default == default


def test_boxes_that_fit_several_outputs_are_multiples_of_all_their_blocks(tmp_path: Path) -> None:
    for name, block in (("a", [4, 8, 6]), ("b", [6, 2, 9])):
        scale = SCALE | {"size": [16, 16, 20], "chunk_sizes": [block]}
        (tmp_path / name).mkdir()
        (tmp_path / name / "info").write_text(json.dumps(VOLUME | {"scales": [scale]}))
    saves = [
        Configured.read({"op": "save-precomputed", "volume_path": str(tmp_path / name)})
        for name in ("a", "b", "absent")
    ]
    assert output_blocks(saves) == (18, 8, 12)
    assert output_blocks(saves[2:]) == (1, 1, 1)
