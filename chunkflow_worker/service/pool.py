"""`Pool`: the stages that a worker takes, and the queue that it takes them from."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from chunkflow_worker.config.settings import Settings
from chunkflow_worker.errors import ConfigError, PipelineMismatch, StageElsewhere
from chunkflow_worker.job.message import TaskMessage
from chunkflow_worker.job.stage import Stage
from chunkflow_worker.job.stages import find_stage, split_stage

log = logging.getLogger("chunkflow_worker")


@dataclass(frozen=True)
class Pool:
    """All stages of a pipeline file, and those of them that a worker takes.

    queue: the queue to take them from, by its name, URL or ARN.
    """

    stages: Sequence[Stage]
    taken: frozenset[str]
    queue: str

    @classmethod
    def of(cls, settings: Settings, stages: Sequence[Stage]) -> Pool:
        """The pool that the settings name; by default, all stages on the queue of the file.

        A worker has one queue. Raises ConfigError for a stage that there is not, and for stages of
        different queues.
        """
        file, alone = split_stage(settings.pipeline or "")
        names = [name.strip() for name in (settings.stages or alone).split(",") if name.strip()]
        chosen = [find_stage(stages, name, file) for name in names]
        queues = {stage.queue_of(settings.queue) for stage in chosen} or {settings.queue}
        if len(queues) > 1:
            raise ConfigError.one(
                "settings",
                "CHUNKFLOW_STAGES",
                f"{', '.join(names)} lie in {len(queues)} queues: {', '.join(sorted(queues))}",
                "start workers for the stages of each queue",
            )
        made = cls(stages, frozenset(s.name for s in chosen or stages), queues.pop())
        for name, queue in made._left_out(settings.queue) if not chosen else ():
            log.warning(
                "tasks of stage %s come through queue %s: workers with --stages %s take them",
                *(name, queue, name),
            )
        return made

    def _left_out(self, queue: str) -> Iterator[tuple[str, str]]:
        """Stages whose tasks do not come through the queue of the pool, and their queues."""
        for stage in self.stages:
            if stage.queue_of(queue) != self.queue:
                yield stage.name, stage.queue_of(queue)

    def check(self, message: TaskMessage) -> None:
        """Raise StageElsewhere for a stage of other workers, PipelineMismatch for no stage."""
        name = message.stage
        if name in self.taken:
            return
        if any(stage.name == name for stage in self.stages):
            raise StageElsewhere(name)
        what = f"stage {name!r}" if name else "a file without stages"
        raise PipelineMismatch(
            f"job {message.job} is for {what}, and the pipeline here has "
            f"{', '.join(stage.name for stage in self.stages) or 'no stages'}"
        )
