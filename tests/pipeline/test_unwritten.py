from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.job.record import Written
from chunkflow_worker.operators.save_npy import SaveNpy
from chunkflow_worker.pipeline.chain import Pipeline
from chunkflow_worker.pipeline.operator import Operator
from chunkflow_worker.pipeline.task import SkipTask, Task
from chunkflow_worker.volumes.precomputed.info import create_volume
from chunkflow_worker.volumes.precomputed.volume import PrecomputedVolume

BOUNDS = BoundingBox.parse("0-8_0-16_0-16")
BOX = BoundingBox.parse("0-8_0-16_8-24")  # sticks out of the volumes


class Place:
    """A folder with an input of zeros, of two mips, and outputs of one and of two mips."""

    def __init__(self, folder: Path):
        self.folder = folder
        for name, mips in (("in", 1), ("out", 0), ("levels", 1)):
            self.create(name, mips, (8, 8, 8))
        self.create("coarse", 0, (16, 16, 16))
        for mip in (0, 1):
            volume = PrecomputedVolume(self.path("in"), mip)
            volume.write(volume.bounds, np.zeros(volume.bounds.size, np.uint8))

    def create(self, name: str, mips: int, voxel_size: tuple[float, float, float]) -> None:
        create_volume(
            self.path(name), bounds=BOUNDS, voxel_size=voxel_size, block_size=Vec3(4, 4, 4),
            dtype="uint8", max_mip=mips, factor=Vec3(2, 2, 2),
        )  # fmt: skip

    def path(self, name: str) -> str:
        return f"file://{self.folder}/{name}"

    def load(self, mip: int = 0) -> dict[str, Any]:
        return {"op": "load-precomputed", "volume_path": self.path("in"), "mip": mip}

    def save(self, name: str = "out", **options: Any) -> dict[str, Any]:
        return {"op": "save-precomputed", "volume_path": self.path(name)} | options

    def pyramid(self, name: str = "levels", **options: Any) -> dict[str, Any]:
        return {"op": "downsample-upload", "volume_path": self.path(name)} | options

    def plugin(self, text: str) -> dict[str, Any]:
        (self.folder / "own.py").write_text(text)
        return {"op": "plugin", "file": str(self.folder / "own.py"), "input_names": "chunk"}


SKIP = {"op": "skip-all-zero"}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def skipped(*chain: dict[str, Any], bbox: BoundingBox = BOX) -> Task:
    """The task of a chain that skips it."""
    task = Task(bbox=bbox)
    with Pipeline.parse({"operators": list(chain)}).open() as opened, pytest.raises(SkipTask):
        opened.run(task)
    return task


def empty(place: Place, *boxes: tuple[str, int, str]) -> list[Written]:
    return [Written(place.path(name), mip, box, empty=True) for name, mip, box in boxes]


def test_the_places_are_those_of_the_savers_after_the_skip(place: Place) -> None:
    task = skipped(place.load(), SKIP, place.save(), place.save("levels", mip=1))
    assert task.written == empty(place, ("out", 0, "0-8_0-16_8-24"), ("levels", 1, "0-4_0-8_4-12"))
    assert task.unchecked == []


def test_what_was_written_before_the_skip_stays_written(place: Place) -> None:
    inside = BoundingBox.parse("0-8_0-16_8-16")
    chain = (place.load(), place.save(), SKIP, place.save("levels"))
    task = skipped(*chain, bbox=inside)
    assert [(w.volume, w.bbox, w.empty) for w in task.written] == [
        (place.path("out"), str(inside), False),
        (place.path("levels"), str(inside), True),
    ]


def test_a_box_that_is_moved_or_made_coarser_is_followed(place: Place) -> None:
    moved = {"op": "adjust-bbox", "corner_offset": [0, 0, -8, 0, 0, 0]}
    cropped = {"op": "crop-margin", "margin_size": [0, 0, 4, 0, 0, 4], "crop_bbox": True}
    chain = (place.load(), SKIP, moved, place.save(), cropped, {"op": "downsample"})
    task = skipped(*chain, place.save("coarse"))
    assert task.written == empty(place, ("out", 0, "0-8_0-16_0-24"), ("coarse", 0, "0-4_0-8_2-10"))
    assert task.unchecked == []


def test_a_plugin_does_not_move_the_box_of_a_task(place: Place) -> None:
    plugin = place.plugin("def execute(chunk): return chunk\n") | {"output_names": "chunk"}
    task = skipped(place.load(), SKIP, plugin, place.save())
    assert task.written == empty(place, ("out", 0, "0-8_0-16_8-24"))


