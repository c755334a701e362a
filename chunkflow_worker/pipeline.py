"""The configured chain: reads it, opens its operators once, runs a task through them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from chunkflow_worker.bbox import BoundingBox, Vec3
from chunkflow_worker.catalog import operator_names
from chunkflow_worker.chunk import Chunk
from chunkflow_worker.errors import (
    ChunkflowError,
    ChunkMismatch,
    ConfigError,
    Fault,
    OutOfMemory,
    PermanentError,
    RetryableError,
)
from chunkflow_worker.events import OperatorFinished, Subscriber, publish
from chunkflow_worker.ledger import default_path
from chunkflow_worker.message import pipeline_digest
from chunkflow_worker.operator import Operator, Run, Step, TaskSource, find_operator
from chunkflow_worker.options import faults_of
from chunkflow_worker.task import SkipTask, Task, kind_of
from chunkflow_worker.yaml_file import read_yaml

_SAMPLE_BOX = BoundingBox(Vec3(0, 0, 0), Vec3(1024, 1024, 1024))


@dataclass(frozen=True)
class Pipeline:
    """A checked chain.

    tasks: where a local run takes its boxes from; workers take theirs from the queue.
    digest: of the operators as they were written.
    """

    operators: tuple[Operator, ...]
    tasks: TaskSource | None = None
    digest: str = ""

    @classmethod
    def load(cls, path: Path | str) -> Pipeline:
        """Read a YAML file. Raises ConfigError with all the faults of the file."""
        return cls.parse(read_yaml(Path(path)), str(path))

    @classmethod
    def parse(cls, content: Any, source: str = "pipeline") -> Pipeline:
        """Check a chain given as plain data: ``{"operators": [{"op": ...}, ...]}``. Raises ConfigError."""
        faults: list[Fault] = []
        shape = "write `operators:` and below it a list of `- op: <name>` with options"
        if not isinstance(content, dict) or not isinstance(content.get("operators"), list) or not content["operators"]:
            raise ConfigError.one(source, "operators", "is missing, empty or not a list", shape)
        for key in content.keys() - {"operators", "tasks"}:
            faults.append(Fault(str(key), "is not a part of a pipeline", "legal: tasks, operators"))
        parsed = [_parse_operator(item, f"operators.{i}", faults) for i, item in enumerate(content["operators"])]
        source_op = _parse_operator(content["tasks"], "tasks", faults) if content.get("tasks") else None
        if source_op is not None and not isinstance(source_op, TaskSource):
            faults.append(Fault("tasks", f"{source_op.op!r} does not make tasks", "for example generate-tasks"))
        operators = tuple(o for o in parsed if o is not None)
        for i, operator in enumerate(parsed):
            if isinstance(operator, TaskSource):
                faults.append(Fault(f"operators.{i}", f"{operator.op!r} makes tasks", "put it under `tasks:`"))
        if len(operators) == len(parsed):
            faults.extend(_name_faults(operators))
        if faults:
            raise ConfigError(source, faults)
        tasks = source_op if isinstance(source_op, TaskSource) else None
        return cls(operators, tasks, pipeline_digest(content["operators"]))

    def dump(self) -> dict[str, Any]:
        """Plain data that `parse` reads back: what the user set, defaults left out."""
        tasks = {"tasks": _dump(self.tasks)} if self.tasks else {}
        return tasks | {"operators": [_dump(o) for o in self.operators]}

    @property
    def ledger_path(self) -> str | None:
        return default_path(_dump(o) for o in self.operators)

    @property
    def volume_paths(self) -> list[str]:
        """Of the volumes that the chain reads and writes."""
        named = (getattr(operator, key, None) for operator in self.operators for key in ("volume_path", "mask_volume_path"))
        return [path for path in named if path]

    def labels(self) -> list[str]:
        """Names of the operators in records, made unique by a number."""
        seen: dict[str, int] = {}
        for operator in self.operators:
            seen[operator.label] = seen.get(operator.label, 0) + 1
        count: dict[str, int] = {}
        labels = []
        for operator in self.operators:
            count[operator.label] = n = count.get(operator.label, 0) + 1
            labels.append(operator.label if n == 1 else f"{operator.label}-{n}")
        return labels

    def coarsening(self, index: int) -> Vec3:
        """How many times larger the voxels that the operator at `index` makes are than those of the task's box."""
        return list(_voxel_sizes(self.operators))[index] * self.operators[index].coarsening

    def context(self, index: int, box: BoundingBox = _SAMPLE_BOX) -> tuple[Vec3, Vec3]:
        """Voxels before and behind a box, far from the volume's border, that the operator at `index` must produce."""
        needed = _needed_box(self.operators, index)(box, None)
        return box.start - needed.start, needed.stop - box.stop

    @contextmanager
    def open(self, subscribers: tuple[Subscriber, ...] = (), **options: Any) -> Iterator[OpenPipeline]:
        """Open all operators, in order; they close when the block ends. `options`: those of `Run`."""
        with ExitStack() as stack:
            steps = []
            made: set[str] = set()
            for i, (operator, label) in enumerate(zip(self.operators, self.labels(), strict=True)):
                run = Run(needed_box=_needed_box(self.operators, i), made=frozenset(made), **options)
                with naming(label, None):
                    steps.append((label, operator, run, stack.enter_context(operator.open(run))))
                made.update(operator.writes(), operator.creates())
            yield OpenPipeline(tuple(steps), subscribers)


