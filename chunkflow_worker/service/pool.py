"""`Pool`: the stages that a worker takes, and the queue that it takes them from."""

from __future__ import annotations

import logging
from collections.abc import Sequence
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
        if not chosen:
            made._warn_of_other_queues()
        return made

    def _warn_of_other_queues(self) -> None:
        text = "tasks of stage %s come through queue %s: workers with --stages %s take them"
        for stage in self.stages:
            queue = stage.queue_of(self.queue)
            if queue != self.queue:
                log.warning(text, stage.name, queue, stage.name)

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
