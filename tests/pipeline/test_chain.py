from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Literal

import jsonschema
import numpy as np
import pytest
import yaml

import chunkflow_worker.pipeline.chain as module
from chunkflow_worker.config.yaml_file import read_yaml
from chunkflow_worker.errors import (
    ChunkMismatch,
    ConfigError,
    OutOfMemory,
    PermanentError,
    RetryableError,
)
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.pipeline.chain import Pipeline
from chunkflow_worker.pipeline.operator import Operator, Run, Step, find_operator
from chunkflow_worker.pipeline.run import OpenPipeline
from chunkflow_worker.pipeline.schema import pipeline_schema
from chunkflow_worker.pipeline.task import SkipTask, Task
from chunkflow_worker.report.events import OperatorFinished, OperatorStarted
from tests.support.paths import ROOT

BOX = BoundingBox.parse("0-4_0-4_0-4")
THRESHOLD = {"op": "threshold", "threshold": 0.3}
CREATE = {"op": "create-chunk", "size": [4, 4, 4]}


class Source(Operator):
    """Leaves a chunk as large as later operators need."""

    op: Literal["source"] = "source"
    output_chunk_name: str = "chunk"

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        def step(task: Task) -> None:
            assert task.bbox is not None
            box = run.needed_box(task.bbox, None)
            task.values["chunk"] = Chunk(np.ones(box.size), box.start)

        yield step


class Context(Operator):
    """Needs a margin, and does nothing with it."""

    op: Literal["context"] = "context"
    around: int = 2
    input_chunk_name: str = "chunk"
    output_chunk_name: str = "chunk"

    @property
    def margin(self) -> Vec3:
        return Vec3(0, self.around, self.around)

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        yield lambda task: None


class Raise(Operator):
    """Raises."""

    op: Literal["raise"] = "raise"
    error: Any = None

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        def step(task: Task) -> None:
            if self.error is not None:
                raise self.error

        yield step