@dataclass(frozen=True)
class OpenPipeline:
    """A chain whose volumes and models are open. Tasks may run in several threads."""

    steps: tuple[tuple[str, Operator, Run, Step], ...]
    subscribers: tuple[Subscriber, ...] = ()

    def run(self, task: Task, check: Callable[[], None] = lambda: None) -> None:
        """Run the whole chain on a task.

        check: called before each operator; what it raises ends the task.
        Raises SkipTask, PermanentError or RetryableError that names the operator and the box.
        """
        for label, operator, run, step in self.steps:
            check()
            with naming(label, task.bbox, partial(_given_to, operator, task)), task.timed(label):
                step(task)
                for name in operator.writes():
                    task.values[name] = _checked(operator, run, task, name)
            publish(OperatorFinished(label, task.bbox, task.seconds[label]), self.subscribers)


def _parse_operator(item: Any, place: str, faults: list[Fault]) -> Operator | None:
    if not isinstance(item, Mapping) or not isinstance(item.get("op"), str):
        faults.append(Fault(place, f"{item!r} is not an operator", "write `op: <name>` and its options below"))
        return None
    try:
        kind = find_operator(item["op"])
    except ConfigError as error:
        faults.extend(Fault(f"{place}.op", f.problem, f.cure) for f in error.faults)
        return None
    try:
        return kind.model_validate(dict(item))
    except ValidationError as error:
        faults.extend(faults_of(error, kind, f"{place} ({item['op']})"))
        return None


def _name_faults(operators: tuple[Operator, ...]) -> Iterator[Fault]:
    """Values that are read before any operator makes them."""
    made: set[str] = set()
    for i, operator in enumerate(operators):
        for name in operator.reads():
            if name not in made:
                known = ", ".join(sorted(made)) or "none"
                place, problem = f"operators.{i} ({operator.op})", f"reads {name!r}, which no operator before it makes"
                yield Fault(place, problem, f"made: {known}")
        made.update(operator.writes())


def _dump(operator: Operator) -> dict[str, Any]:
    return {"op": operator.op} | operator.model_dump(mode="json", exclude_defaults=True)


