"""Errors for values of the wrong kind name the operator, the box, the value, what it is, and what
the operator takes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chunkflow_worker.errors import ConfigError, PermanentError, RetryableError
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.image.points import Points
from chunkflow_worker.operators import neuroglancer as page
from chunkflow_worker.pipeline.chain import Pipeline
from chunkflow_worker.pipeline.operator import find_operator
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.volumes.precomputed.info import create_volume

BOX, BOUNDS = BoundingBox.parse("8-12_16-24_16-24"), BoundingBox.parse("0-32_0-32_0-32")


def chunk(
    dtype: str, channels: int = 0, start: tuple[int, int, int] = BOX.start, **about: Any
) -> Chunk:
    shape = (channels, *BOX.size) if channels else BOX.size
    return Chunk(np.ones(shape, dtype), Vec3.of(start), **about)


MAP, MAPS = chunk("float32"), chunk("float32", 3)
GREY, GREYS, MOVED = chunk("uint8"), chunk("uint8", 2), chunk("uint8", start=(0, 0, 0))
IDS = chunk("uint32", layer_type="segmentation")
TWO_IDS = chunk("uint32", 2, layer_type="segmentation")
SEGMENTATION = "a segmentation is needed: whole numbers in one channel"

CASES = [
    # The operator needs a segmentation, and gets a map or several channels.
    ("connected-components", {}, MAP, "takes a mask or a segmentation; give --threshold"),
    ("connected-components", {}, TWO_IDS, "has 2 channels: connected-components takes one"),
    ("mask-out-objects", {"dust_size_threshold": 1}, MAP, SEGMENTATION),
    ("mask-out-objects", {"dust_size_threshold": 1}, TWO_IDS, SEGMENTATION),
    ("evaluate-segmentation", {"groundtruth_chunk_name": "other"}, MAP, SEGMENTATION),
    (
        "evaluate-segmentation",
        {"segmentation_chunk_name": "other", "groundtruth_chunk_name": "chunk"},
        TWO_IDS,
        SEGMENTATION,
    ),
    ("mesh", {"output_path": "meshes"}, MAP, SEGMENTATION),
    ("mesh", {"output_path": "meshes"}, TWO_IDS, SEGMENTATION),
    (
        "mesh",
        {"output_path": "meshes"},
        IDS.with_array(-IDS.array.astype(np.int32)),
        "holds -1, and object ids are not negative",
    ),
    ("skeletonize", {}, MAP, SEGMENTATION),
    ("skeletonize", {}, TWO_IDS, SEGMENTATION),
    ("view", {"image_chunk_name": "other", "segmentation_chunk_name": "chunk"}, MAP, SEGMENTATION),
    ("neuroglancer", {}, TWO_IDS, SEGMENTATION),
    (
        "downsample",
        {},
        chunk("float32", layer_type="segmentation"),
        "a segmentation holds whole numbers",
    ),
    # The number of channels is wrong.
    ("channel-voting", {}, MAP, "czyx with 2 to 255 channels is needed"),
    (
        "quantize",
        {},
        GREY,
        r"a map is needed, float of 3 channels \(affinities\) or of one \(a probability\)",
    ),
    ("quantize", {}, GREYS, "a map is needed, float of 3 channels"),
    (
        "inference",
        {"framework": "identity", "input_patch_size": (4, 8, 8), "output_patch_overlap": (0, 0, 0)},
        MAPS,
        "takes 1",
    ),
    (
        "multiply",
        {"input_names": "other", "multiplier_name": "chunk"},
        MAPS,
        "it must have as many, or one",
    ),
    (
        "save-pngs",
        {"output_path": "pngs"},
        GREYS,
        "takes one channel, or a float map of 3 channels",
    ),
    ("save-precomputed", {"volume_path": "grey"}, GREYS, r"takes 1 channels of \[4, 8, 8\]"),
    ("save-zarr", {"store": "grey.zarr"}, GREYS, "has 1 channels, and the chunk has 2"),
    # The dtype is wrong.
    ("normalize-intensity", {}, MAP, "takes grey values of type uint8"),
    ("normalize-contrast", {}, IDS, "takes grey values of type uint8"),
    ("normalize-section-shang", {}, MAP, "no greatest grey: give --nominalmax"),
    ("normalize-section-shang", {}, chunk("bool"), "takes numbers"),
    ("save-tif", {"compression": "jpeg"}, MAP, "takes uint8"),
    ("save-nrrd", {}, chunk("float16"), "load it with --dtype float32"),
    # The boxes do not fit.
    (
        "evaluate-segmentation",
        {"groundtruth_chunk_name": "other"},
        MOVED,
        "they must cover the same box",
    ),
    ("multiply", {"multiplier_name": "other"}, MOVED, "they must cover the same box"),
    ("view", {"segmentation_chunk_name": "other"}, MOVED, "they must cover the same box"),
    ("crop-margin", {}, MOVED, f"does not cover the task's box {BOX}"),
    (
        "crop-margin",
        {"margin_size": (2, 1, 1, 2, 1, 1)},
        MAP,
        r"nothing left without the margin \[2, 1, 1, 2, 1, 1\]",
    ),
    (
        "downsample",
        {"factor": (8, 8, 8)},
        chunk("uint8", bounds=BOUNDS),
        "for example 8-16_16-24_16-24",
    ),
    ("mesh", {"output_path": "meshes"}, MOVED, f"Voxels of the box {BOX} are missing"),
    (
        "inference",
        {"framework": "identity", "input_patch_size": (4, 8, 8), "output_patch_overlap": (0, 0, 0)},
        MOVED,
        f"no voxel of the box {BOX}",
    ),
    (
        "save-precomputed",
        {"volume_path": "grey"},
        chunk("uint8", start=(99, 0, 0)),
        "which is 0-32_0-32_0-32",
    ),
    (
        "save-precomputed",
        {"volume_path": "grey"},
        chunk("uint8", start=(9, 16, 16)),
        "the nearest box of whole blocks is 8-16",
    ),
    (
        "save-zarr",
        {"store": "grey.zarr"},
        chunk("uint8", start=(99, 0, 0)),
        "which is 0-32_0-32_0-32",
    ),
    # The operator needs a chunk and gets another value, or the reverse.
    ("threshold", {}, Points(np.ones((2, 3))), "a chunk is needed"),
    ("save-h5", {"input_name": "chunk", "file_name": "h5/"}, {"a": 1}, "a chunk is needed"),
    ("neuroglancer", {}, "text", "the page shows chunks, synapses, points and skeletons"),
    ("save-points", {"input_name": "chunk", "file_path": "points/"}, GREY, "points are needed"),
    (
        "save-synapses",
        {"input_name": "chunk", "file_path": "synapses/"},
        GREY,
        "synapses are needed",
    ),
    ("save-swc", {"input_name": "chunk"}, GREY, "a mapping of ids to skeletons is needed"),
]


def run(op: str, options: dict[str, Any], box: BoundingBox | None = BOX, **values: Any) -> None:
    """Run one operator, as the pipeline runs it."""
    with Pipeline((find_operator(op).model_validate(options),)).open() as opened:
        opened.run(Task(box, dict(values)))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder for outputs of the test; no browser is opened."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("chunkflow_worker.view.microviewer.show", lambda *_: None)
    monkeypatch.setattr(page, "_wait_for_the_user", lambda: None)


@pytest.mark.parametrize(
    ("op", "options", "value", "needed"), CASES, ids=lambda v: v if isinstance(v, str) else None
)
def test_the_error_names_the_operator_the_value_and_what_is_needed(
    op: str, options: dict, value: Any, needed: str
) -> None:
    if "volume_path" in options:
        create_volume(
            options["volume_path"],
            bounds=BOUNDS,
            voxel_size=(1, 1, 1),
            block_size=Vec3(8, 8, 8),
            dtype="uint8",
        )
    if "store" in options:
        run(op, options | {"shape": BOUNDS.size, "chunk_size": (4, 8, 8)}, chunk=GREY)
    with pytest.raises(PermanentError, match=needed) as caught:
        run(op, options, chunk=value, other=GREY)
    text = str(caught.value)
    assert text.startswith(f"{op} on {BOX}: ")
    array = f" {value.array.dtype} {value.array.shape}" if hasattr(value, "array") else ""
    box = f" {value.bbox}" if isinstance(value, Chunk) else ""
    assert f"\n    chunk: {type(value).__name__}{box}{array}" in text


def test_the_error_of_a_plugin_lists_its_values(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def execute(chunk):\n    return chunk.array.no_such_thing\n")
    with pytest.raises(
        RetryableError,
        match=rf"mine.py:2: AttributeError.*\n    chunk: Chunk {BOX} uint8 \(4, 8, 8\)",
    ):
        run("plugin", {"file": "mine", "input_names": "chunk"}, chunk=GREY)


@pytest.mark.parametrize(
    ("op", "options", "text"),
    [
        (
            "load-h5",
            {"file_name": "cutouts/"},
            r"load-h5: file_name: 'cutouts/': .* a prefix .* needs a box.*\n    check the path",
        ),
        (
            "skip-task-by-file",
            {"prefix": "flags/"},
            r"skip-task-by-file: prefix: 'flags/': .* there is no box\n    give the chain",
        ),
        (
            "create-info",
            {"volume_path": "new", "block_size": (8, 8, 8)},
            r"create-info: .*the format has no bool\n    legal: uint8",
        ),
        (
            "mask",
            {"volume_path": "~no-such-user/mask"},
            r"mask: path: ~no-such-user/mask: no user of this machine is named no-such-user",
        ),
    ],
)
def test_the_error_for_a_wrong_option_names_the_operator(op: str, options: dict, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        run(op, options, box=None, chunk=chunk("bool"))
