"""`Pipeline`: a configured chain of operators, checked, and opened once per process."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from chunkflow_worker.config.catalog import operator_with
from chunkflow_worker.config.options import faults_of
from chunkflow_worker.errors import ConfigError, Fault
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.job.message import pipeline_digest
from chunkflow_worker.job.stages import load_stage
from chunkflow_worker.job.volumes import Configured, default_ledger
from chunkflow_worker.pipeline.model_files import model_digests
from chunkflow_worker.pipeline.needed_box import input_voxel_sizes, needed_box
from chunkflow_worker.pipeline.operator import Operator, Run, TaskSource, find_operator
from chunkflow_worker.pipeline.run import OpenOperator, OpenPipeline, error_context
from chunkflow_worker.report.events import Subscriber

_SAMPLE_BOX = BoundingBox(Vec3(0, 0, 0), Vec3(1024, 1024, 1024))


@dataclass(frozen=True)
class Pipeline:
    """A checked chain.

    tasks: makes the boxes of a local run; workers take theirs from the queue.
    digest: of the operators as they were written.
    """

    operators: tuple[Operator, ...]
    tasks: TaskSource | None = None
    digest: str = ""

    @classmethod
    def load(cls, path: Path | str) -> Pipeline:
        """Read a YAML file, or one of its stages: em.yaml#masks.

        Raises ConfigError with all the faults of the file.
        """
        return load_stage(path, cls.parse)[1]

    @classmethod
    def parse(cls, content: Any, source: str = "pipeline") -> Pipeline:
        """Make a chain from plain data: ``{"operators": [{"op": ...}, ...]}``.

        Raises ConfigError with all the faults of the data.
        """
        items = content.get("operators") if isinstance(content, dict) else None
        if not isinstance(items, list) or not items:
            cure = "write `operators:` and below it a list of `- op: <name>` with options"
            others = {str(key) for key in content} if isinstance(content, dict) else set()
            for part in ("operators", "stages"):
                for near in get_close_matches(part, others - {"operators"}, n=1):
                    cure = f"the file has `{near}:`; did you mean `{part}:`?"
            raise ConfigError.one(source, "operators", "is missing, empty or not a list", cure)
        faults = [
            Fault(str(key), "is not a part of a pipeline", "legal: tasks, operators")
            for key in content.keys() - {"operators", "tasks"}
        ]
        operators = [_parse(item, f"operators.{i}", faults) for i, item in enumerate(items)]
        tasks = _parse(content["tasks"], "tasks", faults) if content.get("tasks") else None
        return cls._checked(operators, tasks, pipeline_digest(items), source, faults)

    @classmethod
    def of(cls, operators: Iterable[Operator], tasks: TaskSource | None, source: str) -> Pipeline:
        """Make a chain from operators: the same that `parse` makes from what `dump` returns.

        Raises ConfigError.
        """
        made = list(operators)
        digest = pipeline_digest([operator.dump() for operator in made])
        return cls._checked(made, tasks, digest, source, [])

    @classmethod
    def _checked(
        cls,
        operators: Sequence[Operator | None],
        tasks: Operator | None,
        digest: str,
        source: str,
        faults: list[Fault],
    ) -> Pipeline:
        """`operators` holds None for each that `faults` already describes."""
        if tasks is not None and not isinstance(tasks, TaskSource):
            cure = f"for example {operator_with('is_grid')}"
            faults.append(Fault("tasks", f"{tasks.op!r} does not make tasks", cure))
        for i, operator in enumerate(operators):
            if isinstance(operator, TaskSource):
                place, problem = f"operators.{i}", f"{operator.op!r} makes tasks"
                faults.append(Fault(place, problem, "put it under `tasks:`"))
        valid = tuple(operator for operator in operators if operator is not None)
        if len(valid) == len(operators):
            faults.extend(_name_faults(valid))
        if faults:
            raise ConfigError(source, faults)
        return cls(valid, tasks if isinstance(tasks, TaskSource) else None, digest)

    def dump(self) -> dict[str, Any]:
        """Plain data that `parse` reads back; options that have their default are left out."""
        tasks = {"tasks": self.tasks.dump()} if self.tasks else {}
        return tasks | {"operators": [operator.dump() for operator in self.operators]}

    @property
    def configured(self) -> tuple[Configured, ...]:
        """The operators as the producer sees those of a pipeline file."""
        return tuple(Configured(type(o), dict(o)) for o in self.operators)

    @property
    def ledger_path(self) -> str | None:
        return default_ledger(self.configured)

    @property
    def addresses(self) -> list[str]:
        """Addresses of volumes, and others in object stores, that the chain reads and writes."""
        volumes = [path for operator in self.configured for path in operator.volume_paths()]
        others = (
            path
            for operator in self.configured
            for written in (False, True)
            for _, path in operator.paths(written=written)
        )
        return [*volumes, *(path for path in others if path.startswith(("s3://", "gs://")))]

    def labels(self) -> list[str]:
        """Names of the operators in records. From the second of a name on, its number is added."""
        count: dict[str, int] = {}
        labels = []
        for operator in self.operators:
            count[operator.label] = n = count.get(operator.label, 0) + 1
            labels.append(operator.label if n == 1 else f"{operator.label}-{n}")
        return labels

    def downsampling_factor(self, index: int) -> Vec3:
        """How many times larger the voxels of the operator at `index` are than the task's."""
        sizes = list(input_voxel_sizes(self.operators))
        return sizes[index] * self.operators[index].downsampling_factor

    def margins(self, index: int) -> tuple[Vec3, Vec3]:
        """Voxels that the operator at `index` must produce before and after a task's box.

        This is for a box far from the volume's border.
        """
        needed = needed_box(self.operators, index)(_SAMPLE_BOX, None)
        return _SAMPLE_BOX.start - needed.start, needed.stop - _SAMPLE_BOX.stop

    @contextmanager
    def open(
        self,
        subscribers: tuple[Subscriber, ...] = (),
        *,
        dry_run: bool = False,
        recorded: bool = False,
    ) -> Iterator[OpenPipeline]:
        """Open all operators, in order; they close when the block ends. For options see `Run`."""
        with ExitStack() as stack:
            steps = []
            made: set[str] = set()
            models: dict[str, str] = {}
            for i, (operator, label) in enumerate(zip(self.operators, self.labels(), strict=True)):
                run = Run(needed_box(self.operators, i), frozenset(made), dry_run, recorded)
                with error_context(label, None):
                    step = stack.enter_context(operator.open(run))
                models |= model_digests(label, operator)
                steps.append(OpenOperator(label, operator, run, step))
                made.update(operator.writes(), operator.creates_volumes())
            yield OpenPipeline(tuple(steps), subscribers, models)


def _parse(item: Any, place: str, faults: list[Fault]) -> Operator | None:
    """The operator; None if something is wrong with it, which is then added to `faults`."""
    if not isinstance(item, Mapping) or not isinstance(item.get("op"), str):
        cure = "write `op: <name>` and its options below"
        faults.append(Fault(place, f"{item!r} is not an operator", cure))
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
                place = f"operators.{i} ({operator.op})"
                problem = f"reads {name!r}, which no operator before it makes"
                yield Fault(place, problem, f"made: {', '.join(sorted(made)) or 'none'}")
        made.update(operator.writes())
