"""Operators read and write their values under the names in their options."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.pipeline.operator import Operator, find_operator
from chunkflow_worker.pipeline.task import SkipTask, Task

BOX = BoundingBox.sized((1, 2, 3), (4, 16, 20))
VOXELS = np.random.default_rng(0).integers(1, 255, BOX.size).astype(np.uint8)
IMAGE = Chunk(VOXELS, BOX.start, (40.0, 8.0, 8.0), bounds=BOX)
IDS = IMAGE.with_array(IMAGE.array.astype(np.uint32) // 64, layer_type="segmentation")
MAPS = IMAGE.with_array(
    np.stack([IMAGE.array, 255 - IMAGE.array, IMAGE.array // 2]).astype(np.float32) / 255
)

MAKERS: dict[str, tuple[Chunk, dict[str, Any]]] = {
    "channel-voting": (MAPS, {}),
    "connected-components": (IDS, {}),
    "downsample": (IMAGE, {"factor": (1, 2, 2)}),
    "mask-out-objects": (IDS, {"dust_size_threshold": 1000}),
    "multiply": (IMAGE, {"multiplier_name": "other"}),
    "normalize-contrast": (IMAGE, {}),
    "normalize-intensity": (IMAGE, {}),
    "normalize-section-shang": (IMAGE, {}),
    "quantize": (MAPS, {}),
    "threshold": (MAPS, {}),
}
WRITERS = {
    "save-h5": "{}/a.h5",
    "save-npy": "{}/a.npy",
    "save-nrrd": "{}/a.nrrd",
    "save-pngs": "{}/",
    "save-tif": "{}/a.tif",
    "save-zarr": "file://{}/a",
}
RunStep = Callable[..., Task]


def input_option(kind: type[Operator]) -> str:
    return next(
        f for f in ("input_chunk_name", "input_name", "input_names") if f in kind.model_fields
    )


@pytest.mark.parametrize("op", MAKERS)
def test_makers_use_the_given_names(op: str, run_step: RunStep) -> None:
    (chunk, options), kind = MAKERS[op], find_operator(op)
    usual = run_step(kind(**options), chunk=chunk, other=chunk).values
    named = {input_option(kind): "a"} | (
        {"output_chunk_name": "b"} if "output_chunk_name" in kind.model_fields else {}
    )
    values = run_step(kind(**options, **named), a=chunk, other=chunk).values
    (expected,) = [usual[name] for name in kind(**options).writes()]
    (made,) = [values[name] for name in kind(**options, **named).writes()]
    assert np.array_equal(made.array, expected.array)
    assert made.bbox == expected.bbox
    assert made.dtype == expected.dtype
    assert made.layer_type == expected.layer_type
    assert not np.array_equal(made.array, chunk.array)
    if "output_chunk_name" in named:
        assert values["a"] is chunk


@pytest.mark.parametrize("op", WRITERS)
def test_writers_use_the_given_name(op: str, run_step: RunStep, tmp_path: Path) -> None:
    kind = find_operator(op)
    place = next(f for f in ("file_name", "output_path", "store") if f in kind.model_fields)
    found = []
    for name, values in (("usual", {"chunk": IMAGE}), ("named", {"chunk": MAPS, "a": IMAGE})):
        folder = tmp_path / name
        folder.mkdir()
        names = {} if name == "usual" else {input_option(kind): "a"}
        run_step(kind(**{place: WRITERS[op].format(folder)}, **names), bbox=IMAGE.bbox, **values)
        found.append(
            {f.relative_to(folder): f.stat().st_size for f in folder.rglob("*") if f.is_file()}
        )
    assert found[0] == found[1] != {}


def test_skip_all_zero_uses_the_given_name(run_step: RunStep) -> None:
    kind = find_operator("skip-all-zero")
    dark = IMAGE.with_array(np.zeros_like(IMAGE.array))
    run_step(kind(input_chunk_name="a"), a=IMAGE, chunk=dark)
    with pytest.raises(SkipTask):
        run_step(kind(input_chunk_name="a"), a=dark, chunk=IMAGE)
