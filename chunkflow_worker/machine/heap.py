"""`give_back`: memory that a process freed, and its C library keeps, goes back to the system."""

from __future__ import annotations

import ctypes
import threading
from functools import cache
from time import monotonic

_ARENA_MAX = -8  # glibc's M_ARENA_MAX
_ARENAS = 2  # each keeps for itself what was freed in it; by default there are eight a core
_SECONDS = 0.25  # between two times: it takes milliseconds, and pages given back must be made anew


def give_back() -> None:
    """Give back what earlier tasks have freed; without glibc, nothing happens.

    Chunks, patches and blocks of some megabytes come from the C library's heap, where small values
    that live longer lie between them. What was freed there would add up with each task in flight.
    """
    if heap := _heap():
        heap.give_back()


class _Heap:
    def __init__(self, library: ctypes.CDLL):
        library.mallopt(_ARENA_MAX, _ARENAS)
        self._trim, self._lock, self._next = library.malloc_trim, threading.Lock(), 0.0

    def give_back(self) -> None:
        with self._lock:
            now = monotonic()
            if now < self._next:
                return
            self._next = now + _SECONDS
        self._trim(ctypes.c_size_t(0))


@cache
def _heap() -> _Heap | None:
    library = ctypes.CDLL(None)
    return _Heap(library) if hasattr(library, "malloc_trim") else None