def _needed_box(operators: tuple[Operator, ...], index: int) -> Callable[[BoundingBox, BoundingBox | None], BoundingBox]:
    """What the operator at `index` must produce; see `Run`."""
    sizes = list(_voxel_sizes(operators))
    own = sizes[index] * operators[index].coarsening
    # Those that work on smaller voxels are not fed by this one.
    later = [
        (operator, size // own)
        for operator, size in zip(operators[index + 1 :], sizes[index + 1 :], strict=True)
        if not any(size % own)
    ]

    def needed(box: BoundingBox, bounds: BoundingBox | None) -> BoundingBox:
        limits = [bounds]
        for operator, factor in later:
            limits.append(_output_bounds(operator, limits[-1], factor) if limits[-1] else None)
        inside, reach = box.clip(bounds) if bounds else None, limits[-1]
        if inside is not None and reach is not None and not reach.contains(inside):
            raise ChunkMismatch(
                f"box {box} reaches the border of {bounds}, where nets that return less than they take can produce {reach} only: "
                "stay away from the border, or use --border reflect"
            )
        for (operator, factor), limit in zip(reversed(later), reversed(limits[:-1]), strict=True):
            box = _context(operator, box, limit, factor)
        return box

    return needed


def _voxel_sizes(operators: tuple[Operator, ...]) -> Iterator[Vec3]:
    """How many times larger the voxels that each operator reads are than those of the task's box."""
    made: dict[str, Vec3] = {}
    for operator in operators:
        read = max((made[name] for name in operator.reads() if name in made), default=Vec3(1, 1, 1))
        yield read
        made.update(dict.fromkeys(operator.writes(), read * operator.coarsening))


def _output_bounds(operator: Operator, bounds: BoundingBox, factor: Vec3) -> BoundingBox:
    """Its `output_bounds`, where it reads voxels `factor` times larger than those that are counted."""
    reach = operator.output_bounds(bounds.coarse(factor)).scaled(factor)
    return reach.clip(bounds) or reach


def _context(operator: Operator, box: BoundingBox, bounds: BoundingBox | None, factor: Vec3) -> BoundingBox:
    """Its `context`, where it reads voxels `factor` times larger than those that are counted."""
    if bounds is None:
        return operator.context(box.coarse(factor), None).scaled(factor)
    needed = operator.context(box.coarse(factor), bounds.coarse(factor)).scaled(factor)
    return needed.clip(bounds) or needed


def _checked(operator: Operator, run: Run, task: Task, name: str) -> Any:
    """What an operator left under `name`, without the margin that it alone needed."""
    value = task.values.get(name)
    if value is None:
        raise ChunkMismatch(f"it left nothing named {name!r}")
    if not isinstance(value, Chunk):
        return value
    if value.array.size == 0:
        raise ChunkMismatch(f"it left an empty chunk {name!r} of shape {value.array.shape}")
    box = task.box_of(value)
    if any(operator.margin) and box is not None:
        needed = run.needed_box(box, value.bounds).clip(value.bbox)
        return value if needed is None else value.cutout(needed)
    return value


@contextmanager
def naming(label: str, bbox: BoundingBox | None, given: Callable[[], str] = str) -> Iterator[None]:
    """Say in every error which operator and which box it is about, what was given, and which of the two kinds it is."""
    subject = label if bbox is None else f"{label} on {bbox}"
    try:
        yield
    except SkipTask:
        raise
    except ConfigError as error:
        if error.subject == label:
            raise
        raise ConfigError(f"{label}: {error.subject}", error.faults) from error
    except (PermanentError, RetryableError) as error:
        raise type(error)(f"{subject}: {error}{given()}") from error
    except ChunkflowError:
        raise
    except MemoryError as error:
        raise OutOfMemory(f"{subject}: out of memory{given()}") from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit of a user's code, panics of extensions
        raise RetryableError(f"{subject}: {type(error).__name__}: {error}{given()}") from error


def _given_to(operator: Operator, task: Task) -> str:
    """The values that an operator reads, for the end of an error's text: a line for each."""
    there = {name: task.values[name] for name in operator.reads() if name in task.values}
    return "".join(f"\n    {name}: {kind_of(value)}" for name, value in there.items())


def pipeline_schema() -> dict[str, Any]:
    """JSON Schema of a pipeline file, made of the operators' models."""
    definitions: dict[str, Any] = {}
    steps: list[dict[str, str]] = []
    sources: list[dict[str, str]] = []
    for name in operator_names():
        kind = find_operator(name)
        schema = kind.model_json_schema(ref_template="#/$defs/{model}")
        definitions.update(schema.pop("$defs", {}))
        schema["required"] = ["op", *(r for r in schema.get("required", []) if r != "op")]
        definitions[name] = schema
        (sources if issubclass(kind, TaskSource) else steps).append({"$ref": f"#/$defs/{name}"})
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "chunkflow pipeline",
        "type": "object",
        "additionalProperties": False,
        "required": ["operators"],
        "properties": {
            "tasks": {"description": "Where a local run and the producer take boxes from.", "oneOf": sources},
            "operators": {"type": "array", "minItems": 1, "items": {"oneOf": steps}},
        },
        "$defs": definitions,
    }
