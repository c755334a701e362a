from __future__ import annotations

from pathlib import Path

import pytest

from chunkflow_worker.errors import (
    BlockDamaged,
    DataMissing,
    StorageRefused,
    StorageUnavailable,
)
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.volumes.precomputed.info import create_volume
from chunkflow_worker.volumes.precomputed.volume import PrecomputedVolume
from chunkflow_worker.volumes.volume import blocks_of
from producer.look.findings import Findings

BOUNDS = BoundingBox.parse("0-1_0-1_0-9")


@pytest.fixture
def findings(tmp_path: Path) -> Findings:
    path = f"file://{tmp_path}/v"
    size = BOUNDS.size // (1, 1, 9)
    create_volume(path, bounds=BOUNDS, voxel_size=(1, 1, 1), block_size=size, dtype="uint8")
    return Findings("box", PrecomputedVolume(path))


def read(findings: Findings, errors: dict[int, Exception]) -> list[int]:
    """Read the nine blocks, some of which raise; returns those that were read, by their place."""
    tried = []

    def read_one(block: BoundingBox) -> int:
        tried.append(block.start.x)
        if block.start.x in errors:
            raise errors[block.start.x]
        return block.start.x

    def read_all() -> list[tuple[BoundingBox, int]]:
        if errors:
            raise next(iter(errors.values()))
        return [(block, block.start.x) for block in blocks]

    blocks = list(blocks_of(findings.volume, BOUNDS))
    found = [place for _, place in findings.readable(blocks, read_all, read_one)]
    assert bool(tried) == bool(errors), "one by one only if they can't be read together"
    return found


def found_in(findings: Findings) -> dict[str, list[int]]:
    return {
        problem.kind + (f" ({problem.detail})" if problem.detail else ""): [
            int(name.split("/")[1].split("-")[0]) for name in problem.blocks
        ]
        for problem in findings.problems()
    }


def test_all_are_read_together(findings: Findings) -> None:
    assert read(findings, {}) == list(range(9))
    assert found_in(findings) == {}


def test_each_that_cannot_be_read_is_found_as_what_it_is(findings: Findings) -> None:
    errors = {
        0: DataMissing("x"),
        2: BlockDamaged("x"),
        3: StorageRefused("403\ncure"),
        8: DataMissing("x"),
    }
    assert read(findings, errors) == [1, 4, 5, 6, 7]
    assert found_in(findings) == {"missing": [0, 8], "damaged": [2], "unreadable (403)": [3]}


def test_those_that_are_refused_cost_little_and_are_all_tried(findings: Findings) -> None:
    refused: dict[int, Exception] = {place: StorageRefused("403") for place in range(1, 8)}
    assert read(findings, refused) == [0, 8]
    assert found_in(findings) == {"unreadable (403)": list(range(1, 8))}


def test_after_failures_in_a_row_the_rest_is_not_tried(findings: Findings) -> None:
    failing: dict[int, Exception] = {p: StorageUnavailable("500") for p in (1, 2, 4, 5, 6)}
    assert read(findings, failing) == [0, 3]
    assert found_in(findings) == {
        "unreadable (500)": [1, 2, 4, 5, 6],
        "unreadable (not tried, since storage failed for those before)": [7, 8],
    }
