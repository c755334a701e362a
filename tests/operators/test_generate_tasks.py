from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from chunkflow_worker.errors import ConfigError
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.operators.generate_tasks import GenerateTasks
from chunkflow_worker.pipeline.operator import Run
from chunkflow_worker.volumes.precomputed.volume import PrecomputedVolume

RUN = Run(needed_box=lambda box, bounds: box)
MakeVolume = Callable[..., PrecomputedVolume]


def test_boxes_of_a_volume(volume: MakeVolume) -> None:
    """Named defect of the peer: generate-tasks crashed on numpy 2."""
    made = volume("v", BoundingBox.parse("-4-4_0-16_8-32"), dtype="uint8")
    boxes = [
        str(t.bbox) for t in GenerateTasks(volume_path=made.path, chunk_size=(8, 16, 16)).tasks()
    ]
    assert boxes == ["-4-4_0-16_8-24", "-4-4_0-16_24-40"]


def test_bounds_are_read_through_a_public_link(monkeypatch: pytest.MonkeyPatch) -> None:
    read_paths = []

    def bounds(path: str, mip: int, use_https: bool) -> BoundingBox:
        read_paths.append((path, use_https))
        return BoundingBox.parse("0-8_0-16_0-16")

    monkeypatch.setattr("chunkflow_worker.volumes.open_volume.volume_bounds", bounds)
    for public in (True, False):
        operator = GenerateTasks(
            volume_path="gs://lab/em", chunk_size=(8, 16, 16), use_https=public
        )
        list(operator.tasks())
    assert read_paths == [("gs://lab/em", True), ("gs://lab/em", False)]


@pytest.mark.parametrize("suffix", [".npy", ".txt"])
def test_boxes_are_written_to_a_file_and_run_as_in_chunkflow(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"tasks{suffix}"
    operator = GenerateTasks(chunk_size=(4, 4, 4), grid_size=(1, 1, 2), file_path=str(file))
    with operator.open(RUN):
        assert [str(t.bbox) for t in operator.tasks()] == ["0-4_0-4_0-4", "0-4_0-4_4-8"]
    rows = np.load(file) if suffix == ".npy" else np.loadtxt(file, delimiter=",", dtype=int)
    assert rows.tolist() == [[0, 0, 0, 4, 4, 4], [0, 0, 4, 4, 4, 8]]


def test_disbatch_selects_one_box(monkeypatch: pytest.MonkeyPatch) -> None:
    operator = GenerateTasks(chunk_size=(4, 4, 4), grid_size=(1, 1, 3), disbatch=True)
    monkeypatch.setenv("DISBATCH_REPEAT_INDEX", "2")
    assert [str(t.bbox) for t in operator.tasks()] == ["0-4_0-4_8-12"]
    monkeypatch.setenv("DISBATCH_REPEAT_INDEX", "3")
    with pytest.raises(ConfigError, match="a number from 0 to 2"):
        list(operator.tasks())


def test_the_errors_name_a_cure() -> None:
    with pytest.raises(ConfigError, match="chunkflow-producer enqueue --queue q"):
        list(GenerateTasks(chunk_size=(4, 4, 4), queue_name="q").tasks())
    with (
        pytest.raises(ConfigError, match=r"legal: \.npy, \.txt"),
        GenerateTasks(chunk_size=(4, 4, 4), file_path="a.csv").open(RUN),
    ):
        pass
