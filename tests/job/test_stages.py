from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from chunkflow_worker.errors import ConfigError, Fault
from chunkflow_worker.job.grid import Grid
from chunkflow_worker.job.read_stages import read_stages
from chunkflow_worker.job.stages import after, before, load_stages, split_stage
from chunkflow_worker.pipeline.chain import Pipeline
from producer.plan.pipeline_file import PipelineFile

GRID = {"op": "generate-tasks", "chunk_size": [8, 8, 8], "grid_size": [1, 1, 2]}
CREATE = {"op": "create-chunk", "size": [8, 8, 8]}


def save(place: str) -> dict[str, Any]:
    return {"op": "save-precomputed", "volume_path": place}


STAGES = [
    {"name": "label", "tasks": GRID, "operators": [CREATE, save("/data/labels")]},
    {"name": "merge", "tasks": {"tree_of": "label"}, "operators": [CREATE]},
    {"name": "ids", "tasks": GRID, "operators": [CREATE, save("/data/ids")], "verify": True},
    {
        "name": "image",
        "tasks": GRID,
        "operators": [CREATE, save("/data/image")],
        "needs": [],
        "queue": "gpu",
    },
]


def write(folder: Path, content: Any) -> Path:
    path = folder / "em.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_producer_and_worker_read_the_same_stages(tmp_path: Path) -> None:
    path = write(tmp_path, {"stages": STAGES})
    files = PipelineFile.load_all(path)
    chains = load_stages(path, Pipeline.parse)
    assert [file.stage for file in files] == [stage for stage, _ in chains]
    assert [file.digest for file in files] == [chain.digest for _, chain in chains]
    assert [stage.name for stage, _ in chains] == ["label", "merge", "ids", "image"]
    assert [stage.needs for stage, _ in chains] == [(), ("label",), ("merge",), ()]
    assert [stage.queue_of("em") for stage, _ in chains] == ["em", "em", "em", "em-gpu"]
    one = PipelineFile.load(Path(f"{path}#ids"))
    assert one == files[2]
    assert one.digest == Pipeline.load(f"{path}#ids").digest
    assert one.ledger_path == "/data/image/log/stages/ids"
    assert one.ledger_in("/log") == one.ledger_in("/log/stages/ids") == "/log/stages/ids"
    assert one.ledger_in("/log/") == one.ledger_in("/log/stages/ids/") == "/log/stages/ids"


def test_a_change_in_one_stage_leaves_the_digests_of_the_others(tmp_path: Path) -> None:
    before = [file.digest for file in PipelineFile.load_all(write(tmp_path, {"stages": STAGES}))]
    changed = [*STAGES[:2], {**STAGES[2], "operators": [CREATE, save("/data/x")]}, STAGES[3]]
    after = [file.digest for file in PipelineFile.load_all(write(tmp_path, {"stages": changed}))]
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, True, False, True]


def test_a_file_with_stages_needs_the_name_of_one(tmp_path: Path) -> None:
    path = write(tmp_path, {"stages": STAGES})
    for load in (Pipeline.load, PipelineFile.load):
        with pytest.raises(ConfigError, match=r"em.yaml#label\b"):
            load(path)
        with pytest.raises(ConfigError, match="did you mean label"):
            load(Path(f"{path}#lable"))
    plain = write(tmp_path, {"operators": [CREATE]})
    with pytest.raises(ConfigError, match="the file has none, so there is none named 'label'"):
        PipelineFile.load(Path(f"{plain}#label"))


def test_all_faults_of_a_file_are_told_at_once(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        {
            "stages": [
                {"name": "a", "tasks": GRID, "operators": [{**CREATE, "sise": 1}], "need": []},
                {"name": "a", "tasks": GRID, "operators": [CREATE], "needs": ["b", "lost"]},
                {"name": "b", "tasks": {"tree_off": "a"}, "operators": [CREATE], "needs": ["c"]},
                {"name": "c", "tasks": {"tree_of": "b"}, "operators": [CREATE], "queue": "dead"},
                {"name": "d", "operators": [], "verify": "yes", "queue": "a b"},
                {"name": "s", "tasks": {"shares": 50}, "operators": [CREATE]},
                {"name": "t", "tasks": {"share": 10}, "operators": [CREATE]},
                "e",
                {"name": "no name"},
                {"nmae": "f"},
            ],
            "operators": [],
        },
    )
    with pytest.raises(ConfigError) as raised:
        load_stages(path, Pipeline.parse)
    text = str(raised.value)
    for part in (
        "operators: is not a part of a file with stages",
        "stages.0 (a).need: is not a part of a stage\n    did you mean needs?",
        "stages.0 (a).operators.0 (create-chunk)",
        "stages.1 (a).name: 'a' is the name of an earlier stage",
        "stages.1 (a).needs: there is no stage 'lost'",
        "stages.2 (b).tasks.tree_off: is unknown\n    did you mean tree_of?",
        "stages.3 (c).queue: 'dead' is the end of the name of another queue",
        "stages.4 (d).tasks: is missing",
        "stages.4 (d).operators: is missing, empty or not a list",
        "stages.4 (d).verify: 'yes' is neither true nor false",
        "stages.4 (d).queue: 'a b' is not the end",
        "stages.5 (s).tasks.shares: 50 is refused\n    legal: 1, 10, 100",
        "stages.6 (t).tasks.share: is unknown\n    did you mean shares?",
        "stages.7: 'e' is not a stage",
        "stages.8.name: 'no name' is not the name of a stage",
        "stages.9.nmae: is not a part of a stage\n    did you mean name?",
        "stages.9.name: is missing",
        "in a circle: ",
    ):
        assert part in text


def test_shares_are_the_boxes_of_a_grid(tmp_path: Path) -> None:
    stage = {"name": "meshes", "tasks": {"shares": 10}, "operators": [CREATE]}
    path = write(tmp_path, {"stages": [stage | {"verify": "allow-zeros"}]})
    (file,) = PipelineFile.load_all(path)
    assert (file.stage.verify, file.stage.allow_zeros) == (True, True)
    boxes = Grid.model_validate(file.tasks).boxes()
    assert (len(boxes), str(boxes[3])) == (10, "3-4_0-10_1-2")
    ((_, chain),) = load_stages(path, Pipeline.parse)
    assert chain.tasks is not None
    assert list(chain.tasks.known_boxes() or ()) == list(boxes)


def test_stages_are_ordered_by_what_they_need() -> None:
    faults: list[Fault] = []
    content = {
        "stages": [
            {"name": "c", "tasks": GRID, "operators": [CREATE], "needs": ["a", "b"]},
            {"name": "a", "tasks": GRID, "operators": [CREATE], "needs": []},
            {"name": "b", "tasks": GRID, "operators": [CREATE]},
            {"name": "d", "tasks": GRID, "operators": [CREATE], "needs": "a"},
        ]
    }
    stages = read_stages(content, faults)
    assert not faults
    assert [stage.name for stage in stages] == ["a", "b", "c", "d"]
    assert after(stages, "b") == {"b", "c"}
    assert before(stages, "c") == {"a", "b", "c"}
    assert before(stages, "d") == {"a", "d"}


def test_a_stage_follows_the_file_after_a_hash(tmp_path: Path) -> None:
    assert split_stage("em.yaml#masks") == (Path("em.yaml"), "masks")
    assert split_stage("em.yaml") == (Path("em.yaml"), "")
    (tmp_path / "a#b").touch()
    assert split_stage(tmp_path / "a#b") == (tmp_path / "a#b", ""), "it is a file"
