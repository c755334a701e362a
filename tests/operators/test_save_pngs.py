"""save-pngs: the tests read pictures with Pillow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from chunkflow_worker.errors import ChunkMismatch, ConfigError
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.operators.save_pngs import SavePngs
from chunkflow_worker.pipeline.chain import Pipeline
from chunkflow_worker.pipeline.operator import Run
from chunkflow_worker.pipeline.task import Task


def pictures(folder: Path) -> dict[str, np.ndarray[Any, Any]]:
    found = {}
    for path in folder.iterdir():
        with Image.open(path) as image:
            assert image.format == "PNG"
            found[path.name] = np.asarray(image)
    return found


def test_writes_one_picture_per_section_named_by_its_global_z(run_step, tmp_path) -> None:
    array = np.random.default_rng(0).integers(0, 256, (3, 5, 7)).astype(np.uint8)
    task = run_step(
        SavePngs(output_path=f"{tmp_path}/new/pngs"), chunk=Chunk(array, Vec3(41, 100, 1000))
    )
    found = pictures(tmp_path / "new" / "pngs")
    assert sorted(found) == ["00041.png", "00042.png", "00043.png"]
    assert all(p.dtype == np.uint8 for p in found.values())
    assert np.array_equal(np.stack([found[name] for name in sorted(found)]), array)
    assert task.bytes_written == array.nbytes


def test_uint16_pictures(run_step, tmp_path) -> None:
    array = np.array([[[0, 1, 256, 65535]]], np.uint16)
    run_step(SavePngs(output_path=str(tmp_path), dtype="uint16"), chunk=Chunk(array))
    with Image.open(tmp_path / "00000.png") as image:
        assert image.mode == "I;16"
        assert np.asarray(image).tolist() == [[0, 1, 256, 65535]]


@pytest.mark.parametrize(
    ("dtype", "values", "expected"),
    [
        ("uint8", np.array([0, 0.5, 1, 1.5, -1, np.nan], np.float32), [0, 128, 255, 255, 0, 0]),
        ("uint8", np.array([0, 255, 256, 70000, 2**40, 5], np.uint64), [0, 255, 255, 255, 255, 5]),
        ("uint8", np.array([-1, 0, 127, 300, -300, 1], np.int16), [0, 0, 127, 255, 0, 1]),
        (
            "uint16",
            np.array([0, 1.4, 65535, 1e9, -1, np.nan], np.float64),
            [0, 1, 65535, 65535, 0, 0],
        ),
        ("uint16", np.array([0, 70000, 1, 2, 3, 4], np.uint32), [0, 65535, 1, 2, 3, 4]),
    ],
)
def test_values_saturate(run_step, tmp_path, dtype, values, expected) -> None:
    chunk = Chunk(values.reshape(1, 1, -1), is_image=True)
    run_step(SavePngs(output_path=str(tmp_path), dtype=dtype), chunk=chunk)
    assert pictures(tmp_path)["00000.png"].tolist() == [expected]


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("kind", ["float16", "float32", "float64"])
def test_a_map_of_three_channels_is_saved_as_the_mean_of_the_last_two(
    run_step, tmp_path, dtype, kind
) -> None:
    array = np.zeros((3, 1, 1, 4), kind)
    array[:, 0, 0] = [[1, 1, 1, 1], [0, 0.5, 1, 2], [0, 0.25, 1, 2]]
    run_step(SavePngs(output_path=str(tmp_path), dtype=dtype), chunk=Chunk(array))
    picture = pictures(tmp_path)["00000.png"]
    assert picture.dtype == dtype
    assert picture.tolist() == [[0, 96, 255, 255]]  # 0.375 * 255 = 95.6


def test_the_mean_of_half_floats_is_not_rounded_to_half_floats(run_step, tmp_path) -> None:
    array = np.random.default_rng(3).random((3, 1, 64, 64)).astype(np.float16)
    run_step(SavePngs(output_path=str(tmp_path)), chunk=Chunk(array))
    exact = array[1:].astype(np.float64).mean(axis=0)[0] * 255
    assert np.abs(pictures(tmp_path)["00000.png"] - exact).max() <= 0.5 + 1e-4


def test_a_single_channel_is_saved_as_grey(run_step, tmp_path) -> None:
    run_step(
        SavePngs(output_path=str(tmp_path)), chunk=Chunk(np.full((1, 1, 2, 2), 0.2, np.float32))
    )
    assert pictures(tmp_path)["00000.png"].tolist() == [[51, 51], [51, 51]]


@pytest.mark.parametrize(("channels", "dtype"), [(2, "float32"), (4, "float32"), (3, "uint8")])
def test_the_error_for_other_channel_counts_names_a_cure(
    run_step, tmp_path, channels, dtype
) -> None:
    with pytest.raises(
        ChunkMismatch,
        match=f"has {channels} channels of type {dtype}.*load one, for example with load-h5",
    ):
        run_step(
            SavePngs(output_path=str(tmp_path)), chunk=Chunk(np.zeros((channels, 1, 1, 1), dtype))
        )
    assert list(tmp_path.iterdir()) == []


def test_the_chunk_is_cropped_to_the_box_of_the_task(run_step, tmp_path) -> None:
    array = np.arange(4 * 5 * 6, dtype=np.uint8).reshape(4, 5, 6)
    run_step(
        SavePngs(output_path=str(tmp_path)),
        bbox=BoundingBox.parse("1-2_1-4_0-6"),
        chunk=Chunk(array),
    )
    found = pictures(tmp_path)
    assert list(found) == ["00001.png"]
    assert np.array_equal(found["00001.png"], array[1, 1:4])


def test_boxes_along_z_may_share_a_folder_and_boxes_along_x_may_not(tmp_path) -> None:
    def task(text: str) -> Task:
        box = BoundingBox.parse(text)
        return Task(box, {"chunk": Chunk(np.full(box.size, box.start.x, np.uint8), box.start)})

    with SavePngs(output_path=str(tmp_path)).open(Run(needed_box=lambda box, bounds: box)) as step:
        step(task("0-2_0-2_0-2"))
        step(task("2-4_0-2_0-2"))
        step(task("0-2_0-2_0-2"))
        with pytest.raises(ConfigError, match=r"00000.png.*would overwrite"):
            step(task("0-2_0-2_2-4"))
    found = pictures(tmp_path)
    assert sorted(found) == ["00000.png", "00001.png", "00002.png", "00003.png"]
    assert not any(p.any() for p in found.values())


def test_workers_refuse_boxes_that_cover_only_part_of_a_section(tmp_path) -> None:
    """Other workers would write the other parts to the same files."""
    bounds = BoundingBox.parse("0-4_0-2_0-4")
    whole = Chunk(np.zeros(bounds.size, np.uint8), bounds=bounds)
    with SavePngs(output_path=str(tmp_path)).open(
        Run(needed_box=lambda box, bounds: box, recorded=True)
    ) as step:
        slab, part = BoundingBox.parse("1-3_0-2_0-4"), BoundingBox.parse("0-4_0-2_0-2")
        step(Task(slab, {"chunk": whole.cutout(slab)}))
        with pytest.raises(ConfigError, match=r"is a part of its sections, which are 0-4_0-2_0-4"):
            step(Task(part, {"chunk": whole.cutout(part)}))
    assert sorted(pictures(tmp_path)) == ["00001.png", "00002.png"]


def test_a_dry_run_writes_nothing(tmp_path) -> None:
    with SavePngs(output_path=f"{tmp_path}/new").open(
        Run(lambda box, bounds: box, dry_run=True)
    ) as step:
        step(task := Task(values={"chunk": Chunk(np.zeros((1, 1, 1), np.uint8))}))
    assert list(tmp_path.iterdir()) == []
    assert task.bytes_written == 0


@pytest.mark.parametrize(
    ("options", "text"),
    [({"dtype": "uint32"}, "legal: 'uint8' or 'uint16'"), ({"output_path": "gs://b"}, "protocol")],
)
def test_wrong_options_are_refused_without_running_the_chain(options, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        Pipeline.parse({"operators": [{"op": "create-chunk"}, {"op": "save-pngs", **options}]})
