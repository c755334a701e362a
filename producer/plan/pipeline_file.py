"""`PipelineFile`: the parts of a pipeline file that a producer needs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chunkflow_worker.config.catalog import facts_of, operator_with
from chunkflow_worker.config.yaml_file import read_yaml
from chunkflow_worker.errors import ConfigError
from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.job.message import pipeline_digest
from chunkflow_worker.job.volumes import Configured, default_ledger
from chunkflow_worker.job.written_paths import WrittenPaths


@dataclass(frozen=True)
class PipelineFile:
    """The parts of a pipeline file that a producer needs.

    operators: the chain, with options that only the workers check.
    tasks: options of the grid, not checked yet.
    """

    path: Path
    operators: list[dict[str, Any]]
    tasks: dict[str, Any]

    @classmethod
    def load(cls, path: Path) -> PipelineFile:
        """Read a YAML file.

        Raises ConfigError when it cannot be read or has no operators, or when a path in it is
        wrong or holds a variable that is not set.
        """
        content = read_yaml(path)
        operators = content.get("operators") if isinstance(content, dict) else None
        if not (
            isinstance(operators, list)
            and operators
            and all(isinstance(o, dict) and "op" in o for o in operators)
        ):
            raise ConfigError.one(
                str(path),
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
            raise ConfigError(str(path), faults)
        tasks = content.get("tasks")
        return cls(path, operators, _grid_options(tasks, path) if tasks else {})

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
        """Where the workers write the ledger by default; None when the chain saves no volume."""
        return default_ledger(self.chain)


def written_paths(pipeline: PipelineFile | None, ledger: Ledger) -> WrittenPaths:
    """The paths that records may name: what the chain writes, or else the ledger's own volume."""
    if pipeline is None:
        return WrittenPaths.of_ledger(ledger.path)
    return WrittenPaths.of_chain(pipeline.chain)


def _grid_options(tasks: Any, path: Path) -> dict[str, Any]:
    """The options that say which boxes to enqueue. Raises ConfigError."""
    if isinstance(tasks, dict):
        facts = facts_of(str(tasks.get("op", operator_with("is_grid"))))
        if facts.is_grid:
            return {str(k): v for k, v in tasks.items() if k not in ("op", *facts.local_options)}
    raise ConfigError.one(
        str(path),
        "tasks",
        "does not say which boxes to enqueue",
        f"write `op: {operator_with('is_grid')}` and its options below",
    )
