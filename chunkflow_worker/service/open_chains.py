"""`OpenChains`: the chains of a process that are open, so that a net is in memory while it is used.

A chain is opened by a task of its stage. While none of its own is in progress, it is closed by a
task of a stage that needs it, or that it needs: what the chain has read may be made anew. One with
a net or plugin is closed whenever another one is opened. So stages that run at the same time do not
open theirs again and again, unless several have nets.
"""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
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

    @property
    def is_large(self) -> bool:
        """Whether it holds a net, or a plugin that may."""
        return bool(self.chain.models)


class OpenChains:
    """The open chains. Several threads may use them; one at a time opens or closes some.

    chains: those of all stages, by the names of these.
    waiting: a context for the time in which a task waits until its chain is open.
    not_beside: the stages that do not run at the same time as a stage.
    """

    def __init__(
        self,
        chains: Mapping[str, Pipeline],
        subscribers: tuple[Subscriber, ...] = (),
        waiting: Callable[[], AbstractContextManager[object]] = nullcontext,
        not_beside: Callable[[str], Collection[str]] = lambda stage: (),
    ):
        self._chains, self._subscribers, self._waiting = chains, subscribers, waiting
        self._not_beside = {stage: frozenset(not_beside(stage)) for stage in chains}
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
        """Close all of them. Tasks must not run any more.

        While one is being opened, nothing is closed: a signal may have interrupted that.
        """
        if not self._opening.acquire(blocking=False):
            return
        try:
            for stage in list(self._open):
                self._close(stage)
        finally:
            self._opening.release()

    @contextmanager
    def _using(self, stage: str) -> Iterator[OpenPipeline]:
        is_ready = stage in self._open and not self._opening.locked()
        with nullcontext() if is_ready else self._waiting(), self._opening:
            self._close_unused(stage)
            found = self._open.get(stage) or self._opened(stage)
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

    def _close_unused(self, came: str) -> None:
        """Close what need not stay open when a task of a stage has come."""
        is_new, others = came not in self._open, self._not_beside[came]
        unused = [
            stage
            for stage, found in self._open.items()
            if not found.users and (stage in others or (is_new and found.is_large))
        ]
        for stage in unused:
            self._close(stage)
            log.info("stage %s: closed, since a task of stage %s came", stage, came)
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
