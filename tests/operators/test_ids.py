"""Ids stay ids: every operator keeps each id of a segmentation exactly, or refuses it.

The catalog says which operators there are. A new one needs a line in one of the tables here.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from chunkflow_worker.config.catalog import folder_names
from chunkflow_worker.errors import ChunkMismatch, ConfigError
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.pipeline.operator import find_operator
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.volumes.precomputed.info import create_volume
from chunkflow_worker.volumes.precomputed.volume import PrecomputedVolume
from tests.support.paths import ROOT

INTEGERS = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64")
BOX = BoundingBox.parse("2-4_4-8_6-10")
PLUGINS = ROOT / "examples" / "plugins"

few = settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
fewer = settings(few, max_examples=8)  # where files are written, or ids of any type are refused


@st.composite
def segmentations(draw: st.DrawFn) -> Chunk:
    """Ids at both ends of a type, and above what floats hold. Wide integers need no layer type."""
    kind = np.dtype(draw(st.sampled_from(INTEGERS)))
    low, high = np.iinfo(kind).min, np.iinfo(kind).max
    odd = [2**11 + 1, 2**24 + 1, 2**53 + 1, 2**60 + 7, 2**63 + 1025, -(2**53) - 1]
    edges = [i for i in (0, 1, low, low + 1, high, high - 1, *odd) if low <= i <= high]
    chosen = draw(st.lists(st.sampled_from(edges) | st.integers(low, high), min_size=1, max_size=6))
    places = draw(st.randoms(use_true_random=False))
    ids = np.array([places.choice(chosen) for _ in range(BOX.voxels)], kind).reshape(BOX.size)
    told = kind.itemsize < 4 or draw(st.booleans())
    return Chunk(ids, BOX.start, (40, 8, 8), "segmentation" if told else "image")


def same(before: Chunk, after: Chunk, options: dict[str, Any]) -> None:
    """The same ids at the same places."""
    part = before.cutout(after.bbox)
    assert after.array.tolist() == part.array.tolist()
    assert (after.dtype, after.is_segmentation) == (before.dtype, True)


def most_frequent(before: Chunk, after: Chunk, options: dict[str, Any]) -> None:
    assert (after.dtype, after.is_segmentation) == (before.dtype, True)
    for z, y, x in np.ndindex(after.array.shape):
        block = before.array[2 * z : 2 * z + 2, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2]
        counts = Counter(block.ravel().tolist())
        assert counts[after.array[z, y, x].item()] == max(counts.values())


def where_the_mask_is_on(before: Chunk, after: Chunk, options: dict[str, Any]) -> None:
    on = (MASK != 0).ravel().tolist()
    expected = [i if m else 0 for i, m in zip(before.array.ravel().tolist(), on, strict=True)]
    assert after.array.ravel().tolist() == expected
    assert (after.dtype, after.is_segmentation) == (before.dtype, True)


def without_dust(before: Chunk, after: Chunk, options: dict[str, Any]) -> None:
    counts = Counter(before.array.ravel().tolist())
    size = options["dust_size_threshold"]
    expected = [i if counts[i] >= size else 0 for i in before.array.ravel().tolist()]
    assert after.array.ravel().tolist() == expected
    assert after.dtype == before.dtype


def above_the_threshold(before: Chunk, after: Chunk, options: dict[str, Any]) -> None:
    threshold = int(options["threshold"])
    assert after.array.tolist() == [
        [[int(i > threshold) for i in row] for row in rows] for rows in before.array.tolist()
    ]


def components(before: Chunk, after: Chunk, options: dict[str, Any]) -> None:
    """Neighbours have the same new id if, and only if, they had the same id."""
    for axis, size in enumerate(BOX.size):
        first, second = (list(range(size - 1)), list(range(1, size)))
        old = before.array.take(first, axis) == before.array.take(second, axis)
        new = after.array.take(first, axis) == after.array.take(second, axis)
        assert np.array_equal(old, new)
    assert np.array_equal(before.array == 0, after.array == 0)


def largest_channel(before: Chunk, after: Chunk, options: dict[str, Any]) -> None:
    first, second = before.array.ravel().tolist(), before.array[::-1].ravel().tolist()
    voted = [1 if a >= b else 2 for a, b in zip(first, second, strict=True)]
    assert after.array.ravel().tolist() == voted


def untouched(before: Chunk, after: Chunk, options: dict[str, Any]) -> None:
    assert after is before


MASK = np.resize([1, 0, 0, 1, 1], BOX.size)
MASK_TYPES = ("bool", "u1", "i2", "u4", "i4", "u8", "i8", "f4", "f8")
Check = Callable[[Chunk, Chunk, dict[str, Any]], None]


@dataclass(frozen=True)
class Call:
    """How to call an operator on the segmentation `chunk`, and what to expect of `made`.

    made: name of the result. `{}` in an option is a folder with the volume `mask`, the mask MASK.
    others: makes other values of the task, of the segmentation.
    """

    check: Check
    options: dict[str, Any] = field(default_factory=dict)
    made: str = "chunk"
    others: Callable[[Chunk], dict[str, Any]] = lambda chunk: {}


def masked(kind: str, value: float, **options: Any) -> Call:
    mask = Chunk((MASK * value).astype(kind), BOX.start, is_image=True)
    options = {"input_names": "chunk", "multiplier_name": "mask"} | options
    return Call(where_the_mask_is_on, options, others=lambda chunk: {"mask": mask})


KEEP: dict[str, list[Call]] = {
    "adjust-bbox": [Call(untouched, {"corner_offset": (0, 0, 0, 0, 0, 0)})],
    "channel-voting": [
        Call(
            largest_channel,
            {"input_chunk_name": "both"},
            others=lambda chunk: {
                "both": chunk.with_array(np.stack([chunk.array, chunk.array[::-1]]))
            },
        )
    ],
    "connected-components": [Call(components)],
    "copy-var": [Call(same, {"to_name": "made"}, "made")],
    "crop-margin": [Call(same, {"margin_size": (0, 1, 1, 1, 0, 1), "crop_bbox": True})],
    "downsample": [Call(most_frequent)],
    "evaluate-segmentation": [Call(untouched, {"groundtruth_chunk_name": "chunk"})],
    "mask": [Call(where_the_mask_is_on, {"volume_path": "file://{}/mask", "mip": 0})],
    "mask-out-objects": [Call(without_dust, {"dust_size_threshold": n}) for n in (0, 3)],
    "multiply": [
        *(masked(kind, 1) for kind in MASK_TYPES),
        *(masked(kind, 255) for kind in ("u1", "i8", "f4")),
        *(
            masked(kind, 1, input_names="mask", multiplier_name="chunk", output_names="chunk")
            for kind in MASK_TYPES
        ),
    ],
    "plugin": [Call(same, {"file": "{}/same", "input_names": "chunk", "output_names": "chunk"})],
    "skip-all-zero": [Call(untouched)],
    "skip-none": [Call(untouched)],
    "threshold": [Call(above_the_threshold, {"threshold": float(n)}) for n in (0, 2**53, 2**63)],
}

# Operators that compute with the values of an image.
REFUSE: dict[str, dict[str, Any]] = {
    "gaussian-filter": {},
    "inference": {"input_patch_size": (1, 2, 2), "output_patch_overlap": (0, 0, 0)}
    | {"framework": "identity", "num_output_channels": 1},
    "normalize-contrast": {},
    "normalize-intensity": {},
    "normalize-section-shang": {"nominalmax": 1},
    "quantize": {},
}

# Formats: the operators that write and read them, with their options, where `{}` is a folder.
Steps = dict[str, dict[str, Any]]
PRECOMPUTED = {"volume_path": "file://{}/a"}


def file_format(name: str, **load: Any) -> tuple[Steps, Steps]:
    path = {"file_name": f"{{}}/a.{name}"}
    return {f"save-{name}": path}, {f"load-{name}": path | load}


def zarr(driver: str) -> tuple[Steps, Steps]:
    store = {"store": "file://{}/a"}
    return {"save-zarr": store | {"driver": driver, "chunk_size": (2, 4, 4)}}, {"load-zarr": store}


def volume(prefix: str, **options: Any) -> tuple[Steps, Steps]:
    address = {"volume_path": f"{prefix}file://{{}}/a"}
    create = address | {"block_size": (2, 4, 4)} | options
    return {"create-volume": create, "save-volume": address}, {"load-volume": address}


def precomputed(encoding: str) -> tuple[Steps, Steps]:
    create = PRECOMPUTED | {"block_size": (2, 4, 4), "encoding": encoding}
    return {"create-info": create, "save-precomputed": PRECOMPUTED}, {
        "load-precomputed": PRECOMPUTED
    }


FORMATS: dict[str, tuple[Steps, Steps]] = {
    "h5": file_format("h5"),
    "tif": file_format("tif"),
    "nrrd": file_format("nrrd"),
    "npy": file_format("npy", voxel_offset=tuple(BOX.start)),
    "png": (
        {"save-pngs": {"output_path": "{}/a", "dtype": "uint16"}},
        {"load-png": {"path": "{}/a", "voxel_offset": (0, *BOX.start[1:])}},
    ),
    "zarr 2": zarr("zarr"),
    "zarr 3": zarr("zarr3"),
    "n5": zarr("n5"),
    "raw": precomputed("raw"),
    "compressed_segmentation": precomputed("compressed_segmentation"),
    "shards": volume("", shard_size=(2, 4, 8)),
    "zarr 3 shards": volume("zarr3://", shard_size=(4, 8, 8)),
    "downsample-upload": (
        {
            "create-info": PRECOMPUTED | {"block_size": (2, 4, 4)},
            "downsample-upload": PRECOMPUTED | {"start_mip": 0, "stop_mip": 1},
        },
        {"load-precomputed": PRECOMPUTED},
    ),
}
CONVERT = {"h5": "save-h5", "tif": "save-tif", "zarr 3": "save-zarr"}
READ_AS = {"h5": "load-h5", "tif": "load-tif", "nrrd": "load-nrrd"}

# These take no chunk, or leave none. Viewers, objects and those that make ids of a whole grid have
# tests of their own.
NO_CHUNK = re.findall(
    r"\S+",
    """
