"""What each operator writes is recorded and checked: the operators are those whose facts say that
they write, so a new one needs a case here.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from chunkflow_worker.config.catalog import facts_of, folder_names
from chunkflow_worker.errors import ConfigError
from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.job.grid import Grid
from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.operators.mesh import Mesh
from chunkflow_worker.pipeline.operator import Run, TaskSource, find_operator
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.volumes.create_volume import create_volume
from chunkflow_worker.volumes.precomputed.volume import PrecomputedVolume
from tests.support.damage import truncate
from tests.support.handled_job import do_job
from tests.support.two_boxes import BOUNDS, CHUNK, TwoBoxes

Chain = Callable[[TwoBoxes, Path], list[dict[str, Any]]]


def chunk_to(op: str, option: str, **options: Any) -> Chain:
    """Load the image, and write it to files whose names begin with the folder."""

    def make(job: TwoBoxes, out: Path) -> list[dict[str, Any]]:
        return [job.load(), {"op": op, option: f"{out}/c_", **options}]

    return make


def objects_to(op: str, option: str, *middle: dict[str, Any], **options: Any) -> Chain:
    """Load the segmentation, and write its objects to a folder."""

    def make(job: TwoBoxes, out: Path) -> list[dict[str, Any]]:
        return [job.load("seg"), *middle, {"op": op, option: f"{out}/", **options}]

    return make


def to_zarr(driver: str) -> Chain:
    def make(job: TwoBoxes, out: Path) -> list[dict[str, Any]]:
        save = {"op": "save-zarr", "store": f"file://{out}", "chunk_size": [8, 8, 8]}
        return [job.load(), save | {"driver": driver}]

    return make


def to_volume(job: TwoBoxes, out: Path) -> list[dict[str, Any]]:
    job.make_volume("out")
    save = {"op": "save-precomputed", "volume_path": f"file://{out}", "create_thumbnail": True}
    return [job.load(), save]


def to_store(prefix: str, **options: Any) -> Chain:
    def make(job: TwoBoxes, out: Path) -> list[dict[str, Any]]:
        address, size = f"{prefix}file://{out}", Vec3(4, 8, 8)
        shape: dict[str, Any] = {"bounds": BOUNDS, "voxel_size": (40, 8, 8), "block_size": size}
        create_volume(address, **shape, dtype="uint8", **options)
        return [job.load(), {"op": "save-volume", "volume_path": address}]

    return make


def to_jpeg(job: TwoBoxes, out: Path) -> list[dict[str, Any]]:
    job.make_volume("out", encoding="jpeg")
    return [job.load(), {"op": "save-precomputed", "volume_path": f"file://{out}"}]


def to_two_volumes(job: TwoBoxes, out: Path) -> list[dict[str, Any]]:
    chain = [job.load()]
    for name in ("first", "second"):
        job.make_volume(f"out/{name}")
        chain += [{"op": "save-precomputed", "volume_path": f"file://{out}/{name}", "name": name}]
    return chain


def to_pyramid(job: TwoBoxes, out: Path) -> list[dict[str, Any]]:
    job.make_volume("out", block_size=(2, 4, 4))
    options = {"factor": [2, 2, 2], "chunk_mip": 0, "start_mip": 0, "stop_mip": 2}
    return [job.load(), {"op": "downsample-upload", "volume_path": f"file://{out}", **options}]


def pyramid_of(prefix: str) -> Chain:
    def make(job: TwoBoxes, out: Path) -> list[dict[str, Any]]:
        _, save = to_store(prefix)(job, out)
        options = {"factor": [2, 2, 2], "start_mip": 0, "stop_mip": 2}
        return [job.load(), {**save, "op": "downsample-upload", **options}]

    return make


def points(job: TwoBoxes, out: Path) -> list[dict[str, Any]]:
    np.save(job.folder / "points.npy", np.arange(12.0).reshape(4, 3))
    load = {"op": "load-npy", "file_name": f"{job.folder}/points.npy", "output_name": "points"}
    return [load, {"op": "save-points", "input_name": "points", "file_path": f"{out}/"}]


def synapses(job: TwoBoxes, out: Path) -> list[dict[str, Any]]:
    (job.folder / "syns.json").write_text('{"order": ["z", "y", "x"], "pre": [[1, 2, 3]]}')
    load = {"op": "load-synapses", "file_path": f"{job.folder}/syns.json"}
    return [load, {"op": "save-synapses", "input_name": "syns", "file_path": f"{out}/s_"}]


def flag(job: TwoBoxes, out: Path) -> list[dict[str, Any]]:
    return [job.load(), {"op": "mark-complete", "prefix": f"file://{out}/", "suffix": ".done"}]


def flag_of_zeros(job: TwoBoxes, out: Path) -> list[dict[str, Any]]:
    PrecomputedVolume(f"file://{job.folder}/em").write(BOUNDS, np.zeros(BOUNDS.size, np.uint8))
    return [job.load(), {"op": "skip-all-zero", "prefix": f"{out}/", "suffix": ".zero"}]


def flag_of_none(job: TwoBoxes, out: Path) -> list[dict[str, Any]]:
    np.save(job.folder / "points.npy", np.zeros((0, 3)))
    load = {"op": "load-npy", "file_name": f"{job.folder}/points.npy", "output_name": "points"}
    return [load, {"op": "skip-none", "input_name": "points", "prefix": f"{out}/"}]


def downloaded(job: TwoBoxes, out: Path) -> list[dict[str, Any]]:
    folder = f"file://{job.folder}/meshes"
    array = PrecomputedVolume(f"file://{job.folder}/seg").read(BOUNDS)
    whole = Chunk(array, voxel_size=(40, 8, 8), layer_type="segmentation")
    with Mesh(output_path=folder, manifest=True).open(Run(lambda box, _: box)) as step:
        step(Task(values={"chunk": whole}))
    get = {"op": "download-mesh", "volume_path": folder, "input": "chunk", "out_pre": f"{out}/"}
    return [job.load("seg"), get]


PLUGIN = """
import numpy as np
from pathlib import Path
from chunkflow_worker.api import note_files

