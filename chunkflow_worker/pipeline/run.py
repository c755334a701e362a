"""`OpenPipeline`: runs a task through a chain whose operators are open."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from chunkflow_worker.errors import (
    ChunkflowError,
    ChunkMismatch,
    ConfigError,
    OutOfMemory,
    PermanentError,
    RetryableError,
)
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.machine.heap import give_back
from chunkflow_worker.pipeline.noted import noted
from chunkflow_worker.pipeline.operator import EarlyStep, Operator, Run, Step
from chunkflow_worker.pipeline.own_code import own_frames
from chunkflow_worker.pipeline.task import SkipTask, Task, describe_value
from chunkflow_worker.pipeline.unwritten import note_unwritten
from chunkflow_worker.report.access import meaning
from chunkflow_worker.report.events import OperatorFinished, OperatorStarted, Subscriber, publish


class OpenOperator(NamedTuple):
    """An open operator of a chain. label: its name in records, of which no other has the same."""

    label: str
    operator: Operator
    run: Run
    step: Step


@dataclass(frozen=True)
class OpenPipeline:
    """A chain whose volumes and models are open. Tasks may run in several threads.

    models: digests of the files that its nets were loaded from, see `model_digests`.
    """

    steps: tuple[OpenOperator, ...]
    subscribers: tuple[Subscriber, ...] = ()
    models: Mapping[str, str] = field(default_factory=dict)

    def run(self, task: Task, check: Callable[[], None] = lambda: None) -> None:
        """Run the whole chain on a task.

        check: called before each operator; what it raises ends the task.
        Raises SkipTask, PermanentError or RetryableError that names the operator and the box.
        """
        give_back()
        task.models = dict(self.models)
        try:
            self._run(task, check)
        finally:
            _end_early(task)

    def _run(self, task: Task, check: Callable[[], None]) -> None:
        for i, (label, operator, run, step) in enumerate(self.steps):
            check()
            if saver := self._saver_after(i):
                task.early = saver.early(task)
            publish(OperatorStarted(label, task.bbox), self.subscribers)
            with (
                error_context(label, task.bbox, partial(_inputs, operator, task)),
                task.timed(label),
            ):
                try:
                    with noted(label, operator, task):
                        step(task)
                except SkipTask as reason:
                    self._note_unwritten(task, i + 1, reason.empty)
                    raise
                for name in operator.writes():
                    task.values[name] = _checked(operator, run, task, name)
                if isinstance(step, EarlyStep):
                    _end_early(task)
            publish(OperatorFinished(label, task.bbox, task.seconds[label]), self.subscribers)

    def _saver_after(self, i: int) -> EarlyStep | None:
        """The step that saves just what the operator at `i` makes, if it can begin early."""
        following = self.steps[i + 1 : i + 2]
        for _, operator, _, step in following:
            if isinstance(step, EarlyStep) and operator.reads() == self.steps[i].operator.writes():
                return step
        return None

    def _note_unwritten(self, task: Task, start: int, empty: bool) -> None:
        operators = [step.operator for step in self.steps]
        note_unwritten(task, operators, [step.label for step in self.steps], start, empty)


def _end_early(task: Task) -> None:
    """The next operator that saves a chunk has nothing written yet."""
    if task.early:
        task.early.wait()
        task.early = None  # which refers to the task, and so would keep its chunks


def _checked(operator: Operator, run: Run, task: Task, name: str) -> Any:
    """The value that an operator left under `name`, without the margin that only it needed."""
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
def error_context(
    label: str, bbox: BoundingBox | None, inputs: Callable[[], str] = str
) -> Iterator[None]:
    """Add the operator and the box to every error, and turn unknown errors into RetryableError.

    inputs: returns what the operator was given, for the end of the error's text.
    """
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
        raise type(error)(f"{subject}: {error}{inputs()}") from error
    except ChunkflowError:
        raise
    except MemoryError as error:
        raise OutOfMemory(f"{subject}: out of memory{inputs()}") from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit of a user's code, panics of extensions
        raise RetryableError(f"{subject}: {_what(error)}{inputs()}") from error


def _what(error: BaseException) -> str:
    """An unknown error in words.

    Its type says something to those whose code failed; from ours it only looks like their mistake.
    """
    if own_frames(error):
        return f"{type(error).__name__}: {error}"
    if isinstance(error, OSError):
        return str(meaning(error))
    return f"failed unexpectedly: {error}\n    chunkflow --verbose shows where; a worker records it"


def _inputs(operator: Operator, task: Task) -> str:
    """The values that an operator reads, one line each, for the end of an error's text."""
    found = {name: task.values[name] for name in operator.reads() if name in task.values}
    return "".join(f"\n    {name}: {describe_value(value)}" for name, value in found.items())