aggregate-skeleton-fragments cleanup create-bbox create-chunk debug delete-task-in-queue delete-var
download-mesh fetch-task-from-file fetch-task-from-sqs generate-tasks load-json load-skeleton
load-synapses log-summary mark-complete merge-labels mesh mesh-manifest mesh-multires napari
neuroglancer object-table relabel save-points save-swc save-synapses setup-env skeletonize
skip-task-by-blocks-in-volume skip-task-by-file unique-labels view
""",
)


def test_each_operator_is_in_one_table() -> None:
    in_formats = {name for save, load in FORMATS.values() for name in (*save, *load)}
    listed = Counter([*KEEP, *REFUSE, *in_formats, *NO_CHUNK])
    assert set(listed) == folder_names(), "say here what a new operator does with ids"
    assert max(listed.values()) == 1


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the volume `mask` and the plugin `same`."""
    made: Path = tmp_path_factory.mktemp("ids")
    path = f"file://{made}/mask"
    create_volume(path, bounds=BOX, voxel_size=(40, 8, 8), block_size=Vec3(2, 4, 4), dtype="uint8")
    PrecomputedVolume(path).write(BOX, (MASK * 255).astype(np.uint8))
    (made / "same.py").write_text("def execute(chunk):\n    return chunk.array.copy()\n")
    return made