def execute(chunk, output_path):
    path = Path(output_path, f"{chunk.bbox}.npz")
    path.parent.mkdir(exist_ok=True)
    np.savez(path, chunk.array)
    note_files(path)
"""


def own_file(job: TwoBoxes, out: Path) -> list[dict[str, Any]]:
    (job.folder / "own.py").write_text(PLUGIN)
    plugin = {"op": "plugin", "file": f"{job.folder}/own.py", "input_names": "chunk"}
    return [job.load(), plugin | {"output_path": f"{out}/"}]


SKELETONIZE = {"op": "skeletonize", "dust_threshold": 0}
SKELETONS_AND_PLACES = {"dust_threshold": 0, "spatial_index": True}
CASES: dict[str, dict[str, Chain]] = {
    "save-h5": {"h5": chunk_to("save-h5", "file_name")},
    "save-npy": {"npy": chunk_to("save-npy", "file_name")},
    "save-nrrd": {"nrrd": chunk_to("save-nrrd", "file_name")},
    "save-tif": {"tif": chunk_to("save-tif", "file_name")},
    "save-pngs": {"pngs": chunk_to("save-pngs", "output_path")},
    "save-points": {"points": points},
    "save-synapses": {"synapses": synapses},
    "save-swc": {"swc": objects_to("save-swc", "output_prefix", SKELETONIZE)},
    "skeletonize": {
        "skeletons": objects_to("skeletonize", "fragments_path", dust_threshold=0),
        "places": objects_to("skeletonize", "fragments_path", **SKELETONS_AND_PLACES),
    },
    "mesh": {
        "fragments": objects_to("mesh", "output_path"),
        "ply": objects_to("mesh", "output_path", output_format="ply"),
        "places": objects_to("mesh", "output_path", spatial_index=True),
    },
    "download-mesh": {"meshes": downloaded},
    "mark-complete": {"done": flag},
    "skip-all-zero": {"zeros": flag_of_zeros},
    "skip-none": {"none": flag_of_none},
    "save-precomputed": {"volume": to_volume, "jpeg": to_jpeg, "two": to_two_volumes},
    "plugin": {"own": own_file},
    "save-volume": {
        "jpeg": to_store("", encoding="jpeg"),
        "shards": to_store("", shard_size=CHUNK),
        "zarr": to_store("zarr2://"),
        "zarr3": to_store("zarr3://"),
        "zarr3-shards": to_store("zarr3://", shard_size=CHUNK),
        "n5": to_store("n5://"),
    },
    "downsample-upload": {
        "pyramid": to_pyramid,
        "zarr": pyramid_of("zarr2://"),
        "zarr3": pyramid_of("zarr3://"),
        "n5": pyramid_of("n5://"),
    },
    "save-zarr": {name: to_zarr(name) for name in ("zarr", "zarr3", "n5")},
}
LABELS = {"chunk_size": [*CHUNK]}
CASES["unique-labels"] = {"labels": objects_to("unique-labels", "work_path", **LABELS)}
CHAINS = {f"{op}-{name}": chain for op, cases in CASES.items() for name, chain in cases.items()}

MOST_SPOILT = 3
"""Files of one chain that are spoilt in turn; of more, some that are spread evenly."""

OF_VOXELS = ("save-precomputed-", "save-volume-", "save-zarr-", "downsample-upload-")
"""How the names of the chains begin whose output is blocks of voxels."""

NOT_OF_BOXES = {
    "aggregate-skeleton-fragments": {"fragments_path": "{out}"},
    "cleanup": {"dir": "{out}", "suffix": ".h5"},
    "mesh-manifest": {"volume_path": "{out}"},
    "mesh-multires": {"volume_path": "{out}", "output_path": "{out}/multires"},
}
"""Operators that workers refuse, since what they write belongs to no box."""


OF_REGIONS = ("merge-labels", "object-table")
"""Operators whose tasks are regions of several boxes."""


def writes(name: str) -> bool:
    return any(place.is_written for place in facts_of(name).places({}))


def test_there_is_a_case_for_each_operator_that_writes() -> None:
    writing = {name for name in folder_names() if writes(name)}
    of_boxes = writing - {*NOT_OF_BOXES, *OF_REGIONS} - {n for n in writing if facts_of(n).creates}
    assert {n for n in of_boxes if not issubclass(find_operator(n), TaskSource)} == {*CASES}


@pytest.mark.parametrize("name", NOT_OF_BOXES)
def test_what_belongs_to_no_box_is_refused(name: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    options = {key: text.format(out=out) for key, text in NOT_OF_BOXES[name].items()}
    with pytest.raises(ConfigError):
        TwoBoxes(tmp_path).work({"op": name, **options})


def output_of(out: Path) -> list[Path]:
    """The files of one kind that hold output: not those that say how it is stored."""
    files = [p for p in sorted(out.rglob("*")) if p.is_file() and not p.name.startswith(".")]
    return [p for p in files if p.name not in ("info", "provenance") and p.suffix != ".json"]


def replace_by_other_bytes(path: Path) -> None:
    """Of the same size, like the file of another run."""
    content = path.read_bytes()
    path.write_bytes(bytes(byte ^ 0xFF for byte in content) or b"not empty")


cut_in_half = truncate(0.5)


@contextmanager
def damaged(path: Path, damage: Callable[[Path], object]) -> Iterator[None]:
    """A file that is damaged until the block ends."""
    copy = path.parent / f".{path.name}.copy"
    shutil.copy2(path, copy)
    damage(path)
    yield
    copy.replace(path)


@pytest.mark.parametrize("name", CHAINS)
def test_what_was_written_is_checked(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job, out = TwoBoxes(tmp_path), tmp_path / "out"
    job.work(*CHAINS[name](job, out))
    for options in ([], ["--quick"]):
        status, report = job.verify(capsys, *options)
        assert (status, report["problems"]) == (0, [])
    assert job.left_out(capsys) == 2

    files = output_of(out)
    path = files[len(files) // 2]
    for damage in (Path.unlink, cut_in_half, replace_by_other_bytes):
        if damage is cut_in_half and path.stat().st_size == 0:
            continue
        with damaged(path, damage):
            status, report = job.verify(capsys)
            assert (status, report["not_checked"]) == (1, 0)
            assert path.name in str(report["problems"])
            # Of a block of another time, a quick check only says that it is not checked.
            may_be_unchecked = damage is not Path.unlink and name.startswith(OF_VOXELS)
            assert job.verify(capsys, "--quick")[0] in ({1, 3} if may_be_unchecked else {1})
            assert job.left_out(capsys) < 2
    assert [job.verify(capsys, *options)[0] for options in ([], ["--quick"])] == [0, 0]

    for each in files[:: -(-len(files) // MOST_SPOILT)]:
        with damaged(each, replace_by_other_bytes):
            status, report = job.verify(capsys)
            assert (status, report["not_checked"]) == (1, 0), each
            assert each.name in str(report["problems"])

    for old in output_of(out):
        old.unlink()
    assert [job.verify(capsys, *options)[0] for options in ([], ["--quick"])] == [1, 1]
    assert job.left_out(capsys) == 0


def test_what_is_written_of_a_region_is_checked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job, out = TwoBoxes(tmp_path), tmp_path / "out"
    job.work(*CHAINS["unique-labels-labels"](job, out))
    before = set(output_of(out))
    job.ledger = Ledger(f"{tmp_path}/regions")
    merge = {"op": "merge-labels", "work_path": f"{out}/"}
    table = {"op": "object-table", "work_path": f"{out}/", "output_path": f"{out}/table/"}
    job.file.write_text(yaml.safe_dump({"operators": [merge, table]}))
    whole = Grid(volume_path=f"file://{tmp_path}/em", chunk_size=BOUNDS.size)
    do_job(job.file, job.ledger, whole)
    assert job.verify(capsys)[0] == 0
    written = set(output_of(out)) - before
    assert {path.parent.name for path in written} > {"table"}
    for path in written:
        for damage in (Path.unlink, cut_in_half, replace_by_other_bytes):
            with damaged(path, damage):
                status, report = job.verify(capsys)
                assert (status, report["not_checked"]) == (1, 0), path
