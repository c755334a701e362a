"""`Pipeline`: a configured chain of operators, checked, and opened once per process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from chunkflow_worker.config.options import faults_of
from chunkflow_worker.config.yaml_file import read_yaml
from chunkflow_worker.errors import ConfigError, Fault
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.job.ledger import default_path
from chunkflow_worker.job.message import pipeline_digest
from chunkflow_worker.pipeline.operator import Operator, Run, TaskSource, find_operator
from chunkflow_worker.pipeline.reach import needed_box, voxel_sizes
from chunkflow_worker.pipeline.run import OpenPipeline, error_context
from chunkflow_worker.report.events import Subscriber

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
        if (
            not isinstance(content, dict)
            or not isinstance(content.get("operators"), list)
            or not content["operators"]
        ):
            raise ConfigError.one(source, "operators", "is missing, empty or not a list", shape)
        for key in content.keys() - {"operators", "tasks"}:
            faults.append(Fault(str(key), "is not a part of a pipeline", "legal: tasks, operators"))
        parsed = [
            _parse_operator(item, f"operators.{i}", faults)
            for i, item in enumerate(content["operators"])
        ]
        source_op = (
            _parse_operator(content["tasks"], "tasks", faults) if content.get("tasks") else None
        )
        if source_op is not None and not isinstance(source_op, TaskSource):
            faults.append(
                Fault(
                    "tasks", f"{source_op.op!r} does not make tasks", "for example generate-tasks"
                )
            )
        operators = tuple(o for o in parsed if o is not None)
        for i, operator in enumerate(parsed):
            if isinstance(operator, TaskSource):
                faults.append(
                    Fault(f"operators.{i}", f"{operator.op!r} makes tasks", "put it under `tasks:`")
                )
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
        named = (
            getattr(operator, key, None)
            for operator in self.operators
            for key in ("volume_path", "mask_volume_path")
        )
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
        return list(voxel_sizes(self.operators))[index] * self.operators[index].coarsening

    def context(self, index: int, box: BoundingBox = _SAMPLE_BOX) -> tuple[Vec3, Vec3]:
        """Voxels before and behind a box, far from the volume's border, that the operator at `index` must produce."""
        needed = needed_box(self.operators, index)(box, None)
        return box.start - needed.start, needed.stop - box.stop

    @contextmanager
    def open(
        self, subscribers: tuple[Subscriber, ...] = (), **options: Any
    ) -> Iterator[OpenPipeline]:
        """Open all operators, in order; they close when the block ends. `options`: those of `Run`."""
        with ExitStack() as stack:
            steps = []
            made: set[str] = set()
            for i, (operator, label) in enumerate(zip(self.operators, self.labels(), strict=True)):
                run = Run(needed_box=needed_box(self.operators, i), made=frozenset(made), **options)
                with error_context(label, None):
                    steps.append((label, operator, run, stack.enter_context(operator.open(run))))
                made.update(operator.writes(), operator.creates())
            yield OpenPipeline(tuple(steps), subscribers)


def _parse_operator(item: Any, place: str, faults: list[Fault]) -> Operator | None:
    if not isinstance(item, Mapping) or not isinstance(item.get("op"), str):
        faults.append(
            Fault(place, f"{item!r} is not an operator", "write `op: <name>` and its options below")
        )
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
                place, problem = (
                    f"operators.{i} ({operator.op})",
                    f"reads {name!r}, which no operator before it makes",
                )
                yield Fault(place, problem, f"made: {known}")
        made.update(operator.writes())


def _dump(operator: Operator) -> dict[str, Any]:
    return {"op": operator.op} | operator.model_dump(mode="json", exclude_defaults=True)
