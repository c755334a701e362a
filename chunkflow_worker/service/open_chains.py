"""`OpenChains`: the chains of a process that are open, so that a net is in memory while it is used.

A chain is opened by a task of its stage. It stays open until a task of another stage comes while
none of its own is in progress.
"""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from chunkflow_worker.pipeline.chain import Pipeline
from chunkflow_worker.pipeline.run import OpenPipeline
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.report.events import Subscriber

log = logging.getLogger("chunkflow_worker")


@dataclass
class _Open:
    """An open chain. users: tasks that run it now."""

    chain: OpenPipeline
    closing: ExitStack
    users: int = 0


class OpenChains:
    """The open chains. Several threads may use them; one at a time opens or closes some.

    chains: those of all stages, by the names of these.
    """

    def __init__(self, chains: Mapping[str, Pipeline], subscribers: tuple[Subscriber, ...] = ()):
        self._chains, self._subscribers = chains, subscribers
        self._opening, self._counting = threading.Lock(), threading.Lock()
        self._open: dict[str, _Open] = {}
        self._models: dict[str, Mapping[str, str]] = {}

    def of(self, stage: str) -> ChainOfStage:
        return ChainOfStage(self, stage)

    def models(self, stage: str) -> Mapping[str, str]:
        """Digests of the files of its nets, as they were when it was last opened."""
        return self._models.get(stage, {})

    def open(self, stage: str) -> None:
        """Open a chain before its first task. Raises what its operators raise."""
        with self._using(stage):
            pass

    def run(self, stage: str, task: Task, check: Callable[[], None]) -> None:
        """Run the chain on a task. Raises what opening it and the task raise."""
        with self._using(stage) as chain:
            chain.run(task, check)

    def close(self) -> None:
        """Close all of them. Tasks must not run any more."""
        with self._opening:
            for stage in list(self._open):
                self._close(stage)

    @contextmanager
    def _using(self, stage: str) -> Iterator[OpenPipeline]:
        with self._opening:
            found = self._open.get(stage)
            if found is None:
                self._close_unused()
                found = self._opened(stage)
            with self._counting:
                found.users += 1
        try:
            yield found.chain
        finally:
            with self._counting:
                found.users -= 1

    def _opened(self, stage: str) -> _Open:
        with ExitStack() as closing:
            opened = self._chains[stage].open(self._subscribers, recorded=True)
            chain = closing.enter_context(opened)
            found = self._open[stage] = _Open(chain, closing.pop_all())
        self._models[stage] = chain.models
        if stage:
            log.info("stage %s: opened", stage)
        return found

    def _close_unused(self) -> None:
        unused = [stage for stage, found in self._open.items() if not found.users]
        for stage in unused:
            self._close(stage)
            log.info("stage %s: closed, since a task of another stage came", stage)
        if unused:
            gc.collect()  # nets refer to themselves, and the next one needs the memory now

    def _close(self, stage: str) -> None:
        try:
            self._open.pop(stage).closing.close()
        except Exception as error:
            log.warning("an operator did not close: %s: %s", type(error).__name__, error)


@dataclass(frozen=True)
class ChainOfStage:
    """The chain of one stage, as a handler runs it."""

    _chains: OpenChains = field(repr=False)
    stage: str

    @property
    def models(self) -> Mapping[str, str]:
        return self._chains.models(self.stage)

    def run(self, task: Task, check: Callable[[], None] = lambda: None) -> None:
        """As `OpenPipeline.run`; opens the chain if need be."""
        self._chains.run(self.stage, task, check)