@pytest.mark.parametrize(
    ("mip", "box", "options", "boxes"),
    [
        (0, BOX, {"stop_mip": 2}, [("levels", 1, "0-4_0-8_4-12")]),
        (
            0,
            BOX,
            {"stop_mip": 3, "start_mip": 0},
            [
                ("levels", 0, "0-8_0-16_8-24"),
                ("levels", 1, "0-4_0-8_4-12"),
                ("levels", 2, "0-2_0-4_2-6"),
            ],
        ),
        (1, BoundingBox.parse("0-4_0-8_0-8"), {"stop_mip": 3}, [("levels", 2, "0-2_0-4_0-4")]),
    ],
)
def test_the_levels_of_a_pyramid_are_all_empty(
    place: Place,
    mip: int,
    box: BoundingBox,
    options: dict[str, Any],
    boxes: list[tuple[str, int, str]],
) -> None:
    task = skipped(place.load(mip), SKIP, place.pyramid(**options), bbox=box)
    assert task.written == empty(place, *boxes)


def test_a_volume_that_the_chain_would_have_made_is_empty_too(place: Place) -> None:
    create = {
        "op": "create-info", "volume_path": place.path("new"), "volume_size": [8, 16, 16],
        "block_size": [4, 4, 4], "voxel_size": [8, 8, 8],
    }  # fmt: skip
    task = skipped(place.load(), SKIP, create, place.save("new"))
    assert task.written == empty(place, ("new", 0, "0-8_0-16_8-24"))
    assert task.unchecked == []


def test_places_that_are_not_known_are_named_and_not_claimed(place: Place, tmp_path: Path) -> None:
    files = {"op": "save-npy", "file_name": str(tmp_path / "f_")}
    sections = {"op": "save-pngs", "output_path": str(tmp_path)}  # named by those of the chunk
    flag = {"op": "mark-complete", "prefix": str(tmp_path / "flag_")}
    unknown = place.pyramid("coarse", stop_mip=2)  # has no level with the chunk's voxels
    task = skipped(place.load(), SKIP, files, sections, unknown, flag, place.save())
    assert task.unchecked == ["save-pngs", "downsample-upload"]
    names = (f"f_{task.bbox}.npy", f"flag_{task.bbox}")
    assert task.no_files == [f"file://{tmp_path}/{name}" for name in names]
    assert task.written == empty(place, ("out", 0, "0-8_0-16_8-24"))


def test_a_task_that_is_done_already_leaves_what_it_left(place: Place, tmp_path: Path) -> None:
    (tmp_path / f"flag_{BOX}").touch()
    by_file = {"op": "skip-task-by-file", "prefix": str(tmp_path / "flag_")}
    by_blocks = {"op": "skip-task-by-blocks-in-volume", "volume_path": place.path("in")}
    own = place.plugin(
        "from chunkflow_worker.api import SkipTask\ndef execute(c): raise SkipTask('x')\n"
    )
    for skip in (by_file, by_blocks, own):
        task = skipped(place.load(), skip, place.save(), place.pyramid(stop_mip=2))
        assert task.written == []
        assert task.unchecked == ["save-precomputed", "downsample-upload"]


def test_a_plugin_may_say_that_there_is_nothing(place: Place) -> None:
    raises = "raise SkipTask('x', empty=True)"
    own = place.plugin(f"from chunkflow_worker.api import SkipTask\ndef execute(c): {raises}\n")
    task = skipped(place.load(), own, place.save())
    assert task.written == empty(place, ("out", 0, "0-8_0-16_8-24"))


def test_what_operators_write_and_do_not_note_is_named(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As an operator of another package may write.
    monkeypatch.setattr("chunkflow_worker.operators.save_npy.atomic_file", nullcontext)
    monkeypatch.setattr(SaveNpy, "files_of", Operator.files_of)
    task = Task(bbox=BOUNDS)
    flag = {"op": "mark-complete", "prefix": str(tmp_path / "flag_")}
    files = {"op": "save-npy", "file_name": str(tmp_path / "f_"), "name": "files"}
    chain = {"operators": [place.load(), place.save(), files, flag]}
    with Pipeline.parse(chain).open() as opened:
        opened.run(task)
    assert [written.volume for written in task.written] == [place.path("out")]
    assert task.unchecked == ["files"]