def placed(options: dict[str, Any], folder: object) -> dict[str, Any]:
    return {k: v.format(folder) if isinstance(v, str) else v for k, v in options.items()}


@pytest.mark.parametrize(
    ("name", "call"), [(name, call) for name, calls in KEEP.items() for call in calls]
)
@few
@given(chunk=segmentations())
def test_an_operator_keeps_ids_exactly(
    run_step, folder: Path, name: str, call: Call, chunk: Chunk
) -> None:
    assume(chunk.array.any() or name not in ("skip-all-zero", "evaluate-segmentation"))
    # If the multiplier is of few bits, it is the mask.
    assume(call.options.get("multiplier_name") != "chunk" or chunk.dtype.itemsize >= 4)
    operator = find_operator(name)(**placed(call.options, folder))
    task = Task(bbox=BOX, values={"chunk": chunk, **call.others(chunk)})
    before = chunk.array.copy()
    call.check(chunk, run_step(operator, task).chunk(call.made), call.options)
    assert np.array_equal(chunk.array, before), "the input is unchanged"


@pytest.mark.parametrize("name", REFUSE)
@fewer
@given(chunk=segmentations())
def test_an_operator_for_images_refuses_ids(run_step, name: str, chunk: Chunk) -> None:
    before = chunk.array.copy()
    with pytest.raises(ChunkMismatch, match=r"is a segmentation|takes grey values"):
        run_step(find_operator(name)(**REFUSE[name]), chunk=chunk)
    assert np.array_equal(chunk.array, before)


