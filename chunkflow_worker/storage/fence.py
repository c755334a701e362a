"""`fenced`: within it, every write to storage first asks whether it may still be made.

A worker whose lease has ended must not write any more, and an operator that computes for minutes
before it writes can't know. So what writes asks here, right before each write: `Files`, volumes,
Zarr stores and `atomic_file`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from threading import Lock


@dataclass
class Fence:
    """check: raises when nothing may be written any more. writes: number of writes let through."""

    check: Callable[[], None]
    writes: int = 0
    _lock: Lock = field(default_factory=Lock, repr=False)

    def ask(self) -> None:
        self.check()
        with self._lock:  # the threads of a task write at the same time
            self.writes += 1


_current: ContextVar[Fence | None] = ContextVar("fence", default=None)


def before_write() -> None:
    """Raises what the check of the fence raises, if this thread works within one."""
    fence = _current.get()
    if fence is not None:
        fence.ask()


@contextmanager
def fenced(fence: Fence) -> Iterator[None]:
    """Writes of this thread in the block are let through by the fence, or not made."""
    token = _current.set(fence)
    try:
        yield
    finally:
        _current.reset(token)
