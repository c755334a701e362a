"""Shards as the tasks of a job write them. The objects are skeletons; the tests of mesh-multires
have meshes.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import osteoid
import pytest
import yaml
from cloudvolume.datasource.precomputed.sharding import ShardingSpecification
from pydantic import ValidationError

from chunkflow_worker.errors import BoxOutsideVolume, ConfigError, DataMissing
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.job.grid import Grid
from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.job.record import Record
from chunkflow_worker.operators.aggregate_skeleton_fragments import AggregateSkeletonFragments
from chunkflow_worker.pipeline.operator import Run
from chunkflow_worker.pipeline.task import Task
from producer.cli import main
from tests.support.damage import truncate
from tests.support.handled_job import do_job

IDS = [1, 2, 7, 70, 700, 2**40, 2**63 - 1, 2**63, 2**64 - 1, *range(1000, 1015)]
DUST = 4242


def write_fragments(folder: Path) -> None:
    """Two fragments for each object of IDS; nothing is left of DUST."""
    folder.mkdir()
    for object_id in [*IDS, DUST]:
        length = 1 if object_id == DUST else 4000
        for part in (0, 1):
            nodes = np.array([(part * length, 0, 0), ((part + 1) * length, 0, 0)], np.float32)
            line = osteoid.Skeleton(
                nodes, np.array([(0, 1)], np.uint32), np.full(2, 50, np.float32), space="physical"
            )
            (folder / f"{object_id}:{part}").write_bytes(line.to_precomputed())


def run(operator: AggregateSkeletonFragments, task: Task | None = None, dry: bool = False) -> None:
    with operator.open(Run(needed_box=lambda b, _: b, dry_run=dry)) as step:
        step(task or Task())


class Bones:
    """Fragments in a folder, and the operator that packs them into 8 shards."""

    def __init__(self, folder: Path):
        self.folder, self.out = folder, folder / "out"
        write_fragments(folder / "fragments")
        (size,) = {path.stat().st_size for path in (folder / "fragments").iterdir()}
        self.options: dict[str, Any] = {
            "fragments_path": f"{folder}/fragments/",
            "output_path": f"{self.out}/",
            "sharded": True,
            "shard_size": 2 * size * len(IDS) // 8,
        }

    def run(self, box: str | None = None, dry_run: bool = False, **options: Any) -> None:
        task = Task(BoundingBox.parse(box) if box else None)
        run(AggregateSkeletonFragments(**(self.options | options)), task, dry_run)

    @property
    def shards(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in sorted(self.out.glob("*.shard"))}

    @property
    def ids(self) -> set[int]:
        """The ids in all shards, as CloudVolume takes them apart."""
        from cloudvolume.datasource.precomputed.sharding import ShardReader

        info = json.loads((self.out / "info").read_text())
        spec = ShardingSpecification.from_dict(info["sharding"])
        reader = ShardReader(None, None, spec)
        return {
            int(i) for content in self.shards.values() for i in reader.disassemble_shard(content)
        }


@pytest.fixture
def bones(tmp_path: Path) -> Bones:
    return Bones(tmp_path)


def test_tasks_in_any_order_write_the_bytes_of_one_run(tmp_path: Path) -> None:
    made = []
    for name, boxes in {
        "alone": [None],
        "each": [f"{n}-{n + 1}_0-1_0-1" for n in range(8)],
        "three": ["0-3_0-1_0-1", "3-6_0-1_0-1", "6-9_0-1_0-1", "0-3_0-1_0-1"],
    }.items():
        (tmp_path / name).mkdir()
        bones = Bones(tmp_path / name)
        if boxes != [None]:
            bones.run(prepare=True)
            assert not bones.shards
        random.Random(name).shuffle(boxes)
        for box in boxes:
            bones.run(box)
        assert bones.ids == set(IDS), "each object once, and nothing of the one that is dust"
        made.append(bones.shards)
    assert len(made[0]) == 8
    assert made[0] == made[1] == made[2]


def test_a_task_reads_the_fragments_of_its_own_shards_only(bones: Bones) -> None:
    bones.run(prepare=True)
    lists = [json.loads(path.read_text()) for path in sorted(bones.out.glob("*.fragments"))]
    assert sorted(i for objects in lists for i in objects) == sorted(map(str, [*IDS, DUST]))
    for number, objects in enumerate(lists):
        for names in objects.values() if number != 5 else ():
            for name in names:
                (bones.folder / "fragments" / name).unlink()
    bones.run("5-6_0-1_0-1")
    assert list(bones.shards) == ["5.shard"]
    with pytest.raises(DataMissing, match="it is no longer there"):
        bones.run("4-5_0-1_0-1")


def test_boxes_that_are_no_shards_are_refused(bones: Bones) -> None:
    with pytest.raises(ConfigError, match=r"describes no shards\n.*run it once with --prepare"):
        bones.run("0-1_0-1_0-1")
    bones.run(prepare=True)
    with pytest.raises(
        ConfigError, match=r"is no range of shards.*\n.*--roi-size 8 1 1 --chunk-size 1 1 1"
    ):
        bones.run("0-64_0-64_0-64")
    with pytest.raises(BoxOutsideVolume, match="has the shards 0 to 7, and none in 8-9_0-1_0-1"):
        bones.run("8-9_0-1_0-1")
    with pytest.raises(ConfigError, match="is done once, for all boxes"):
        bones.run("0-1_0-1_0-1", prepare=True)
    (bones.out / "3.fragments").unlink()
    with pytest.raises(DataMissing, match=r"3\.fragments, the list .*--prepare again"):
        bones.run("3-4_0-1_0-1")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"7": 5}',
        '{"7": ["7:../../secret"]}',  # would be read as a fragment
        '{"7": ["70:0"]}',
        '{"1": ["1:0"], "2": ["2:0"], "7": ["7:0"], "70": ["70:0"]}',  # of several shards
    ],
)
def test_a_list_of_other_fragments_is_refused(bones: Bones, content: str) -> None:
    bones.run(prepare=True)
    (bones.out / "3.fragments").write_text(content)
    with pytest.raises(DataMissing, match=r"3\.fragments, the list .* missing or damaged"):
        bones.run("3-4_0-1_0-1")
    assert not bones.shards


def test_a_prefix_is_refused_since_its_objects_are_in_the_shards_of_others(bones: Bones) -> None:
    with pytest.raises(ValidationError, match="two runs would write each shard"):
        bones.run(prefix="7")
    with pytest.raises(ConfigError, match="names a part of the objects of each shard"):
        run(AggregateSkeletonFragments(**bones.options), Task(values={"prefix": "7"}))


@pytest.mark.parametrize("option", [{"prepare": True}, {"spatial_index": True}, {"shard_size": 5}])
def test_options_of_shards_need_shards(option: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="is an option of shards: add --sharded"):
        AggregateSkeletonFragments(fragments_path="x", **option)


def test_another_layout_than_the_one_that_is_there_is_refused(bones: Bones) -> None:
    bones.run()
    before = bones.shards
    with pytest.raises(ConfigError, match=r"other shards than .*\n.*delete the folder"):
        bones.run(shard_size=10**9)
    with pytest.raises(ConfigError, match=r"skeletons in shards are already here\n.*--sharded"):
        run(AggregateSkeletonFragments(**dict(list(bones.options.items())[:2])))
    assert bones.shards == before
    bones.run()
    assert bones.shards == before


def test_what_the_fragments_say_of_themselves_is_not_said_of_the_shards(bones: Bones) -> None:
    """igneous writes a spatial index beside its fragments, which is not copied unasked."""
    info = {
        "@type": "neuroglancer_skeletons",
        "mip": 2,
        "sharding": None,
        "spatial_index": {"x": 1},
    }
    (bones.folder / "fragments" / "info").write_text(json.dumps(info))
    bones.run(prepare=True)
    made = json.loads((bones.out / "info").read_text())
    assert made["mip"] == 2
    assert made["sharding"]["shard_bits"] == 3
    assert "spatial_index" not in made


def test_a_folder_without_fragments_and_one_that_is_no_volume_are_refused(bones: Bones) -> None:
    with pytest.raises(ConfigError, match="is no precomputed volume, in whose bounds"):
        bones.run(spatial_index=True)
    for path in (bones.folder / "fragments").iterdir():
        path.unlink()
    with pytest.raises(DataMissing, match="has no fragments of objects"):
        bones.run()


@pytest.mark.parametrize("prepare", [True, False])
def test_a_dry_run_writes_nothing(bones: Bones, prepare: bool) -> None:
    bones.run(prepare=prepare, dry_run=True)
    assert not bones.out.exists()


class Job:
    """A job that writes the shards, done by the worker's own handler, without a queue."""

    def __init__(self, bones: Bones):
        self.bones, self.file = bones, bones.folder / "pipeline.yaml"
        self.ledger = Ledger(str(bones.folder / "ledger"))
        operator = {"op": "aggregate-skeleton-fragments", **bones.options}
        self.file.write_text(yaml.safe_dump({"operators": [operator]}))

    def work(self) -> list[Record]:
        grid = Grid(roi_size=Vec3(8, 1, 1), chunk_size=Vec3(1, 1, 1))
        return do_job(self.file, self.ledger, grid)

    def verify(self, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, Any]:
        """The exit status of `verify`, and what it finds wrong."""
        capsys.readouterr()
        place = ["--pipeline", str(self.file), "--ledger", self.ledger.path]
        status = main(["verify", *place, "--json", *options])
        return status, json.loads(capsys.readouterr().out)["problems"]


@pytest.mark.parametrize("options", [[], ["--quick"]])
def test_verify_finds_spoilt_missing_and_foreign_shards(
    bones: Bones, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    bones.run(prepare=True)
    (bones.out / "3.fragments").write_text("{}")
    job = Job(bones)
    records = job.work()
    for number, record in enumerate(records):
        noted = {Path(file.path).name: file.size for file in record.files}
        shard = bones.shards.get(f"{number}.shard", b"")
        assert noted == {"info": 0} | ({f"{number}.shard": len(shard)} if shard else {})
    assert job.verify(capsys, *options) == (0, [])

    truncate(0.5)(bones.out / "2.shard")
    (bones.out / "3.shard").write_bytes(bones.shards["4.shard"])
    (bones.out / "6.shard").unlink()
    status, problems = job.verify(capsys, *options)
    assert status == 1
    assert [(found["kind"], found["blocks"]) for found in problems] == [
        ("damaged", ["2.shard"]),
        ("stale", ["3.shard"]),
        ("missing", ["6.shard"]),
    ]