@pytest.mark.parametrize("name", FORMATS)
@fewer
@given(chunk=segmentations())
def test_a_round_trip_restores_ids_or_refuses_them(run_step, name: str, chunk: Chunk) -> None:
    save, load = FORMATS[name]
    with TemporaryDirectory() as place:
        try:
            run_all(run_step, save, place, chunk)
        except (ChunkMismatch, ConfigError):
            if not format_lacks(name, chunk):
                raise
            assert not [p for p in Path(place).rglob("*") if p.is_file() and p.name != "info"]
            return
        back = run_all(run_step, load, place, None)
    assert back.array.tolist() == chunk.array.tolist()
    assert back.bbox == chunk.bbox
    assert back.dtype == ("uint16" if name == "png" else chunk.dtype)


@pytest.mark.parametrize("name", [*CONVERT, *(f"{name}, read" for name in READ_AS)])
@few
@given(chunk=segmentations(), target=st.sampled_from(["u1", "u2", "u4", "u8", "f4", "f8"]))
def test_ids_are_converted_exactly_or_refused(
    run_step, name: str, chunk: Chunk, target: str
) -> None:
    kind, _, reads = name.partition(", ")
    save, load = FORMATS[kind]
    converts = READ_AS[kind] if reads else CONVERT[kind]
    dtype = {converts: {"dtype": np.dtype(target).name}}
    largest = {"f4": 2**24, "f8": 2**53}.get(target) or np.iinfo(target).max
    smallest = -largest if target[0] == "f" else 0
    numbers = chunk.array.ravel().tolist()
    with TemporaryDirectory() as place:

        def there_and_back() -> Chunk:
            run_all(run_step, save, place, chunk, dtype)
            return run_all(run_step, load, place, None, dtype)

        if smallest <= min(numbers) and max(numbers) <= largest:
            back = there_and_back()
            assert [int(i) for i in back.array.ravel().tolist()] == numbers
            assert back.dtype == target
        else:
            with pytest.raises(ChunkMismatch, match="id of the segmentation is"):
                there_and_back()
            assert reads or not any(Path(place).iterdir())


def format_lacks(name: str, chunk: Chunk) -> bool:
    """Whether the format has no type for these ids."""
    if name == "png":
        return bool(chunk.array.max() > 65535 or chunk.array.min() < 0)
    if name == "compressed_segmentation":
        return chunk.dtype not in ("uint32", "uint64")
    return name in ("raw", "shards", "downsample-upload") and chunk.dtype == "int64"


