"""`StageWork`: what a worker holds for one stage of its pipeline file, beside its open chain."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from chunkflow_worker.config.settings import Settings
from chunkflow_worker.job.hold import Holds
from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.pipeline.chain import Pipeline
from chunkflow_worker.report.events import Subscriber
from chunkflow_worker.service.breaker import Breaker
from chunkflow_worker.service.control import Control
from chunkflow_worker.service.handler import Handler
from chunkflow_worker.service.jobs import Jobs
from chunkflow_worker.service.open_chains import ChainOfStage
from chunkflow_worker.service.patience import Patience

log = logging.getLogger("chunkflow_worker")


@dataclass(frozen=True)
class StageWork:
    """The handler of the tasks of a stage, and what keeps them from other workers."""

    handler: Handler
    holds: Holds

    @classmethod
    def of(
        cls,
        chain: ChainOfStage,
        pipeline: Pipeline,
        ledger: Ledger,
        settings: Settings,
        max_receives: int,
        subscribers: tuple[Subscriber, ...],
        clock: Callable[[], float],
    ) -> StageWork:
        """ledger: of the stage. max_receives: after so many attempts, a failure is final."""
        worker, limits = settings.worker_name, (settings.breaker_failures, settings.breaker_share)
        holds = Holds(ledger.files, worker)
        control = Control(ledger.states, settings.control_seconds, clock)
        handler = Handler(
            chain,
            pipeline.digest,
            ledger,
            worker,
            max_receives,
            subscribers,
            Jobs(ledger),
            Patience(ledger.path, pipeline.addresses),
            holds,
            control,
            Breaker(control, ledger, worker, *limits, subscribers),
        )
        return cls(handler, holds)

    def remove_hold(self, bbox: str) -> None:
        """Remove the hold on a task that has ended. Never raises."""
        try:
            self.holds.remove(bbox)
        except Exception as error:
            log.warning("the hold on %s ends by itself, and is not removed: %s", bbox, error)
