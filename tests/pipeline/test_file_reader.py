"""A format of three numbers stands for those that are read by a library."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
from pydantic import ValidationError

from chunkflow_worker.config.options import click_options, with_flag
from chunkflow_worker.errors import BoxOutsideVolume, ChunkMismatch, ConfigError, DataMissing
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.pipeline.file_reader import ChunkReader, StoredChunk
from chunkflow_worker.pipeline.operator import Run
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.storage.axes import Window
from chunkflow_worker.storage.voxel_metadata import VoxelMetadata


class LoadSize(ChunkReader):
    """Reads ones; the file holds the size as text."""

    format: ClassVar[str] = "SIZE"
    endings: ClassVar[tuple[str, ...]] = (".size", ".sz")
    op: Literal["load-size"] = "load-size"
    voxel_size: tuple[float, float, float] | None = with_flag(ChunkReader, "voxel_size", "-x")

    def opener(self) -> Callable[[Path], AbstractContextManager[StoredChunk]]:
        @contextmanager
        def open_file(path: Path) -> Iterator[StoredChunk]:
            text, *place = path.read_text().split("@")
            size = tuple(map(int, text.split()))

            def read(window: Window) -> Any:
                return np.ones(size, np.uint8)[window]

            if not place:
                yield StoredChunk(size, read)
            elif place[0] == "?":
                odd = {
                    "voxel_size": "has no unit",
                    "voxel_offset": "has no unit",
                    "axes": "is flat",
                }
                yield StoredChunk(size, read, VoxelMetadata(white=9, ignored=odd))
            else:
                offset = Vec3(*map(int, place[0].split()))
                said = VoxelMetadata((40.0, 4.0, 4.0), offset, layer_type="segmentation")
                yield StoredChunk(size, read, said)

        return open_file


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Task]:
    def read(text: str, box: str = "", name: str = "a.size", **options: Any) -> Task:
        (tmp_path / name).write_text(text)
        operator = LoadSize(file_name=str(tmp_path / options.pop("file", name)), **options)
        task = Task(BoundingBox.parse(box) if box else None)
        with operator.open(Run(needed_box=lambda box, bounds: box.grow((0, 1, 1)))) as step:
            step(task)
        return task

    return read


def test_a_file_that_says_nothing_lies_at_the_origin(read: Callable[..., Task]) -> None:
    task = read("2 3 4")
    chunk = task.chunk("chunk")
    assert str(chunk.bbox) == "0-2_0-3_0-4" == str(chunk.bounds)
    assert (chunk.voxel_size, chunk.layer_type) == ((1.0, 1.0, 1.0), "image")
    assert task.bytes_read == 24


def test_what_the_file_says_counts_unless_options_say_it(read: Callable[..., Task]) -> None:
    chunk = read("2 3 4 @ 8 8 8").chunk("chunk")
    assert str(chunk.bbox) == "8-10_8-11_8-12"
    assert (chunk.voxel_size, chunk.layer_type) == ((40.0, 4.0, 4.0), "segmentation")
    options = {"voxel_offset": (1, 0, 0), "voxel_size": (9, 9, 9), "layer_type": "image"}
    chunk = read("2 3 4 @ 8 8 8", **options, dtype="float32", output_chunk_name="x").chunk("x")
    assert str(chunk.bbox) == "1-3_0-3_0-4"
    assert (chunk.voxel_size, chunk.layer_type) == ((9.0, 9.0, 9.0), "image")
    assert (chunk.dtype, chunk.array.max()) == (np.float32, np.float32(1 / 255))


@pytest.mark.parametrize(
    ("given", "warns"),
    [((40, 8, 8), True), ((40, 4, 8), True), ((40, 4, 4.001), False), (None, False)],
)
def test_another_voxel_size_than_the_file_states_is_told_once(
    given: tuple[float, float, float] | None,
    warns: bool,
    read: Callable[..., Task],
    caplog: pytest.LogCaptureFixture,
) -> None:
    for _ in range(2):
        read("2 3 4 @ 8 8 8", voxel_size=given)
    told = [text for text in caplog.messages if "states voxels of 40 4 4 nm" in text]
    assert len(told) == warns
    if given and warns:
        assert f"--voxel-size {given[0]} {given[1]} {given[2]} replaces it" in told[0]


def test_a_voxel_size_that_the_file_does_not_state_replaces_nothing(
    read: Callable[..., Task], caplog: pytest.LogCaptureFixture
) -> None:
    read("2 3 4", voxel_size=(40, 8, 8))
    assert "replaces" not in caplog.text


def test_the_box_is_read_with_what_later_operators_need(read: Callable[..., Task]) -> None:
    assert str(read("2 9 9", "0-2_4-6_0-2").chunk("chunk").bbox) == "0-2_3-7_0-3"
    with pytest.raises(BoxOutsideVolume, match=r"box 0-2_9-12_0-2 is outside .*a\.size, which is"):
        read("2 9 9", "0-2_9-12_0-2")


def test_a_prefix_is_completed_by_the_box(read: Callable[..., Task]) -> None:
    box = "0-2_0-3_0-4"
    assert read("2 3 4", box, name=f"p_{box}.size", file="p_").chunk("chunk").channels == 1
    with pytest.raises(
        ConfigError, match=r"p_.* a prefix of files needs a box to complete it\n +check the path"
    ):
        read("2 3 4", name="b.size", file="p_")


def test_a_file_of_another_kind_is_missing_data(read: Callable[..., Task]) -> None:
    text = r"a\.size cannot be read as SIZE: it has 'two' where a number belongs"
    with pytest.raises(DataMissing, match=text):
        read("two")


@pytest.mark.parametrize("options", [{"file_name": "s3://a"}, {"voxel_size": (0, 1, 1)}])
def test_wrong_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        LoadSize(**{"file_name": "a.size"} | options)


def test_an_option_can_have_another_flag() -> None:
    flags = {option.name: option.opts for option in click_options(LoadSize)}
    assert flags["voxel_size"] == ["-x", "--voxel-size"]
    assert flags["voxel_offset"] == ["-v", "--voxel-offset"]
    described = ChunkReader.model_fields["voxel_size"].description
    assert LoadSize.model_fields["voxel_size"].description == described


def test_what_is_not_taken_is_told_once_with_the_options_that_set_it(
    read: Callable[..., Task], caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    for _ in range(2):
        chunk = read("2 3 4@?").chunk("chunk")
    assert chunk.array.max() == 8, "turned: 9 is white"
    [record] = caplog.records
    assert record.getMessage() == (
        f"{tmp_path}/a.size has no unit (--voxel-size and --voxel-offset set it), and is flat "
        "(--axes sets it), and says that 0 is white, so its values are turned to make it black "
        "(--no-invert keeps them)"
    )


def test_given_options_are_not_told(
    read: Callable[..., Task], caplog: pytest.LogCaptureFixture
) -> None:
    given = {"voxel_size": (1, 1, 2), "voxel_offset": (0, 0, 0), "axes": "zyx", "invert": False}
    assert read("2 3 4@?", **given).chunk("chunk").array.max() == 1
    assert not caplog.records


def test_files_of_many_boxes_are_told_of_once(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    operator = LoadSize(file_name=f"{tmp_path}/em_")
    with operator.open(Run(needed_box=lambda box, bounds: box)) as step:
        for z in range(3):
            box = BoundingBox.parse(f"0-{z + 1}_0-3_0-4")
            (tmp_path / f"em_{box}.size").write_text(f"{z + 1} 3 4@?")
            step(Task(box))
    assert len(caplog.records) == 1


def test_values_are_turned_if_asked(read: Callable[..., Task]) -> None:
    assert read("2 3 4", invert=True).chunk("chunk").array.max() == 254
    assert read("2 3 4@?", layer_type="segmentation").chunk("chunk").array.max() == 1
    assert read("2 3 4@?", layer_type="segmentation", invert=True).chunk("chunk").array.max() == 8


@pytest.mark.parametrize("dtype", ["int16", "float32", "float64"])
def test_signed_values_and_floats_are_not_turned(
    read: Callable[..., Task], monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    monkeypatch.setattr(np, "uint8", np.dtype(dtype))
    with pytest.raises(ChunkMismatch, match=f"a.size holds {dtype}, and --invert takes"):
        read("2 3 4", invert=True)