@pytest.fixture(autouse=True)
def _operators(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = {"source": Source, "context": Context, "raise": Raise}
    monkeypatch.setattr(module, "find_operator", lambda name: ours.get(name) or find_operator(name))


def opened(*operators: dict[str, Any]) -> AbstractContextManager[OpenPipeline]:
    return Pipeline.parse({"operators": list(operators)}).open()


def faults(content: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        Pipeline.parse(content)
    return [str(f) for f in caught.value.faults]


def test_all_faults_are_told_at_once_with_place_and_cure() -> None:
    found = faults(
        {
            "operators": [
                CREATE | {"pattern": "stripes"},
                {"op": "threshhold"},
                {"op": "threshold", "treshold": 3},
                {"op": "inference", "framework": "identity"},
            ]
        }
    )
    assert "operators.0 (create-chunk).pattern: 'stripes' is not one of its values" in found[0]
    assert "'sin', 'zero' or 'random'" in found[0]
    assert "operators.1.op: no operator is named 'threshhold'" in found[1]
    assert "did you mean 'threshold'? chunkflow --help lists all" in found[1]
    assert "operators.2 (threshold).treshold: there is no option 'treshold'" in found[2]
    assert "did you mean 'threshold'" in found[2]
    assert "operators.3 (inference).input_patch_size: is required" in found[3]
    assert len(found) == 4


def test_a_name_that_nobody_made_is_a_fault() -> None:
    (found,) = faults({"operators": [CREATE, THRESHOLD | {"input_chunk_name": "image"}]})
    assert "operators.1 (threshold): reads 'image', which no operator before it makes" in found
    assert "made: chunk" in found


@pytest.mark.parametrize(
    "content", [None, [], {}, {"operators": []}, {"operators": "load-h5"}, "text"]
)
def test_a_file_that_is_no_pipeline_says_what_one_looks_like(content: Any) -> None:
    (found,) = faults(content)
    assert "- op: <name>" in found


def test_unknown_parts_and_wrong_items_are_faults() -> None:
    found = faults({"operators": [CREATE, 3, {"opp": "x"}], "operator": []})
    assert any("is not a part of a pipeline" in f for f in found)
    assert sum("is not an operator" in f for f in found) == 2


@pytest.mark.parametrize("key", ["operator", "Operators", "operatosr"])
def test_a_misspelt_list_of_operators_is_named(key: str) -> None:
    (found,) = faults({key: [CREATE]})
    assert f"the file has `{key}:`; did you mean `operators:`?" in found


def test_operators_that_make_tasks_belong_under_tasks() -> None:
    (found,) = faults({"operators": [{"op": "generate-tasks", "chunk_size": [4, 4, 4]}, CREATE]})
    assert "put it under `tasks:`" in found
    assert any("does not make tasks" in f for f in faults({"tasks": CREATE, "operators": [CREATE]}))


def test_load_reads_yaml_and_names_the_file_in_errors(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(yaml.safe_dump({"operators": [CREATE, THRESHOLD]}))
    assert [o.op for o in Pipeline.load(path).operators] == ["create-chunk", "threshold"]
    path.write_text("operators: [")
    with pytest.raises(ConfigError, match=r"p.yaml: line 1, column 13: is not YAML"):
        Pipeline.load(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        Pipeline.load(tmp_path / "absent.yaml")


def test_a_chain_that_says_an_option_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text("operators:\n- op: create-chunk\n  op: threshold\n")
    with pytest.raises(ConfigError, match="line 3: the key 'op' is already in line 2"):
        Pipeline.load(path)


def test_dump_is_read_back_as_the_same_chain() -> None:
    tasks = {"op": "generate-tasks", "chunk_size": [4, 4, 4], "grid_size": [1, 1, 2]}
    chain = Pipeline.parse({"tasks": tasks, "operators": [CREATE, THRESHOLD]})
    again = Pipeline.parse(yaml.safe_load(yaml.safe_dump(chain.dump())))
    assert again.operators == chain.operators
    assert again.tasks == chain.tasks


def test_a_chain_of_operators_is_the_same_as_of_its_data() -> None:
    tasks = {"op": "generate-tasks", "chunk_size": [4, 4, 4], "grid_size": [1, 1, 2]}
    parsed = Pipeline.parse({"tasks": tasks, "operators": [CREATE, THRESHOLD]})
    made = Pipeline.of(parsed.operators, parsed.tasks, "here")
    assert made == Pipeline.parse(made.dump())
    assert made.operators == parsed.operators
    assert made.tasks == parsed.tasks


def test_a_chain_of_operators_is_checked_as_its_data() -> None:
    parsed = Pipeline.parse({"tasks": {"op": "generate-tasks"}, "operators": [CREATE]})
    tasks, create = parsed.tasks, parsed.operators[0]
    reads_nothing = find_operator("threshold").model_validate({"input_chunk_name": "image"})
    assert tasks is not None
    for operators, problem in (
        ([tasks, create], r"here: operators.0: 'generate-tasks' makes tasks"),
        ([create, reads_nothing], r"here: operators.1 \(threshold\): reads 'image'"),
    ):
        with pytest.raises(ConfigError, match=problem):
            Pipeline.of(operators, None, "here")


def test_digest_ignores_where_tasks_come_from_but_not_options() -> None:
    one = Pipeline.parse({"operators": [CREATE, THRESHOLD]})
    tasks = {"op": "generate-tasks", "chunk_size": [4, 4, 4]}
    assert Pipeline.parse({"tasks": tasks, "operators": [CREATE, THRESHOLD]}).digest == one.digest
    assert (
        Pipeline.parse({"operators": [CREATE, THRESHOLD | {"threshold": 0.4}]}).digest != one.digest
    )


def test_margins_add_up_and_are_cut_off_again() -> None:
    chain = Pipeline.parse(
        {"operators": [{"op": "source"}, {"op": "context"}, {"op": "context", "around": 3}]}
    )
    seen: list[Any] = []
    task = Task(bbox=BOX)
    with chain.open((seen.append,)) as opened:
        opened.run(task)
    assert task.chunk("chunk").bbox == BOX
    assert [type(e) for e in seen] == [OperatorStarted, OperatorFinished] * 3
    assert [e.name for e in seen[::2]] == [e.name for e in seen[1::2]] == list(task.seconds)
    assert list(task.seconds) == ["source", "context", "context-2"]
    with Pipeline.parse(
        {"operators": [{"op": "source"}, {"op": "context"}, {"op": "raise"}]}
    ).open() as opened:
        (_, _, run, _) = opened.steps[0]
        assert run.needed_box(BOX, None) == BOX.grow((0, 2, 2))


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (PermanentError("no"), PermanentError),
        (ChunkMismatch("no"), ChunkMismatch),
        (OSError("no"), RetryableError),
        (ZeroDivisionError("no"), RetryableError),
        (MemoryError("no"), OutOfMemory),
        (SystemExit("no"), RetryableError),
    ],
)
def test_errors_name_operator_and_box_and_are_of_one_of_two_kinds(
    raised: BaseException, kind: type[Exception]
) -> None:
    with (
        Pipeline.parse(
            {"operators": [{"op": "raise", "error": raised, "name": "breaker"}]}
        ).open() as opened,
        pytest.raises(kind, match=f"breaker on {BOX}: ") as caught,
    ):
        opened.run(Task(bbox=BOX))
    assert type(caught.value) is kind
    assert caught.value.__cause__ is raised


def test_skipping_passes_through() -> None:
    with (
        Pipeline.parse(
            {"operators": [{"op": "raise", "error": SkipTask("black")}]}
        ).open() as opened,
        pytest.raises(SkipTask, match="black"),
    ):
        opened.run(Task(bbox=BOX))


def test_an_operator_that_leaves_nothing_is_found_out() -> None:
    with (
        Pipeline.parse(
            {"operators": [CREATE, {"op": "context", "output_chunk_name": "other"}]}
        ).open() as opened,
        pytest.raises(ChunkMismatch, match="left nothing named 'other'"),
    ):
        opened.run(Task(bbox=BOX))


def test_check_is_asked_before_each_operator() -> None:
    asked: list[int] = []

    def check() -> None:
        asked.append(1)
        if len(asked) == 2:
            raise RetryableError("stop")

    task = Task(bbox=BOX)
    with opened(CREATE, THRESHOLD) as chain, pytest.raises(RetryableError, match="stop"):
        chain.run(task, check)
    assert list(task.seconds) == ["create-chunk"]


def test_schema_accepts_what_the_parser_accepts_and_refuses_the_rest() -> None:
    schema = pipeline_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    tasks = {"op": "generate-tasks", "chunk_size": [4, 4, 4]}
    inference = {"op": "inference", "framework": "identity", "input_patch_size": [4, 4, 4]}
    assert validator.is_valid({"tasks": tasks, "operators": [CREATE, inference, THRESHOLD]})
    assert not validator.is_valid({"operators": [{"op": "threshold", "treshold": 1}]})
    assert not validator.is_valid({"operators": [{"op": "inference", "input_patch_size": [4, 4]}]})
    assert not validator.is_valid({"operators": [tasks]})


def test_schema_accepts_what_stages_may_have_and_refuses_the_rest() -> None:
    validator = jsonschema.Draft202012Validator(pipeline_schema())
    stage = {"name": "a", "tasks": {"shares": 10}, "operators": [CREATE]}
    for part in ({}, {"tasks": {"tree_of": "b"}, "needs": "b"}, {"verify": "allow-zeros"},
                 {"verify": True, "needs": [], "queue": "gpu"}):  # fmt: skip
        assert validator.is_valid({"stages": [stage | part]}), part
    for part in ({"tasks": {"shares": 50}}, {"tasks": {"shares": 1, "tree_of": "b"}},
                 {"verify": "zeros"}, {"name": "a b"}, {"operators": []}):  # fmt: skip
        assert not validator.is_valid({"stages": [stage | part]}), part
    assert not validator.is_valid({"stages": [stage], "operators": [CREATE]})
    for path in sorted((ROOT / "deploy" / "pipelines").glob("*.yaml")):
        assert not list(validator.iter_errors(read_yaml(path))), path.name


@pytest.mark.parametrize(
    ("item", "told"),
    [
        (
            {"op": "write-tif"},
            "operators.1.op: no operator is named 'write-tif'\n    it is called 'save-tif' today",
        ),
        (
            {"op": "cloud-watch"},
            "no operator is named 'cloud-watch'\n    write chunkflow --metrics cloudwatch",
        ),
        (
            {"op": "mesh", "dust_threshold": 3},
            "(mesh).dust_threshold: is no longer an option\n    put mask-out-objects",
        ),
        (
            {"op": "inference", "framework": "general", "input_patch_size": [1, 1, 1]},
            "(inference).framework: is written differently today\n    write framework: universal",
        ),
        (
            {"op": "inference", "patch_size": [1, 1, 1], "framework": "identity"},
            "(inference).patch_size: is written differently today\n    write input_patch_size: ...",
        ),
    ],
    ids=str,
)
def test_words_of_older_versions_are_told(item: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Pipeline.parse({"operators": [CREATE, item]})
    text = "\n".join(str(fault) for fault in caught.value.faults)
    assert told in text
