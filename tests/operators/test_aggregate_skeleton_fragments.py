"""aggregate-skeleton-fragments"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import osteoid
import pytest
from cloudvolume import CloudVolume
from cloudvolume.lib import Bbox

from chunkflow_worker.errors import ChunkMismatch, ConfigError, DataMissing
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.job.share import Share
from chunkflow_worker.operators.aggregate_skeleton_fragments import AggregateSkeletonFragments
from chunkflow_worker.operators.skeletonize import Skeletonize
from chunkflow_worker.pipeline.operator import Run
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.storage.written_file import WrittenFile, noting


def run(operator: Any, task: Task | None = None, dry_run: bool = False) -> None:
    with operator.open(Run(needed_box=lambda b, _: b, dry_run=dry_run)) as step:
        step(task or Task())


def line(*xs: float, y: float = 0) -> osteoid.Skeleton:
    vertices = np.array([(x, y, 0) for x in xs], np.float32)
    edges = np.array([(i, i + 1) for i in range(len(xs) - 1)], np.uint32)
    radii = np.full(len(xs), 50, np.float32)
    return osteoid.Skeleton(vertices, edges, radii, space="physical")


def write_fragments(folder: Path, **skeletons: osteoid.Skeleton) -> Path:
    folder.mkdir(exist_ok=True)
    for name, skeleton in skeletons.items():
        (folder / name.removeprefix("id").replace("__", ":", 1)).write_bytes(
            skeleton.to_precomputed()
        )
    return folder


def read(folder: Path, object_id: int) -> osteoid.Skeleton:
    return osteoid.Skeleton.from_precomputed(
        (folder / str(object_id)).read_bytes(), segid=object_id
    )


def test_fragments_of_each_object_are_joined_to_one_tree(tmp_path: Path) -> None:
    folder = write_fragments(
        tmp_path / "frags",
        id7__a=line(0, 1000, 2000),
        id7__b=line(2000, 3000, 4000),  # starts where the first one ends
        id7__c=line(4060, 5000, 6000),  # starts 60 nm further, within the sum of the radii
        id7__d=line(0, 500, y=90000),  # dust
        id70__a=line(0, 5000),
        id8__a=line(0, 500),  # the only fragment is dust
    )
    run(AggregateSkeletonFragments(fragments_path=str(folder), output_path=str(tmp_path / "out")))
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["7", "70", "info"]
    skeleton = read(tmp_path / "out", 7)
    assert sorted(skeleton.vertices[:, 0].tolist()) == [0, 1000, 2000, 3000, 4000, 4060, 5000, 6000]
    assert skeleton.cable_length() == pytest.approx(6000)
    assert len(skeleton.components()) == 1
    assert len(skeleton.edges) == 7
    info = json.loads((tmp_path / "out" / "info").read_text())
    assert info["@type"] == "neuroglancer_skeletons"
    assert [a["id"] for a in info["vertex_attributes"]] == ["radius", "vertex_types"]


def test_a_skeleton_that_is_a_loop_is_kept(tmp_path: Path) -> None:
    corners = np.array([(0, 0, 0), (3000, 0, 0), (3000, 3000, 0), (0, 3000, 0)], np.float32)
    sides = {}
    for i, name in enumerate(("id7__a", "id7__b", "id7__c", "id7__d")):
        side = corners[[i, (i + 1) % 4]]
        sides[name] = osteoid.Skeleton(
            side, np.array([(0, 1)], np.uint32), np.full(2, 50, np.float32), space="physical"
        )
    run(AggregateSkeletonFragments(fragments_path=str(write_fragments(tmp_path, **sides))))
    assert read(tmp_path, 7).cable_length() == pytest.approx(12000)


def test_the_dust_threshold_option_is_used(tmp_path: Path) -> None:
    folder = write_fragments(tmp_path, id8__a=line(0, 500))
    run(AggregateSkeletonFragments(fragments_path=str(folder), dust_threshold=100))
    assert read(folder, 8).cable_length() == 500


@pytest.mark.parametrize(
    ("prefix", "value", "made"),
    [("7", None, {"7", "70"}), ("7:", "8", {"7"}), (None, "8", {"8"}), (None, 70, {"70"})],
)
def test_the_prefix_comes_from_the_option_or_from_a_value_of_the_task(
    tmp_path: Path, prefix: Any, value: Any, made: set[str]
) -> None:
    folder = write_fragments(
        tmp_path / "frags", id7__a=line(0, 5000), id70__a=line(0, 5000), id8__a=line(0, 5000)
    )
    out = tmp_path / "out"
    task = Task(values={} if value is None else {"prefix": value})
    run(
        AggregateSkeletonFragments(fragments_path=str(folder), output_path=str(out), prefix=prefix),
        task,
    )
    assert {p.name for p in out.iterdir()} == made | {"info"}


def test_fragments_that_skeletonize_writes_per_box_form_the_skeleton_of_the_whole_image(
    tmp_path: Path,
) -> None:
    array = np.zeros((15, 21, 300), np.uint64)
    array[5:10, 8:13, :] = 9
    bounds = BoundingBox.sized((100, -9, 7), array.shape)
    whole = Chunk(array, bounds.start, (33.3, 7.16, 7.16), "segmentation", bounds)
    operator = Skeletonize(fragments_path=str(tmp_path), dust_threshold=10)
    for box in bounds.split(Vec3(15, 21, 90)):
        run(operator, Task(box, {"chunk": whole.cutout(operator.input_box(box, bounds))}))
    run(AggregateSkeletonFragments(fragments_path=str(tmp_path)))
    skeleton = read(tmp_path, 9)
    assert len(skeleton.vertices) == 300
    assert skeleton.cable_length() == pytest.approx(299 * 7.16, rel=1e-5)


def test_cloudvolume_reads_skeletons_in_shards_and_finds_them_by_place(
    tmp_path: Path, volume: Any
) -> None:
    array = np.zeros((16, 64, 300), np.uint64)
    ids = [5, 2**40, 2**64 - 1, *range(100, 106)]
    for n, object_id in enumerate(ids):
        array[5:10, 2 + 7 * n : 6 + 7 * n, 10:250] = object_id
    stored = volume("seg", array, layer_type="segmentation")
    whole = Chunk(array, Vec3(0, 0, 0), (40, 8, 8), "segmentation", stored.bounds)
    fragments = f"{stored.path}/fragments"
    operator = Skeletonize(fragments_path=fragments, dust_threshold=10, spatial_index=True)
    for box in stored.bounds.split(Vec3(16, 64, 90)):
        run(operator, Task(box, {"chunk": whole.cutout(operator.input_box(box, stored.bounds))}))
    run(AggregateSkeletonFragments(fragments_path=fragments, output_path=f"{tmp_path}/single"))
    run(
        AggregateSkeletonFragments(
            fragments_path=fragments,
            output_path=f"{stored.path}/skeletons",
            sharded=True,
            shard_size=10_000,
            spatial_index=True,
        )
    )
    suffixes = [p.suffix for p in (tmp_path / "seg" / "skeletons").iterdir()]
    assert 1 < suffixes.count(".shard") <= len(ids)
    assert suffixes.count(".spatial") == 4
    opened = CloudVolume(stored.path, progress=False)
    assert opened.skeleton.list().tolist() == sorted(ids)
    for object_id in ids:
        found, expected = opened.skeleton.get(object_id), read(tmp_path / "single", object_id)
        assert np.array_equal(found.vertices, expected.vertices)
        assert np.array_equal(found.edges, expected.edges)
        assert np.array_equal(found.radius, expected.radius)
    place = Bbox((8 * 200, 8 * 3, 0), (8 * 220, 8 * 5, 640), dtype=int)
    assert opened.skeleton.spatial_index.query(place) == {5}
    assert {s.id for s in opened.skeleton.get_bbox(place)} == {5}


def test_a_share_without_objects_notes_what_can_be_checked(tmp_path: Path) -> None:
    folder = write_fragments(tmp_path / "frags", id7__a=line(0, 5000))
    for number, made in ((7, {"7", "info"}), (8, {"info"})):
        files: dict[str, WrittenFile] = {}
        with noting(files):
            operator = AggregateSkeletonFragments(
                fragments_path=str(folder), output_path=f"{tmp_path}/out"
            )
            run(operator, Task(Share(number, number + 1, 10).box))
        assert {Path(path).name for path in files} == made


def test_wrong_input_is_refused(tmp_path: Path) -> None:
    folder = write_fragments(tmp_path, id7__a=line(0, 5000))
    operator = AggregateSkeletonFragments(fragments_path=str(folder))
    with pytest.raises(ConfigError, match="all boxes"):
        run(operator, Task(BoundingBox.parse("0-1_0-1_0-1")))
    with pytest.raises(ChunkMismatch, match="start of a name"):
        run(operator, Task(values={"prefix": 1.5}))
    (folder / "7:b").write_bytes(b"no skeleton")
    with pytest.raises(DataMissing, match="7:b"):
        run(operator)


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    folder = write_fragments(tmp_path / "frags", id7__a=line(0, 5000))
    run(
        AggregateSkeletonFragments(fragments_path=str(folder), output_path=str(tmp_path / "out")),
        dry_run=True,
    )
    assert not (tmp_path / "out").exists()