def run_all(
    run_step: Any, steps: Steps, place: str, chunk: Chunk | None, more: Steps | None = None
) -> Chunk:
    """Run the operators of a format. Returns the last one's chunk."""
    for name, options in steps.items():
        options = placed(options, place) | (more or {}).get(name, {})
        values = {} if chunk is None else {"chunk": chunk}
        task = run_step(find_operator(name)(**options), **values)
    made: Chunk = task.chunk("chunk")
    return made


PLUGIN_CHECKS: dict[str, str] = {
    "agglomerate": "takes affinities; has a test of its own with fragments of 64 bits",
    "clahe": "refuses",
    "detect_points": "makes points",
    "fill_holes": "keeps",
    "histogram": "makes a file",
    "load_mrc": "reads",
    "median_filter": "refuses",
    "rescale": "refuses",
    "transpose": "keeps",
}


def test_each_plugin_is_in_the_table() -> None:
    assert {path.stem for path in PLUGINS.glob("*.py")} == PLUGIN_CHECKS.keys()


@pytest.mark.parametrize("name", [n for n, what in PLUGIN_CHECKS.items() if what == "refuses"])
@fewer
@given(chunk=segmentations())
def test_a_plugin_for_images_refuses_ids(run_step, name: str, chunk: Chunk) -> None:
    with pytest.raises(ChunkMismatch, match=r"segmentation|an image|needs a uint8 image"):
        run_step(plugin(name), chunk=chunk)


@pytest.mark.parametrize("name", [n for n, what in PLUGIN_CHECKS.items() if what == "keeps"])
@few
@given(chunk=segmentations())
def test_a_plugin_keeps_ids_exactly(run_step, name: str, chunk: Chunk) -> None:
    made = run_step(plugin(name), chunk=chunk).chunk("chunk")
    expected = chunk.array if name == "fill_holes" else chunk.array.transpose()
    assert made.array.tolist() == expected.tolist()  # nothing is enclosed in two sections
    assert (made.dtype, made.is_segmentation) == (chunk.dtype, True)


def plugin(name: str) -> Any:
    return find_operator("plugin")(
        file=str(PLUGINS / name), input_names="chunk", output_names="chunk"
    )


@pytest.mark.parametrize("ids", [[2**60 + 7, 5], [2**60 + 7, 5.0], [float(2**60)], [7.5], ["x"]])
def test_selected_ids_are_taken_exactly_or_refused(run_step, tmp_path, ids: list[Any]) -> None:
    (tmp_path / "ids.json").write_text(json.dumps(ids))
    chunk = Chunk(np.array([[[2**60 + 6, 2**60 + 7, 5, 7]]], np.uint64))
    select = find_operator("mask-out-objects")(selected_obj_ids=str(tmp_path / "ids.json"))
    if len(ids) == 2:
        made = run_step(select, chunk=chunk).chunk("chunk").array
        assert made.tolist() == [[[0, 2**60 + 7, 5, 0]]]
    else:
        with pytest.raises(ConfigError, match="does not hold ids"):
            run_step(select, chunk=chunk)


@pytest.mark.parametrize("target", ["uint8", "float32"])
def test_a_new_image_of_converted_ids_is_a_segmentation(run_step, tmp_path, target: str) -> None:
    """Its type alone would not tell."""
    store = f"file://{tmp_path}/a"
    ids = Chunk(np.array([[[0, 1, 200]]], np.uint64))
    run_step(find_operator("save-zarr")(store=store, dtype=target), chunk=ids)
    back = run_step(find_operator("load-zarr")(store=store)).chunk("chunk")
    assert (back.array.tolist(), back.layer_type) == (ids.array.tolist(), "segmentation")
