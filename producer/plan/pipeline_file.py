"""`PipelineFile`: the parts of a pipeline file that a producer needs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chunkflow_worker.config.catalog import facts_of, operator_with
from chunkflow_worker.errors import ConfigError
from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.job.message import pipeline_digest
from chunkflow_worker.job.stage import PLAIN, Stage
from chunkflow_worker.job.stages import find_stage, load_stages, split_stage, stage_path
from chunkflow_worker.job.volumes import Configured, default_ledger
from chunkflow_worker.job.written_paths import WrittenPaths


@dataclass(frozen=True)
class PipelineFile:
    """The parts of a pipeline file, or of one of its stages, that a producer needs.

    path: of the file; of a stage, with its name: em.yaml#masks.
    operators: the chain, with options that only the workers check.
    tasks: options of the grid, not checked yet.
    file_ledger: the default ledger of the whole file; None when it saves no volume.
    """

    path: Path
    operators: list[dict[str, Any]]
    tasks: dict[str, Any]
    stage: Stage = PLAIN
    file_ledger: str | None = None

    @classmethod
    def load(cls, path: Path) -> PipelineFile:
        """Read a YAML file without stages, or one of the stages of a file: em.yaml#masks.

        Raises ConfigError when it cannot be read or has no operators, or when a path in it is
        wrong or holds a variable that is not set.
        """
        file, name = split_stage(path)
        every = cls.load_all(file)
        stage = find_stage((one.stage for one in every), name, file)
        return next(one for one in every if one.stage is stage)

    @classmethod
    def load_all(cls, path: Path) -> list[PipelineFile]:
        """All stages of a YAML file, each after those that it needs. Raises ConfigError as `load`.

        A file with plain `operators:` is one stage without a name.
        """
        loaded = load_stages(path, _read)
        ledger = default_ledger(
            Configured.read(one) for _, (operators, _) in loaded for one in operators
        )
        return [
            cls(stage_path(path, stage.name), operators, tasks, stage, ledger)
            for stage, (operators, tasks) in loaded
        ]

    @property
    def digest(self) -> str:
        """Digest of the chain as it is written, as workers compute it: variables stay variables."""
        return pipeline_digest(self.operators)

    @property
    def chain(self) -> list[Configured]:
        """The operators, with the facts that their classes state."""
        return [Configured.read(operator) for operator in self.operators]

    @property
    def ledger_path(self) -> str | None:
        """Where the workers write the ledger by default; None when the file saves no volume."""
        return self.ledger_in(None)

    def ledger_in(self, ledger: str | None) -> str | None:
        """The path of the ledger. ledger: that of the whole file; None for the default."""
        path = ledger or self.file_ledger
        return path and self.stage.ledger_in(path)


def written_paths(pipeline: PipelineFile | None, ledger: Ledger) -> WrittenPaths:
    """The paths that records may name: what the chain writes, or else the ledger's own volume."""
    if pipeline is None:
        return WrittenPaths.of_ledger(ledger.path)
    return WrittenPaths.of_chain(pipeline.chain)


def _read(content: Any, source: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The operators of a chain, and the options of its grid. Raises ConfigError."""
    operators = content.get("operators") if isinstance(content, dict) else None
    if not (
        isinstance(operators, list)
        and operators
        and all(isinstance(o, dict) and "op" in o for o in operators)
    ):
        raise ConfigError.one(
            source,
            "operators",
            "is missing, empty, or not a list of operators",
            "write `operators:` and below it a list of `- op: <name>` with options",
        )
    faults = [
        fault
        for i, operator in enumerate(operators)
        for fault in Configured.faults(operator, f"operators.{i}")
    ]
    if faults:
        raise ConfigError(source, faults)
    tasks = content.get("tasks")
    return operators, _grid_options(tasks, source) if tasks else {}


def _grid_options(tasks: Any, source: str) -> dict[str, Any]:
    """The options that say which boxes to enqueue. Raises ConfigError."""
    if isinstance(tasks, dict):
        facts = facts_of(str(tasks.get("op", operator_with("is_grid"))))
        if facts.is_grid:
            return {str(k): v for k, v in tasks.items() if k not in ("op", *facts.local_options)}
    raise ConfigError.one(
        source,
        "tasks",
        "does not say which boxes to enqueue",
        f"write `op: {operator_with('is_grid')}` and its options below",
    )
